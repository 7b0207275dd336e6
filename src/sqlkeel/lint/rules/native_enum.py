"""Every change to the values of an enumeration is written in a migration.

A native ``ENUM`` is a separate type. PostgreSQL can add a value, but the same transaction cannot use it, and it cannot
remove one. MariaDB copies the table for every change except a value added at the end. Autogenerate sees none of these
changes: a new member of the Python class passes all tests, and its first INSERT in production fails.

Instead: ``Mapped[Status]``, which is a VARCHAR with a CHECK on ``sqlkeel.Base``. Elsewhere ``Enum(Status,
native_enum=False, length=32)``, a VARCHAR with room for longer names that only Python checks. If your migrations create
and change the type, write ``Enum(..., create_type=False)``. The rule reports nothing if ``alembic-postgresql-enum`` is
installed, because its autogenerate sees the changes.
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
"""The Alembic extension that compares the enum types in the database with those of the models."""

UNSEEN_ON: Final = {
    "sqlite": "It has no such type.",
    "postgresql": "Only the models say whether the migrations change the type.",
    "mariadb": "Only the models say whether the migrations change the type.",
}


def check(table: Table, schema: Schema) -> Iterator[Problem]:
    """Yield enumerations that become a native type."""
    if find_spec(_FOLLOWS) is not None:
        return
    for column in table.columns:
        kind = _enum(column)
        if kind is not None and kind.native_enum and getattr(kind, "create_type", True):
            where = f"{table.name}.{column.name}"
            values = kind.enum_class.__name__ if kind.enum_class is not None else ", ".join(map(repr, kind.enums))
            message = f"{where} is a native enum, whose changes autogenerate does not see."
            yield Problem(where, message, f"Use Enum({values}, native_enum=False, length={_room(kind)}).")


def _enum(column: Column[Any]) -> Enum | None:
    stored = column.type.impl_instance if isinstance(column.type, TypeDecorator) else column.type
    return stored if isinstance(stored, Enum) else None


def _room(kind: Enum) -> int:
    return max(32, kind.length or 0)
