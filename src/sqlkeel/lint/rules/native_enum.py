"""The values of an enumeration are changed by a migration that somebody planned, or by none.

A native ``ENUM`` is a type of its own. PostgreSQL adds a value, but not for use in the same transaction, and takes
none away; MariaDB copies the table for each change but one at the end. Autogenerate sees neither: a new member of the
Python class passes all tests, and the first INSERT in production fails.

Instead: ``Mapped[Status]``, which is a text with a CHECK on ``sqlkeel.Base``; elsewhere ``Enum(Status,
native_enum=False, length=32)``, a text with room for the next name that the program alone checks. Where the migrations
make and change the type, say so: ``Enum(..., create_type=False)``. Nothing is said where ``alembic-postgresql-enum`` is
installed, whose autogenerate sees the changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any, Final

from sqlalchemy import Column, Enum, Table
from sqlalchemy.types import TypeDecorator

from .._finding import Problem, Schema

__all__ = ["BAD", "GOOD", "UNSEEN_ON", "check"]

BAD = """
class Order(Base):
    __tablename__ = "order"
    id: Mapped[int] = mapped_column(primary_key=True)
    state: Mapped[str] = mapped_column(Enum("paid", "sent", name="order_state"))
"""

GOOD = """
class Order(Base):
    __tablename__ = "order"
    id: Mapped[int] = mapped_column(primary_key=True)
    state: Mapped[str] = mapped_column(Enum("paid", "sent", native_enum=False, length=32))
"""

_FOLLOWS: Final = "alembic_postgresql_enum"
"""The module of the extension of Alembic that compares the types in the database with those of the models."""

UNSEEN_ON: Final = {
    "sqlite": "It has no such type.",
    "postgresql": "The models say whether the migrations change the type.",
    "mariadb": "The models say whether the migrations change the type.",
}


def check(table: Table, schema: Schema) -> Iterator[Problem]:
    """Yield enumerations that the models make a type of."""
    if find_spec(_FOLLOWS) is not None:
        return
    for column in table.columns:
        kind = _enum(column)
        if kind is not None and kind.native_enum and getattr(kind, "create_type", True):
            where = f"{table.name}.{column.name}"
            values = kind.enum_class.__name__ if kind.enum_class is not None else ", ".join(map(repr, kind.enums))
            message = f"{where} is a native enum, whose changes no migration sees."
            yield Problem(where, message, f"Use Enum({values}, native_enum=False, length={_room(kind)}).")


def _enum(column: Column[Any]) -> Enum | None:
    stored = column.type.impl_instance if isinstance(column.type, TypeDecorator) else column.type
    return stored if isinstance(stored, Enum) else None


def _room(kind: Enum) -> int:
    return max(32, kind.length or 0)
