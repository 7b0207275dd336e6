"""A string column has a length limit only if its values have one.

255 and 256 come from the range of a length byte, and 191 from the longest utf8mb4 text that an index of an old MySQL
could hold; no real value has these limits. PostgreSQL and SQLite store a short text the same way in every type, so the
limit saves nothing. When it turns out too small, the change locks the table, and each prepared statement on it fails
once.

The rule accepts 255 in a key or an index, because MariaDB can only index a text that has a length. The habit is
reported once per project.

Instead: ``Text()``, which ``Mapped[str]`` means on ``sqlkeel.Base``, with a CHECK if there is a rule; or the length of
the longest valid value, ``String(320)`` for an email address.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import Column, PrimaryKeyConstraint, String, Table, UniqueConstraint

from .._finding import Problem, Schema
from .._plain_type import plain_type

__all__ = ["BAD", "GOOD", "check"]

BAD = """
class Person(Base):
    __tablename__ = "person"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(255))
"""

GOOD = """
class Person(Base):
    __tablename__ = "person"
    __table_args__ = (CheckConstraint("char_length(motto) <= 140", name="motto"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    motto: Mapped[str] = mapped_column(Text())
    email: Mapped[str] = mapped_column(String(320))
    nickname: Mapped[str] = mapped_column(String(255), unique=True)
"""

_HABITS: Final = frozenset({191, 255, 256})
# Without Text, CHAR, ENUM and SET, which SQLAlchemy also treats as strings.
_KINDS: Final = frozenset({"NVARCHAR", "VARCHAR", "string", "unicode"})


def check(table: Table, schema: Schema) -> Iterator[Problem]:
    """Yield string columns with a habitual length that neither a key nor an index requires."""
    keyed = set(_keyed(table))
    for column in table.columns:
        if column.name not in keyed and not column.foreign_keys and _is_habit(column):
            where = f"{table.name}.{column.name}"
            message = f"{where} is {column.type!r}: a length out of habit."
            fix = "Use Text(), or the length of the longest valid value."
            yield Problem(where, message, fix, cause="a length out of habit")


def _is_habit(column: Column[Any]) -> bool:
    kind = plain_type(column.type)
    return isinstance(kind, String) and kind.__visit_name__ in _KINDS and kind.length in _HABITS


def _keyed(table: Table) -> Iterator[str]:
    for constraint in table.constraints:
        if isinstance(constraint, (PrimaryKeyConstraint, UniqueConstraint)):
            yield from (column.name for column in constraint.columns)
    for index in table.indexes:
        yield from (column.name for column in index.columns)
