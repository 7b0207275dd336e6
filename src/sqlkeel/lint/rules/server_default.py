"""A NOT NULL column with a default also has it in the database.

Only this application knows ``default=``. A migration, a script, a bulk load or another service that inserts a row
without the column gets an error, and the column cannot be added to a table that has rows.

The rule ignores values that only Python can create, such as a UUIDv7 or a token.

Instead: add ``server_default=`` to ``default=``, or use it alone; for a point in time,
``server_default=sqlkeel.types.utc_now()``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, datetime
from enum import Enum
from typing import Any, Final

from sqlalchemy import ARRAY, Column, SelectBase, Table, literal
from sqlalchemy.sql import visitors

from .._finding import Problem, Schema
from .naive_datetime import is_naive
from .time_suffix import python_type_of
from .unescaped_colon import escaped

__all__ = ["BAD", "GOOD", "check"]

BAD = """
class Post(Base):
    __tablename__ = "post"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(default="")
    posted_at: Mapped[datetime] = mapped_column(default=lambda: datetime.now(UTC))
"""

GOOD = """
class Post(Base):
    __tablename__ = "post"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(default="", server_default="")
    posted_at: Mapped[datetime] = mapped_column(server_default=utc_now())
    subtitle: Mapped[str | None] = mapped_column(default="")
    public_id: Mapped[UUID] = mapped_column(default=uuid7)
"""

_CLOCKS: Final = {datetime: "sqlkeel.types.utc_now()", date: "func.current_date()"}


def check(table: Table, schema: Schema) -> Iterator[Problem]:
    """Yield NOT NULL columns whose default could be in the database, but is not."""
    versions = {mapper.version_id_col for mapper in schema.mappers_of(table)}
    for column in table.columns:
        if column.nullable or column.server_default is not None:
            continue
        # The ORM starts versions at one without a default that says so.
        first = 'Add server_default="1".' if column in versions else None
        fix = first if column.default is None else _fix(column, column.default)
        if fix is not None:
            where = f"{table.name}.{column.name}"
            yield Problem(where, f"{where} has its default only in Python.", fix)


def _fix(column: Column[Any], default: Any) -> str | None:
    if default.is_scalar:
        return f"Add server_default={_literal(default.arg, column)}."
    if default.is_clause_element and not _asks(default.arg):
        return "Write server_default= instead of default=."
    if default.is_callable and (clock := _CLOCKS.get(python_type_of(column))) is not None:
        return f"Write server_default={clock}{_zoned(column)}."
    if default.is_callable and (default.compare_argument(dict) or default.compare_argument(list)):
        empty = "[]" if default.compare_argument(list) and not isinstance(column.type, ARRAY) else "{}"
        return f"Add server_default=text(\"'{empty}'\")."
    return None


def _zoned(column: Column[Any]) -> str:
    """Return the change to make first: PostgreSQL would store the session's local time in a column without a zone."""
    return ", and make it UTCDateTime()" if is_naive(column) else ""


def _document(value: Any, column: Column[Any]) -> str:
    """Return the SQL literal of a document, or of an empty array."""
    written = "{}" if isinstance(column.type, ARRAY) and not value else json.dumps(value, ensure_ascii=False)
    return "'" + written.replace("'", "''") + "'"


def _asks(expression: Any) -> bool:
    """Return whether an expression reads rows, which a server default cannot do."""
    return any(isinstance(part, SelectBase) for part in visitors.iterate(expression))


def _literal(value: object, column: Column[Any]) -> str:
    """Return the Python code for a value after ``server_default=``."""
    if isinstance(value, bool):
        return f"{value}()".lower()
    if isinstance(value, Enum):
        stored = str(literal(value, column.type).compile(compile_kwargs={"literal_binds": True}))
        return json.dumps(stored[1:-1].replace("''", "'") if stored.startswith("'") else stored, ensure_ascii=False)
    if type(value) is date:
        return f'"{value.isoformat()}"'
    if isinstance(value, (str, int)):
        return json.dumps(str(value), ensure_ascii=False)
    if isinstance(value, (list, dict)):
        # As text(): a typed literal would need an import of the type, and would repeat the list.
        return f"text({json.dumps(escaped(_document(value, column)), ensure_ascii=False)})"
    if value == 0:
        return '"0"'
    # A plain string would bypass the type, which stores an amount in cents on SQLite.
    return f"literal({value!r}, {column.type!r})"
