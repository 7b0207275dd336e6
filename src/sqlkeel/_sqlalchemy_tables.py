"""Private names of SQLAlchemy's tables, columns and types that we use.

They are not in `_sqlalchemy`, because only migrations, lint and bulk use them, and most applications load those later
or never. `tests/test_sqlalchemy_tables.py` has a canary test for each name; its message names the feature that breaks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, Final

from sqlalchemy import Column, ColumnClause, Index, MetaData, Table, column

__all__ = [
    "ASKS_FOR_DEFAULTS",
    "affinity_of",
    "column_beside",
    "copy_of_column",
    "ddl_condition_of",
    "index_of",
    "is_bound_to_type",
    "is_made",
    "is_made_in",
    "plain_function",
    "remove_column",
    "sequences_of",
    "variants_of",
]

_Getter = Callable[[Any], Any]

ASKS_FOR_DEFAULTS: Final = "_process_execute_defaults"
"""The method of SQLAlchemy that calls the Python defaults of columns."""

affinity_of: Final[_Getter] = attrgetter("_type_affinity")
"""The general type of a type: ``Integer`` for a ``BigInteger``."""

variants_of: Final[_Getter] = attrgetter("_variant_mapping")
"""The types that a type is replaced by on other databases, by dialect."""

is_bound_to_type: Final[_Getter] = attrgetter("_type_bound")
"""Whether the type of a column has created the constraint."""

ddl_condition_of: Final[_Getter] = attrgetter("_ddl_if")
"""The condition that ``ddl_if()`` of a constraint or an index got."""

sequences_of: Final[Callable[[MetaData], Mapping[str, Any]]] = attrgetter("_sequences")
"""The sequences of a ``MetaData``, also those that no column uses."""


def column_beside(table: Table | None, name: str, kind: Any) -> ColumnClause[Any]:
    """Return a column that exists in the database only; the `Table` object does not get it."""
    made: ColumnClause[Any] = column(name, kind)
    made.table = table
    return made


def index_of(table: Table, name: str) -> Index:
    """Return an index with a name and without columns, to be dropped."""
    return Index(name, _table=table)


def is_made(condition: Any, statement: Any, item: Any, connection: Any) -> bool:
    """Return whether a ``ddl_if()`` condition lets SQLAlchemy create *item* on a connection's database."""
    return bool(condition._should_execute(statement, item, connection, checkfirst=False))


def is_made_in(constraint: Any, compiler: Any) -> bool:
    """Return whether SQLAlchemy creates the constraint of a type on the compiler's database."""
    return bool(constraint._should_create_for_compiler(compiler))


def copy_of_column(column: Column[Any]) -> Column[Any]:
    """Return a copy of a column that is in no table; the public ``copy()`` is deprecated."""
    copied: Column[Any] = column._copy()
    return copied


def plain_function(make: Any) -> Any:
    """Return the caller's function of a default if it has no parameter; ``None`` if it takes the context.

    SQLAlchemy passes the context to every default. It wraps a function without a parameter to drop the context.
    """
    wrapped_by = getattr(make, "__globals__", {}).get("__name__")
    return getattr(make, "__wrapped__", None) if wrapped_by == "sqlalchemy.sql.schema" else None


def remove_column(table: Table, column: Column[Any]) -> None:
    """Remove a column from a `Table`; SQLAlchemy has no public method for that."""
    table._columns.remove(column)
