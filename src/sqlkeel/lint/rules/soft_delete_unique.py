"""A unique constraint on a table with soft delete covers only live rows.

``unique=True`` includes deleted rows: a deleted account keeps its email address taken forever. And
``UniqueConstraint("email", "deleted_at")`` does not constrain live rows at all, because NULL does not equal NULL.

The rule ignores values that no second row can have: a key, a UUID generated for the row, columns that a foreign key
references. It also ignores columns whose name says that a value is never reused: a token, a hash, a secret, an issued
code or number, an id in another system.

Instead: ``unique_live("email")`` in ``__table_args__``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from sqlalchemy import Column, Index, Table, UniqueConstraint, Uuid
from sqlalchemy.sql.selectable import FromClause

from .._finding import Problem, Schema

__all__ = ["BAD", "GOOD", "check", "is_soft_deletable"]

BAD = """
class User(SoftDeleteMixin, Base):
    __tablename__ = "user"
    __table_args__ = (UniqueConstraint("team", "nickname", "deleted_at"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(320), unique=True)
    team: Mapped[str] = mapped_column(String(40))
    nickname: Mapped[str] = mapped_column(String(40))
"""

GOOD = """
class User(DualIDMixin, SoftDeleteMixin, Base):
    __tablename__ = "user"
    __table_args__ = (unique_live("email"), unique_live("team", "nickname"))
    email: Mapped[str] = mapped_column(String(320))
    team: Mapped[str] = mapped_column(String(40))
    nickname: Mapped[str] = mapped_column(String(40))
"""

_GIVEN_OUT: Final = frozenset(
    {"checksum", "digest", "fingerprint", "hash", "jti", "nonce", "secret", "serial", "signature", "token"}
)
_GIVEN_OUT_WITH_A_WORD: Final = frozenset({"code", "id", "key", "number", "ref", "reference"})
"""Last words of a name that mean an issued value if another word precedes them; alone, they may name the row."""

_COMES_AGAIN: Final = frozenset(
    {"phone", "mobile", "telephone", "fax", "country", "currency", "language", "house", "room"}
)
"""Things whose number or code can pass to another owner."""

_MARK: Final = "deleted_at"
_MARKS: Final = frozenset({_MARK, "deletion_id"})


def check(table: Table, schema: Schema) -> Iterator[Problem]:
    """Yield unique constraints and indexes that include deleted rows."""
    if not is_soft_deletable(table):
        return
    for unique in _uniques(table):
        columns = list(unique.columns)
        if not any(_is_given_once(column, schema) for column in columns) and not _is_target(columns, schema):
            names = [column.name for column in columns if column.name not in _MARKS]
            where = f"{table.name}.{names[0] if names else columns[0].name}"
            listing = ", ".join(f'"{name}"' for name in names)
            message = f"Deleted rows keep ({', '.join(names)}) taken."
            if len(names) < len(columns):
                message = f"Two live rows may have the same ({', '.join(names)}), because NULLs are not equal."
            yield Problem(where, message, f"Put unique_live({listing}) into __table_args__ instead.")


def is_soft_deletable(table: FromClause) -> bool:
    """Return whether rows of this table are soft-deleted: it has a ``deleted_at`` that may be NULL."""
    mark = table.columns.get(_MARK)
    return isinstance(mark, Column) and bool(mark.nullable)


def _uniques(table: Table) -> Iterator[Any]:
    """Yield unique constraints on all rows; a partial index, as from ``unique_live``, covers some."""
    for constraint in table.constraints:
        if isinstance(constraint, UniqueConstraint) and not _distinguishes_no_nulls(constraint):
            yield constraint
    for index in table.indexes:
        partial = any(name.endswith("_where") for name in index.dialect_kwargs)
        if index.unique and not partial and len(index.columns) and not _distinguishes_no_nulls(index):
            yield index


def _distinguishes_no_nulls(unique: UniqueConstraint | Index) -> bool:
    marked = any(column.name in _MARKS for column in unique.columns)
    return marked and bool(unique.dialect_kwargs.get("postgresql_nulls_not_distinct"))


def _is_given_once(column: Column[Any], schema: Schema) -> bool:
    """Return whether no other row ever has the value: a key, a UUID generated for the row, a marker of live rows."""
    if column.primary_key or column.identity is not None or column.computed is not None:
        return True
    if not column.foreign_keys and column.name not in _MARKS and _is_given_out(column.name):
        return True
    made = schema.database is not None or column.default is not None or column.server_default is not None
    return made and not column.foreign_keys and _is_uuid(column, schema)


def _is_given_out(name: str) -> bool:
    *others, last = name.lower().split("_")
    if _COMES_AGAIN.intersection(others):
        return False
    return last in _GIVEN_OUT or (last in _GIVEN_OUT_WITH_A_WORD and bool(others))


def _is_uuid(column: Column[Any], schema: Schema) -> bool:
    if schema.database in {None, "postgresql"}:
        return isinstance(column.type, Uuid)
    # On databases without a UUID type, SQLAlchemy stores 32 hex digits.
    return isinstance(column.type, Uuid) or getattr(column.type, "length", None) == 32


def _is_target(columns: Iterable[Column[Any]], schema: Schema) -> bool:
    """Return whether a foreign key references these columns; it cannot reference a partial index."""
    wanted = {f"{column.table.fullname}.{column.name}" for column in columns}
    keys = (key for table in schema.metadata.tables.values() for key in table.foreign_key_constraints)
    return any({element.target_fullname for element in key.elements} == wanted for key in keys)
