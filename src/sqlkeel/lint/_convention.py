"""The name that the convention gives a constraint or index, on whatever table and columns it is going to stand."""

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
    """Return whether constraints are named as `metadata_with_names` does: the project goes by the rules of sqlkeel."""
    return bool(metadata.naming_convention.get("pk") == NAMING_CONVENTION["pk"])


def convention_name(constraint: Named, *, table: str, columns: Mapping[str, str]) -> str | None:
    """Return what `metadata_with_names` would call *constraint*; ``None`` where nothing tells.

    It is asked alone: the hash by which two constraints that would share a name are told apart is not part of it.

    Args:
        constraint: A constraint or index of a table, or one read from a database.
        table: The name of the table that it will stand on.
        columns: New names of columns, by their present ones.
    """
    names = columns_of(constraint)
    bare = None if names is None else _bare(constraint, [columns.get(name, name) for name in names])
    if bare is None:
        return None
    listed = dict.fromkeys(columns.get(name, name) for name in names or ())
    Table(table, metadata_with_names(), *(Column(name, Integer) for name in listed), bare)
    return str(bare.name)


def columns_of(constraint: Named) -> list[str] | None:
    """Return the columns that name it; ``None`` for an index over an expression that is known as text only."""
    if not isinstance(constraint, Index):
        return [column.name for column in constraint.columns]
    found = [
        [one.name for one in visitors.iterate(cast("Any", part)) if isinstance(one, Column)]
        for part in constraint.expressions
    ]
    return [name for names in found for name in names] if all(found) else None


def _bare(constraint: Named, names: list[str]) -> Any:
    """Return a constraint of the same kind that nobody has named yet."""
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
    """Return what a CHECK is about: its name, without what the convention put around it."""
    if not isinstance(check.name, str):
        return None
    return check.name.removeprefix(f"{check.table.name}_").removesuffix("_check")
