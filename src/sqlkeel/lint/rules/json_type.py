"""A JSON document is stored as ``jsonb`` on PostgreSQL, not as ``json``.

``json`` stores the text as it came. Each access parses it again, no GIN index can cover it, and it has no ``=``
operator, so that DISTINCT, GROUP BY and UNION fail on such a row (manual, 8.14, "JSON Types"). Changing the type later
rewrites the table.

Instead: ``JSON().with_variant(JSONB(), "postgresql")``, which ``Mapped[dict[str, Any]]`` means on ``sqlkeel.Base``.
Allow ``json`` for a document that must come back byte for byte, such as a signed one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import CompileError
from sqlalchemy.types import TypeDecorator

from .._finding import Problem, Schema

__all__ = ["BAD", "GOOD", "UNSEEN_ON", "check"]

BAD = """
class Event(Base):
    __tablename__ = "event"
    id: Mapped[int] = mapped_column(primary_key=True)
    payload: Mapped[dict[str, Any]] = mapped_column(JSON())
"""

GOOD = """
class Event(Base):
    __tablename__ = "event"
    id: Mapped[int] = mapped_column(primary_key=True)
    payload: Mapped[dict[str, Any]]
    answer: Mapped[list[str]] = mapped_column(JSON().with_variant(JSONB(), "postgresql"))
"""

UNSEEN_ON: Final = {
    "sqlite": "It has one kind of JSON.",
    "mariadb": "It has one kind of JSON, a checked LONGTEXT.",
}

_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy's own


def check(table: Table, schema: Schema) -> Iterator[Problem]:
    """Yield columns that are ``json`` on PostgreSQL."""
    for column in table.columns:
        try:
            name = column.type.compile(_DIALECT)
        except CompileError:  # a type that PostgreSQL does not have
            continue
        if name == "JSON":
            where = f"{table.name}.{column.name}"
            kind = type(column.type)
            made_of = f"Let {kind.__name__}.impl be" if isinstance(column.type, TypeDecorator) else "Use"
            fix = f'{made_of} JSON().with_variant(JSONB(), "postgresql").'
            cause = f"{kind.__module__}.{kind.__qualname__}" if isinstance(column.type, TypeDecorator) else None
            yield Problem(where, f"{where} is json on PostgreSQL, not jsonb.", fix, cause=cause)
