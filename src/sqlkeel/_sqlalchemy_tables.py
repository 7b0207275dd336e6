"""What we ask of SQLAlchemy's tables, columns and types that it does not promise: private names, as in `_sqlalchemy`.

It stands in a file of its own because only migrations, lint and bulk ask for it, which most programs load later.
`tests/test_sqlalchemy_tables.py` has a canary for each name, which says what breaks.
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
"""The method in whose frame the caller's defaults are called."""

affinity_of: Final[_Getter] = attrgetter("_type_affinity")
"""The general type that a type is one of: ``Integer`` of a ``BigInteger``."""

variants_of: Final[_Getter] = attrgetter("_variant_mapping")
"""What a type is on other databases."""

is_bound_to_type: Final[_Getter] = attrgetter("_type_bound")
"""Whether a constraint is made by the type of its column."""

ddl_condition_of: Final[_Getter] = attrgetter("_ddl_if")
"""What ``ddl_if()`` of a constraint or an index was given."""

sequences_of: Final[Callable[[MetaData], Mapping[str, Any]]] = attrgetter("_sequences")
"""The sequences of a ``MetaData``, those that no column uses among them."""


def column_beside(table: Table | None, name: str, kind: Any) -> ColumnClause[Any]:
    """Return a column that exists in the database only; the `Table` object does not get it."""
    made: ColumnClause[Any] = column(name, kind)
    made.table = table
    return made


def index_of(table: Table, name: str) -> Index:
    """Return an index of which only the name is known, to be dropped."""
    return Index(name, _table=table)


def is_made(condition: Any, statement: Any, item: Any, connection: Any) -> bool:
    """Tell whether a ``ddl_if()`` has something made on a connection's database."""
    return bool(condition._should_execute(statement, item, connection, checkfirst=False))


def is_made_in(constraint: Any, compiler: Any) -> bool:
    """Tell whether a type needs its constraint in a database."""
    return bool(constraint._should_create_for_compiler(compiler))


def copy_of_column(column: Column[Any]) -> Column[Any]:
    """Return a column that is in no table; the public ``copy()`` is deprecated."""
    copied: Column[Any] = column._copy()
    return copied


def plain_function(make: Any) -> Any:
    """Return the function without a parameter that a default was given; ``None`` for one that takes the context.

    SQLAlchemy passes the context to every default, through a wrapper of its own where the function takes nothing.
    """
    wrapped_by = getattr(make, "__globals__", {}).get("__name__")
    return getattr(make, "__wrapped__", None) if wrapped_by == "sqlalchemy.sql.schema" else None


def remove_column(table: Table, column: Column[Any]) -> None:
    """Take a column out of a table: there is no public way, as tables only grow."""
    table._columns.remove(column)
