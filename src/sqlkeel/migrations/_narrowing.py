"""Type changes that keep every value: no digit, fraction of a second or time of day is lost silently."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    Date,
    DateTime,
    Dialect,
    Float,
    Integer,
    Numeric,
    String,
    Time,
    cast,
    column,
    exists,
    literal,
    select,
    table,
)
from sqlalchemy.dialects.postgresql import INTERVAL
from sqlalchemy.types import TypeDecorator

from ..errors import MigrationError

__all__ = ["KeepsValues"]

# Servers convert from each type on the left to each on the right implicitly, and round.
_ROUNDED: Final[tuple[tuple[tuple[type, ...], tuple[type, ...]], ...]] = (
    ((Integer, Numeric, Float), (Integer, Numeric)),
    ((Date, DateTime, Time), (Date, DateTime, Time)),
    ((String,), (Integer, Numeric, Date, DateTime, Time)),
    ((INTERVAL,), (INTERVAL,)),
)


class KeepsValues:
    """The part of Alembic's implementation for databases that round values to fit a new type."""

    connection: Any
    dialect: Dialect

    def alter_column(self, table_name: str, column_name: str, **options: Any) -> None:
        """Change a column, but only if all values of its rows fit the new type.

        Raises:
            MigrationError: When a value would change. The servers themselves refuse text that is too long.
        """
        new = options.get("type_")
        if self.connection is not None and new is not None and not self.is_told(column_name, options):
            self._refuse_rounding(table_name, column_name, options)
        theirs: Any = super()
        theirs.alter_column(table_name, column_name, **options)

    def is_told(self, column_name: str, options: dict[str, Any]) -> bool:
        """Return whether the revision states how to convert the values."""
        return False

    def as_both(self, value: Any, old: Any, new: Any) -> tuple[Any, Any]:
        """Return a value cast to the new type, and the value to compare it with."""
        return cast(value, new), value

    def _refuse_rounding(self, table_name: str, column_name: str, options: dict[str, Any]) -> None:
        old, new = (_plain(options.get(key), self.dialect) for key in ("existing_type", "type_"))
        if not any(isinstance(old, before) and isinstance(new, after) for before, after in _ROUNDED):
            return
        rows = table(table_name, column(column_name, old), schema=options.get("schema"))
        value: Any = rows.c[column_name]
        after, before = self.as_both(value, old, new)
        changed = select(literal(1)).select_from(rows).where(after.is_distinct_from(before))
        if self.connection.scalar(select(exists(changed))):
            raise MigrationError(
                f"{table_name} has rows whose {column_name} would change as {new!r}.",
                hint="If that is what you want, first round or cut the values by an UPDATE in the revision.",
            )


def _plain(kind: Any, dialect: Dialect) -> Any:
    return kind.type_engine(dialect) if isinstance(kind, TypeDecorator) else kind
