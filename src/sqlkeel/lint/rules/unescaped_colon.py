r"""A colon before a word in ``text()`` is a bind parameter; CREATE TABLE renders NULL in its place.

``text("'a :b'")`` becomes ``'a NULL'``, and so does ``:1`` in a JSON document. Neither SQLAlchemy nor the database
reports it: not in a default, a CHECK, a generated column or the condition of an index. SQLAlchemy parses a string in
``CheckConstraint`` or ``Computed`` in the same way.

Instead: write a backslash before the colon, which is two in a Python string: ``text("'a \\:b'")``. A plain string in
``server_default=`` has no parameters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import BindParameter, CheckConstraint, Computed, DefaultClause, Table
from sqlalchemy.sql import visitors

from .._finding import Problem, Schema

__all__ = ["BAD", "GOOD", "UNSEEN_ON", "check", "escaped"]

BAD = r"""
class Post(Base):
    __tablename__ = "post"
    id: Mapped[int] = mapped_column(primary_key=True)
    settings: Mapped[str] = mapped_column(server_default=text("'{\"a\":1}'"))
"""

GOOD = r"""
class Post(Base):
    __tablename__ = "post"
    id: Mapped[int] = mapped_column(primary_key=True)
    settings: Mapped[str] = mapped_column(server_default=text("'{\"a\"\\:1}'"))
    limits: Mapped[str] = mapped_column(server_default=text("'{\"a\": 1}'"))
    label: Mapped[str] = mapped_column(server_default="a :b")
    opening: Mapped[str] = mapped_column(server_default=text("'10:30'"))
"""

_READ: Final = "Reflected SQL has no parameters."
UNSEEN_ON: Final = {"sqlite": _READ, "mariadb": _READ, "postgresql": _READ}


_COLON: Final = re.compile(r"(?<![:\w\\]):(?=\w)")


def escaped(sql: str) -> str:
    """Return SQL escaped for ``text()``, without any parameters."""
    return _COLON.sub(r"\\:", sql)


def check(table: Table, schema: Schema) -> Iterator[Problem]:
    """Yield each SQL fragment of a table that has a parameter without a value."""
    for where, what, clause in _pieces(table):
        names = _parameters(clause)
        if names:
            fix = f'Write "\\\\:{names[0]}" in the string, if it is not a parameter.'
            yield Problem(where, f"{what} has NULL in the place of :{', :'.join(names)}.", fix)


def _pieces(table: Table) -> Iterator[tuple[str, str, Any]]:
    for column in table.columns:
        default = column.server_default
        if isinstance(default, Computed):
            yield f"{table.name}.{column.name}", f"The expression of {column.name}", default.sqltext
        elif isinstance(default, DefaultClause):
            yield f"{table.name}.{column.name}", f"The server default of {column.name}", default.arg
    for constraint in table.constraints:
        if isinstance(constraint, CheckConstraint):
            yield table.name, f"The CHECK {constraint.name or 'without a name'}", constraint.sqltext
    for index in table.indexes:
        conditions = [value for key, value in index.dialect_kwargs.items() if key.endswith("_where")]
        for part in (*index.expressions, *conditions):
            yield table.name, f"The index {index.name}", part


def _parameters(clause: Any) -> list[str]:
    if not hasattr(clause, "get_children"):
        return []  # a plain string, which SQLAlchemy sends unchanged
    parts = visitors.iterate(clause)
    return list(dict.fromkeys(one.key for one in parts if isinstance(one, BindParameter) and one.required))
