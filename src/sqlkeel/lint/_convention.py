"""The name that the convention gives a constraint or index, for any table and columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
)
from sqlalchemy.sql import visitors

from ..models._naming import NAMING_CONVENTION, metadata_with_names

__all__ = ["Named", "columns_of", "convention_name", "has_our_convention"]

Named = PrimaryKeyConstraint | ForeignKeyConstraint | UniqueConstraint | CheckConstraint | Index


def has_our_convention(metadata: MetaData) -> bool:
    """Return whether constraints are named as by `metadata_with_names`, so that the project follows our rules."""
    return bool(metadata.naming_convention.get("pk") == NAMING_CONVENTION["pk"])


def convention_name(constraint: Named, *, table: str, columns: Mapping[str, str]) -> str | None:
    """Return what `metadata_with_names` would call *constraint*; ``None`` if that cannot be determined.

    Each constraint is named on its own: the hash that distinguishes two constraints with the same name is not included.

    Args:
        constraint: A constraint or index of a table, or one read from a database.
        table: The name that its table will have.
        columns: New names of columns, by their current names.
    """
    names = columns_of(constraint)
    bare = None if names is None else _bare(constraint, [columns.get(name, name) for name in names])
    if bare is None:
        return None
    listed = dict.fromkeys(columns.get(name, name) for name in names or ())
    Table(table, metadata_with_names(), *(Column(name, Integer) for name in listed), bare)
    return str(bare.name)


def columns_of(constraint: Named) -> list[str] | None:
    """Return the columns for the name; ``None`` for an index over an expression that is only known as text."""
    if not isinstance(constraint, Index):
        return [column.name for column in constraint.columns]
    found = [
        [one.name for one in visitors.iterate(cast("Any", part)) if isinstance(one, Column)]
        for part in constraint.expressions
    ]
    return [name for names in found for name in names] if all(found) else None


def _bare(constraint: Named, names: list[str]) -> Any:
    """Return an unnamed constraint of the same kind."""
    match constraint:
        case PrimaryKeyConstraint():
            return PrimaryKeyConstraint(*names)
        case ForeignKeyConstraint():
            return ForeignKeyConstraint(names, [f"target.{name}" for name in names])
        case UniqueConstraint():
            return UniqueConstraint(*names)
        case Index():
            return Index(None, *names)
        case _:
            about = _subject(constraint) or "_".join(names)
            return CheckConstraint("1 = 1", name=about) if about else None


def _subject(check: CheckConstraint) -> str | None:
    """Return the subject of a CHECK: its name without the parts that the convention added."""
    if not isinstance(check.name, str):
        return None
    return check.name.removeprefix(f"{check.table.name}_").removesuffix("_check")
