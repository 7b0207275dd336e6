"""Public ids as strings: ``usr_01h455vb4pex5vsknk084sn02q`` for clients, the UUID in the database."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, Self, TypeVar
from uuid import UUID

from ..errors import ConfigurationError, InvalidKey, shown

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic_core import CoreSchema

__all__ = ["PublicID", "prefix_of", "public_id_of", "uuid_of"]

M_co = TypeVar("M_co", covariant=True)

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_DIGITS: Final = {character: number for number, character in enumerate(_ALPHABET)}
_PREFIX: Final = r"[a-z]([a-z_]{0,61}[a-z])?"
_SUFFIX: Final = "[0-7][0-9a-hjkmnp-tv-z]{25}"
_UUID: Final = "[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
_CLASSES: Final[dict[type[Any], type[Any]]] = {}


class PublicID(Generic[M_co]):
    """The public id of a row of one model, ``PublicID[User]``, as clients see it.

    If the model has a ``__public_prefix__``, the string is a TypeID (https://github.com/jetify-com/typeid, version
    0.3): the prefix, ``_``, and the UUID as 26 characters of Crockford's base 32 in lower case. These strings sort as
    their UUIDs do, each UUID has exactly one, and the prefix tells the kind of row. Without a prefix, it is the UUID's
    string.

    In a pydantic model it is validated from the string or, with ``from_attributes``, from a UUID, and serialized as the
    string. In a path, `sqlkeel.integrations.fastapi.PathID` answers 404 to an invalid one. In a query use ``.uuid``.

    Raises:
        ConfigurationError: When it is created without a model: ``PublicID(...)``.
        InvalidKey: When it is created from anything other than a UUID; pass a string to `parse`.
    """

    __slots__ = ("uuid",)

    model: ClassVar[type[Any]]

    if not TYPE_CHECKING:

        def __class_getitem__(cls, model: Any) -> Any:
            # A class for each model, because it knows the prefix, and FastAPI needs a class for a parameter.
            return public_id_of(model) if isinstance(model, type) else cls

    def __init__(self, uuid: UUID) -> None:
        if not hasattr(self, "model"):
            raise ConfigurationError("A PublicID without a model has no text.", hint="PublicID[User](uuid)")
        if not isinstance(uuid, UUID):
            name = self.model.__name__
            raise InvalidKey(f"{shown(uuid)} is not a UUID.", hint=f"PublicID[{name}].parse(text)")
        self.uuid = uuid

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the id for a string.

        Raises:
            InvalidKey: When the string is invalid: another prefix, another alphabet, too long, too large.
        """
        prefix = prefix_of(cls.model)
        if not re.fullmatch(_pattern(prefix), text):
            raise InvalidKey(
                f"{shown(text)} is not a public id of {cls.model.__name__}.", hint=f"Write {_form(prefix)}."
            )
        return cls(UUID(int=_number(text[-26:])) if prefix else UUID(text))

    def __str__(self) -> str:
        prefix = prefix_of(self.model)
        return f"{prefix}_{_digits(self.uuid.int)}" if prefix else str(self.uuid)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return self.uuid == other.uuid if isinstance(other, type(self)) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.uuid)

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self.model, self.uuid)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Tell pydantic how to validate and serialize it."""
        # Imported here, because only pydantic calls this.
        from pydantic_core import PydanticCustomError, core_schema

        form = _form(prefix_of(cls.model))

        def read(given: Any) -> PublicID[Any]:
            try:
                return cls(uuid_of(given, cls.model))
            except InvalidKey:
                raise PydanticCustomError("public_id", "Input should be {form}", {"form": form}) from None

        text = core_schema.to_string_ser_schema(when_used="json")
        return core_schema.no_info_plain_validator_function(read, serialization=text)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Describe the string in OpenAPI."""
        prefix = prefix_of(cls.model)
        if not prefix:
            return {"type": "string", "format": "uuid"}
        return {"type": "string", "pattern": f"^{_pattern(prefix)}$"}


def prefix_of(model: type[Any]) -> str:
    """Return the prefix of the public ids of *model*; empty if it has none.

    Raises:
        ConfigurationError: When the prefix is not valid in a TypeID: up to 63 characters ``a`` to ``z`` and ``_``, with
            a letter at each end.
    """
    prefix = getattr(model, "__public_prefix__", "")
    if not isinstance(prefix, str) or (prefix and not re.fullmatch(_PREFIX, prefix)):
        raise ConfigurationError(
            f"{model.__name__}.__public_prefix__ is {prefix!r}.",
            hint='Use at most 63 lower-case letters, with "_" only between them: __public_prefix__ = "usr".',
        )
    return prefix


def uuid_of(given: PublicID[Any] | UUID | str, model: type[Any]) -> UUID:
    """Return the UUID of a row of *model* from any form of its public id.

    Raises:
        InvalidKey: When *given* is not an id of *model*.
    """
    if isinstance(given, UUID):
        return given
    if isinstance(given, str):
        return public_id_of(model).parse(given).uuid
    if not isinstance(given, PublicID) or not (issubclass(given.model, model) or issubclass(model, given.model)):
        raise InvalidKey(f"{shown(given)} is not a public id of {model.__name__}.")
    return given.uuid


def public_id_of(model: type[M_co]) -> type[PublicID[M_co]]:
    """Return ``PublicID[model]`` for a model that is only known at run time."""
    if model not in _CLASSES:
        prefix_of(model)
        _CLASSES[model] = type(f"PublicID[{model.__name__}]", (PublicID,), {"__slots__": (), "model": model})
    return _CLASSES[model]


def _again(model: type[Any], uuid: UUID) -> PublicID[Any]:
    return public_id_of(model)(uuid)


def _pattern(prefix: str) -> str:
    return f"{prefix}_{_SUFFIX}" if prefix else _UUID


def _form(prefix: str) -> str:
    return f"{prefix}_ and 26 characters" if prefix else "a UUID"


def _digits(number: int) -> str:
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(125, -5, -5))


def _number(digits: str) -> int:
    number = 0
    for digit in digits:
        number = number << 5 | _DIGITS[digit]
    return number
