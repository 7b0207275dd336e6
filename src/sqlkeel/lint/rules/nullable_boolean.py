"""A boolean is true or false.

With NULL it has three values, and two of them are easily confused: ``WHERE NOT active`` omits the NULL rows, ``WHERE
active IS NOT TRUE`` includes them, and Python's ``if not user.active`` treats NULL as false.

Instead: ``Mapped[bool] = mapped_column(server_default=false())``. If "unknown" is a possible answer, use a text with
three values, or the time of the answer: ``confirmed_at``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import Boolean, Column, Table
from sqlalchemy.types import TypeDecorator

from .._finding import Problem, Schema

__all__ = ["BAD", "GOOD", "UNSEEN_ON", "check"]

BAD = """
class User(Base):
    __tablename__ = "user"
    id: Mapped[int] = mapped_column(primary_key=True)
    active: Mapped[bool | None]
"""

GOOD = """
class User(Base):
    __tablename__ = "user"
    id: Mapped[int] = mapped_column(primary_key=True)
    active: Mapped[bool] = mapped_column(server_default=true())
    confirmed_at: Mapped[datetime | None]
"""

UNSEEN_ON: Final = {"mariadb": "Its BOOLEAN is TINYINT(1), which may as well be a small number."}


def check(table: Table, schema: Schema) -> Iterator[Problem]:
    """Yield booleans that may be NULL, except computed ones and columns that only a subclass in the table has."""
    for column in table.columns:
        if column.nullable and column.computed is None and _is_boolean(column) and _is_of_all(column, schema):
            where = f"{table.name}.{column.name}"
            wanted = "Mapped[bool]" if _is_mapped(table, schema) else "nullable=False"
            yield Problem(where, f"{where} is true, false, or NULL.", f"Use {wanted}{_default(column)}.")


def _default(column: Column[Any]) -> str:
    """Return which default to add: the one that the column has already, or false."""
    if column.server_default is not None:
        return ", with the server_default that it has"
    default: Any = column.default
    is_true = default is not None and default.is_scalar and default.arg is True
    return f" with server_default={'true' if is_true else 'false'}()"


def _is_boolean(column: Column[Any]) -> bool:
    stored = column.type.impl_instance if isinstance(column.type, TypeDecorator) else column.type
    return isinstance(stored, Boolean)


def _is_mapped(table: Table, schema: Schema) -> bool:
    return next(iter(schema.mappers_of(table)), None) is not None


def _is_of_all(column: Column[Any], schema: Schema) -> bool:
    base = next(iter(schema.mappers_of(column.table)), None)
    return base is None or column in set(base.columns)
