"""A public id in a path: what is no id of the model is not found, like an id that nobody has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from ..errors import NotFound
from ..models._public_ids import PublicID

__all__ = ["PathID"]

if TYPE_CHECKING:
    PathID = PublicID
else:

    class PathID:
        """The public id of a row of one model as a parameter of a path, ``user_id: PathID[User]``: a `PublicID`.

        A text that is none is answered 404 and not 422: to the outside it is the same as an id that nobody has, and
        nobody learns which prefixes there are. In a body or a query use ``PublicID[User]``, which is answered 422.

        Raises:
            NotFound: When the text is no id of the model.
        """

        def __class_getitem__(cls, model: type[Any]) -> Any:
            """Return the type of the parameter."""

            def find(text: Any, read: ValidatorFunctionWrapHandler) -> Any:
                try:
                    return read(text)
                except ValidationError:
                    raise NotFound(model.__name__, text) from None

            return Annotated[PublicID[model], WrapValidator(find)]
