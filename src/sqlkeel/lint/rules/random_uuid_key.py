"""A UUID primary key is ordered by time: version 7, not version 4.

Random keys are spread over the whole index. Once the index is larger than memory, each insert reads a page and writes
it back; after each checkpoint, PostgreSQL also writes the whole page to its log. On MariaDB and in SQLite's WITHOUT
ROWID tables the rows themselves are stored in key order. Ascending keys touch only the last page.

Instead: ``sqlkeel.UUIDKeyMixin``, or ``default=sqlkeel.models.uuid7``; on PostgreSQL 18 ``server_uuid7()``. Allow
version 4 if rows are distributed over machines by their key, and for a table that stays small.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import ClauseElement, Column, Table
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import CompileError

from .._finding import Problem, Schema
from .time_suffix import python_type_of

__all__ = ["BAD", "GOOD", "check"]

BAD = """
class Visit(Base):
    __tablename__ = "visit"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
"""

GOOD = """
class Visit(UUIDKeyMixin, Base):
    __tablename__ = "visit"

class Payment(Base):
    __tablename__ = "payment"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    secret: Mapped[UUID] = mapped_column(default=uuid4)
"""

_FUNCTIONS: Final = ("gen_random_uuid", "randomblob", "uuid_generate_v4", "uuid_v4", "uuidv4")
_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy's own


def check(table: Table, schema: Schema) -> Iterator[Problem]:
    """Yield primary keys that Python or the database generates at random."""
    for column in table.primary_key:
        maker = _python_maker(column) or _sql_maker(column)
        if maker is not None:
            where = f"{table.name}.{column.name}"
            fix = f"Use {_ordered(column)}, or UUIDKeyMixin."
            yield Problem(where, f"{where} is a primary key made by {maker}: random.", fix)


def _ordered(column: Column[Any]) -> str:
    """Return the default to write; a string column needs a string."""
    is_text = python_type_of(column) is str
    return "default=lambda: str(sqlkeel.models.uuid7())" if is_text else "default=sqlkeel.models.uuid7"


def _python_maker(column: Column[Any]) -> str | None:
    if column.default is None or not column.default.is_callable:
        return None
    made: Any = inspect.unwrap(column.default.arg)  # type: ignore[attr-defined]
    names = (getattr(made, "__name__", ""), *getattr(getattr(made, "__code__", None), "co_names", ()))
    return "uuid4" if "uuid4" in names else None


def _sql_maker(column: Column[Any]) -> str | None:
    texts = [_text(getattr(default, "arg", "")) for default in (column.default, column.server_default)]
    return next((name for name in _FUNCTIONS for text in texts if f"{name}(" in text), None)


def _text(default: object) -> str:
    if not isinstance(default, ClauseElement):
        return ""
    try:
        return str(default.compile(dialect=_DIALECT)).lower()
    except CompileError:  # a function that PostgreSQL does not have
        return ""
