"""A moment ends in ``_at``, a day in ``_date``, and nothing else does.

Who reads ``created_at`` knows that it has a time and a zone, and who reads ``birth_date`` knows that it has none,
without looking at the type. Comparing the two is a bug that the names show.

Instead: ``published`` → ``published_at``; a date called ``due_at`` → ``due_date``.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from typing import Any

from sqlalchemy import Column, Table
from sqlalchemy.types import TypeDecorator

from ..finding import Problem, Rename, Schema

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
_KEEP_TIMES_AS_TEXT = frozenset({"sqlite"})


def check(table: Table, schema: Schema) -> Iterator[Problem]:
    """Yield columns whose name and type tell different stories."""
    for column in table.columns:
        wanted = _SUFFIXES.get(python_type_of(column))
        has = next((suffix for suffix in _KINDS if column.name.endswith(suffix)), None)
        if wanted == has or (wanted is None and schema.database in _KEEP_TIMES_AS_TEXT):
            continue
        where = f"{table.name}.{column.name}"
        if wanted is None:
            message = f'"{column.name}" is named like {_KINDS[str(has)]} and is {column.type!r}.'
            yield Problem(where, message, f'Drop "{has}", or give it the type.')
        else:
            stem = column.name.removesuffix(has or "")
            rename = Rename("column", column.name, f"{stem}{wanted}")
            yield Problem(where, f'"{column.name}" is {_KINDS[wanted]}.', f'Call it "{rename.new}".', rename)


def python_type_of(column: Column[Any]) -> Any:
    """Return the class of the values that the column stores; ``None`` where its type does not say."""
    stored = column.type.impl_instance if isinstance(column.type, TypeDecorator) else column.type
    try:
        return stored.python_type
    except NotImplementedError:
        return None
