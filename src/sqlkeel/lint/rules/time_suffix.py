"""Names of points in time end in ``_at``, names of days in ``_date``, and no other names do.

``created_at`` then has a time and a zone, and ``birth_date`` has neither; you need not look at the type. If code
compares the two, the names show the bug.

The rule ignores names that express it with another word: ``valid_until``, ``resolve_by``, ``period_end``,
``date_added``, ``timestamp``. It also ignores a number of seconds called ``expires_at``, and ``up_to_date``, which is
a phrase. If most points in time of a project have no ``_at``, that is its convention.

Instead: ``published`` → ``published_at``; a date called ``due_at`` → ``due_date``.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Column, Integer, Numeric, Table
from sqlalchemy.types import TypeDecorator

from .._finding import Problem, Rename, Schema

__all__ = ["BAD", "GOOD", "check", "python_type_of"]

BAD = """
class Invoice(Base):
    __tablename__ = "invoice"
    id: Mapped[int] = mapped_column(primary_key=True)
    paid: Mapped[datetime]
    due_at: Mapped[date]
    sent_date: Mapped[datetime]
    seen_at: Mapped[bool]
"""

GOOD = """
class Invoice(Base):
    __tablename__ = "invoice"
    id: Mapped[int] = mapped_column(primary_key=True)
    paid_at: Mapped[datetime]
    due_date: Mapped[date]
    sent_at: Mapped[datetime]
    seen: Mapped[bool]
"""

_SUFFIXES = {datetime: "_at", date: "_date"}
_KINDS = {"_at": "a datetime", "_date": "a date"}
_SAID_BEFORE = ("date_", "datetime_", "time_", "timestamp_")
_SAID_BEHIND = frozenset(
    {
        "after",
        "at",
        "before",
        "begin",
        "birthday",
        "by",
        "datetime",
        "day",
        "deadline",
        "end",
        "ended",
        "expiry",
        "from",
        "on",
        "since",
    }
    | {"start", "started", "time", "timestamp", "to", "ts", "until", "utc"}
)
"""First and last words that mark a column as a point in time or a day; the type makes clear which it is."""

_ENOUGH = 4
"""How many names without the suffix make it a convention."""

_PHRASES = ("up_to_date", "out_of_date")
_KEEP_TIMES_AS_TEXT = frozenset({"sqlite"})


def check(table: Table, schema: Schema) -> Iterator[Problem]:
    """Yield columns whose name and type contradict each other."""
    for column in table.columns:
        wanted = _SUFFIXES.get(python_type_of(column))
        has = _suffix(column.name)
        if wanted == has or (wanted is None and schema.database in _KEEP_TIMES_AS_TEXT):
            continue
        if wanted is None and has == "_at" and _counts_seconds(column):
            continue
        if wanted is not None and has is None and (_says_so(column.name) or _lacks_suffix(wanted, schema)):
            continue
        where = f"{table.name}.{column.name}"
        if wanted is None:
            message = f'"{column.name}" is named like {_KINDS[str(has)]} and is {column.type!r}.'
            yield Problem(where, message, f'Drop "{has}", or give it the type.')
        else:
            yield _misnamed(where, column.name, has=has, wanted=wanted)


def _counts_seconds(column: Column[Any]) -> bool:
    """Return whether a number may be a point in time: the seconds since 1970."""
    stored = column.type.impl_instance if isinstance(column.type, TypeDecorator) else column.type
    return isinstance(stored, (Integer, Numeric))


def _says_so(name: str) -> bool:
    return name.startswith(_SAID_BEFORE) or name.rpartition("_")[2] in _SAID_BEHIND


@lru_cache(maxsize=4)
def _lacks_suffix(wanted: str, schema: Schema) -> bool:
    """Return whether most columns of this kind lack the suffix."""
    columns = (column for table in schema.metadata.tables.values() for column in table.columns)
    names = [column.name for column in columns if _SUFFIXES.get(python_type_of(column)) == wanted]
    others = sum(not name.endswith(wanted) for name in names)
    return others >= _ENOUGH and others * 2 > len(names)


def _suffix(name: str) -> str | None:
    if name.endswith(_PHRASES):
        return None
    return next((suffix for suffix in _KINDS if f"_{name}".endswith(suffix)), None)


def _misnamed(where: str, name: str, *, has: str | None, wanted: str) -> Problem:
    message, stem = f'"{name}" is {_KINDS[wanted]}.', f"_{name}".removesuffix(has or "").removeprefix("_")
    if not stem:
        return Problem(where, message, f'Give it a name that ends in "{wanted}".')
    return Problem(where, message, f'Call it "{stem}{wanted}".', Rename("column", name, f"{stem}{wanted}"))


def python_type_of(column: Column[Any]) -> Any:
    """Return the Python class of the values that the column stores; ``None`` if its type does not say."""
    stored = column.type.impl_instance if isinstance(column.type, TypeDecorator) else column.type
    try:
        return stored.python_type
    except NotImplementedError:
        return None
