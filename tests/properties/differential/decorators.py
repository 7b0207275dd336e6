"""Column types of a user's own: decorators over each kind of type, and types that speak SQL."""

from __future__ import annotations

import base64
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, JSON, Date, Integer, LargeBinary, Numeric, String, Uuid, func
from sqlalchemy.types import TypeDecorator, UserDefinedType

__all__ = [
    "Cents",
    "Document",
    "Email",
    "Lowered",
    "Named",
    "Notes",
    "Pair",
    "Sealed",
    "Shifted",
    "Shouted",
    "Steps",
    "Tagged",
    "Veiled",
]


class Email(TypeDecorator[str]):
    """A text that is stored as it is."""

    impl = String(60)
    cache_ok = True


class Lowered(TypeDecorator[str]):
    """A text that is stored in small letters."""

    impl = String(60)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        """Return what is stored."""
        return value.lower() if isinstance(value, str) else value


class Sealed(TypeDecorator[str]):
    """A text that is stored in base 64, so that a change of case is all that tells two values apart."""

    impl = String(120)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        """Return what is stored."""
        return None if value is None else base64.b64encode(value.encode()).decode()

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        """Return what is meant."""
        return None if value is None else base64.b64decode(value).decode()


class Veiled(TypeDecorator[bytes]):
    """Bytes that are stored backwards."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        """Return what is stored."""
        return None if value is None else bytes(reversed(value))

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        """Return what is meant."""
        return None if value is None else bytes(reversed(value))


class Cents(TypeDecorator[Any]):
    """A number that is stored a hundred times as large."""

    impl = Integer
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        """Return what is stored."""
        return None if value is None else int(value * 100)

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        """Return what is meant."""
        return None if value is None else value / 100


class Shifted(TypeDecorator[date]):
    """A day that is stored as the next one."""

    impl = Date
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        """Return what is stored."""
        return None if value is None else value + timedelta(days=1)

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        """Return what is meant."""
        return None if value is None else value - timedelta(days=1)


class Tagged(TypeDecorator[str]):
    """A UUID that is a text with a tag outside."""

    impl = Uuid
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        """Return what is stored."""
        return None if value is None else UUID(value.removeprefix("tag-"))

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        """Return what is meant."""
        return None if value is None else f"tag-{value}"


@dataclass(frozen=True)
class Notes:
    """What a document holds."""

    title: str
    pages: int = 0


class Document(TypeDecorator[Notes]):
    """An object that is stored as JSON."""

    impl = JSON(none_as_null=True)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        """Return what is stored."""
        return None if value is None else asdict(value)

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        """Return what is meant."""
        return None if value is None else Notes(**value)


class Steps(TypeDecorator[Any]):
    """A tuple that is stored as an array."""

    impl = ARRAY(Integer)
    cache_ok = True

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        """Return what is meant."""
        return None if value is None else tuple(value)


class Shouted(TypeDecorator[str]):
    """A text that passes through a function of SQL in both directions."""

    impl = String(60)
    cache_ok = True

    def bind_expression(self, bindparam: Any) -> Any:
        """Store small letters."""
        return func.lower(bindparam, type_=self)

    def column_expression(self, column: Any) -> Any:
        """Read capitals."""
        return func.upper(column, type_=self)


class Exactly(TypeDecorator[Any]):
    """A number behind a decorator."""

    impl = Numeric(12, 4)
    cache_ok = True


class Named(UserDefinedType[str]):
    """A type of the database that SQLAlchemy knows only by its name."""

    cache_ok = True

    def __init__(self, name: str) -> None:
        self.name = name

    def get_col_spec(self, **kw: Any) -> str:
        """Return the name of the type."""
        return self.name


class Pair(UserDefinedType[Any]):
    """A composite type of PostgreSQL."""

    cache_ok = True

    def get_col_spec(self, **kw: Any) -> str:
        """Return the name of the type."""
        return "differential_pair"
