"""A foreign key has an index that begins with its columns.

Neither PostgreSQL nor SQLite creates one. Without it, every delete of a parent scans the whole child table for
children while it holds locks, and so does every query from a parent to its children.

Instead: ``mapped_column(ForeignKey(...), index=True)``, or any index, unique constraint or primary key that begins
with the same columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sqlalchemy import Column, Index, PrimaryKeyConstraint, Table, UniqueConstraint

from ..._sql_text import SQLITE
from ...models._constraints import is_live_key
from .._finding import Problem, Schema
from .association_key import pair_without_key

__all__ = ["BAD", "GOOD", "check"]

BAD = """
class User(Base):
    __tablename__ = "user"
    id: Mapped[int] = mapped_column(primary_key=True)

class Post(Base):
    __tablename__ = "post"
    id: Mapped[int] = mapped_column(primary_key=True)
    author_id: Mapped[int] = mapped_column(ForeignKey("user.id"))
"""

GOOD = """
class User(Base):
    __tablename__ = "user"
    id: Mapped[int] = mapped_column(primary_key=True)

class Post(Base):
    __tablename__ = "post"
    id: Mapped[int] = mapped_column(primary_key=True)
    author_id: Mapped[int] = mapped_column(ForeignKey("user.id"), index=True)
"""


_NOT_NULL: Final = ["IS", "NOT", "NULL"]


def check(table: Table, schema: Schema) -> Iterator[Problem]:
    """Yield foreign keys that no index covers."""
    indexed = list(_indexed(table))
    # association-key will ask for this key, and it covers its first column.
    indexed += [(columns, True)] if (columns := pair_without_key(table, schema)) else []
    for key in table.foreign_key_constraints:
        names = [column.name for column in key.columns]
        # The index of the plain foreign key also covers the foreign key of live_parent.
        served = any(_serves(columns, names, is_unique=unique) for columns, unique in indexed)
        if not is_live_key(key) and not served:
            where = f"{table.name}.{names[0]}"
            fix = "Give the column index=True." if len(names) == 1 else f"Index(None, {', '.join(map(repr, names))})"
            yield Problem(where, f"The foreign key ({', '.join(names)}) has no index.", fix)


def _serves(columns: list[str], names: list[str], *, is_unique: bool) -> bool:
    """Return whether an index begins with the columns of a key; a unique index on some of them is enough."""
    return set(columns[: len(names)]) == set(names) or (is_unique and set(columns) <= set(names))


def _indexed(table: Table) -> Iterator[tuple[list[str], bool]]:
    """Yield the columns of each index and whether it is unique; skip partial indexes that omit more than NULLs."""
    for constraint in table.constraints:
        if isinstance(constraint, (PrimaryKeyConstraint, UniqueConstraint)):
            yield [column.name for column in constraint.columns], len(constraint.columns) > 0
    for index in table.indexes:
        columns = [part.name if isinstance(part, Column) else "" for part in index.expressions]
        if _leaves_out(index) <= set(columns):
            yield columns, index.unique


def _leaves_out(index: Index) -> set[str]:
    """Return the columns whose NULLs a partial index omits; no lookup of a parent searches for NULL."""
    given = {str(value) for option, value in index.dialect_kwargs.items() if option.endswith("_where")}
    return {_not_null(condition) for condition in given}


def _not_null(condition: str) -> str:
    """Return the column that a condition keeps from being NULL; nothing for any other condition."""
    tokens = [*SQLITE.tokens(condition)]  # it reads the quotes of every database
    if [one.text for one in tokens[:1] + tokens[-1:]] == ["(", ")"]:
        tokens = tokens[1:-1]
    column, keys = tokens[:-3], [one.key for one in tokens[-3:]]
    if keys != _NOT_NULL or [one.text for one in column[:-1]][1:] not in ([], ["."]):
        return ""
    return next((one.name or "" for one in column[-1:]), "")
