"""A public id in a path: an invalid id is answered with 404, like an id without a row."""

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
        """The public id of a row of one model as a path parameter, ``user_id: PathID[User]``: a `PublicID`.

        An invalid string is answered with 404, not 422. Clients cannot distinguish it from an id without a row, and do
        not learn which prefixes exist. In a body or a query use ``PublicID[User]``, which answers 422.

        Raises:
            NotFound: When the string is not an id of the model.
        """

        def __class_getitem__(cls, model: type[Any]) -> Any:
            """Return the type of the parameter."""

            def find(text: Any, read: ValidatorFunctionWrapHandler) -> Any:
                try:
                    return read(text)
                except ValidationError:
                    raise NotFound(model.__name__, text) from None

            return Annotated[PublicID[model], WrapValidator(find)]
