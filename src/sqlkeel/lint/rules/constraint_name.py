"""Constraints and indexes are named by the convention.

A constraint without a name gets one from the database, and each database chooses another. A migration has to look the
name up before it can drop the constraint, and an error that contains it explains nothing. ``user_email_key`` gives the
table, the columns and the kind.

A project that has its own convention, ``MetaData(naming_convention=…)``, keeps it: any name that it gives is accepted.
A project without any convention gets one finding, not one for each constraint.

Instead: inherit from ``sqlkeel.Base``, or create the ``MetaData`` with ``sqlkeel.models.metadata_with_names()``, and
name only CHECK constraints by hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, PrimaryKeyConstraint, Table, UniqueConstraint

from .._convention import convention_name, has_our_convention
from .._finding import Problem, Rename, Schema

__all__ = ["BAD", "GOOD", "check", "follows"]

BAD = """
class User(Base):
    __tablename__ = "user"
    __table_args__ = (UniqueConstraint("email", name="uq1"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str]
"""

GOOD = """
class User(Base):
    __tablename__ = "user"
    __table_args__ = (UniqueConstraint("email"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str]
"""

_ENDINGS: Final = {
    PrimaryKeyConstraint: "_pkey",
    ForeignKeyConstraint: "_fkey",
    UniqueConstraint: "_key",
    CheckConstraint: "_check",
}
_KEYS: Final = {
    "pk": PrimaryKeyConstraint,
    "fk": ForeignKeyConstraint,
    "uq": UniqueConstraint,
    "ck": CheckConstraint,
}
_ROOM_TO_CUT: Final = 40


def check(table: Table, schema: Schema) -> Iterator[Problem]:
    """Yield constraints and indexes that have no name, or a name that does not follow the convention."""
    keys = {key.name for key in table.foreign_key_constraints}
    named: list[Any] = [*table.constraints, *table.indexes]
    for constraint in named:
        # MariaDB creates an index with each foreign key, under the same name.
        is_by_product = isinstance(constraint, Index) and constraint.name in keys
        if is_by_product or _is_made_later(constraint) or follows(constraint, table.name):
            continue
        if schema.database is not None or has_our_convention(table.metadata):
            yield _problem(table, constraint)
        elif constraint.name is None:
            yield _nameless(table, constraint)


def follows(constraint: Any, table: str) -> bool:
    """Return whether the name has the form that the convention produces on the table *table*."""
    if constraint.name is None:
        return False
    ending = next((word for kind, word in _ENDINGS.items() if isinstance(constraint, kind)), "_idx")
    # The convention shortens a long table name to make room for a hash.
    head = f"{table[:_ROOM_TO_CUT]}_"[:_ROOM_TO_CUT]
    return str(constraint.name).startswith(head) and str(constraint.name).endswith(ending)


def _nameless(table: Table, constraint: Any) -> Problem:
    """Return the finding that the convention lacks this kind, or that there is no convention; reported once."""
    kind = type(constraint).__name__
    short = next((key for key, one in _KEYS.items() if isinstance(constraint, one)), "ix")
    if isinstance(constraint, CheckConstraint) and "ck" in table.metadata.naming_convention:
        return Problem(table.name, "A CheckConstraint has no name.", 'Name it: CheckConstraint("...", name="balance").')
    if set(table.metadata.naming_convention) <= {"ix"}:
        message = "The MetaData has no naming convention, and its constraints have no names."
        fix = "Inherit from sqlkeel.Base, or use metadata_with_names()."
        return Problem(table.name, message, fix, cause="no convention")
    message, fix = f"A {kind} has no name.", f'Give naming_convention an entry for "{short}".'
    return Problem(table.name, message, fix, cause=f"no convention for {short}")


def _problem(table: Table, constraint: Any) -> Problem:
    wanted = convention_name(constraint, table=table.name, columns={})
    rename = None if wanted is None else Rename("constraint", constraint.name, wanted)
    if constraint.name is None:
        fix = "Use metadata_with_names(), " + (f'or name="{wanted}".' if wanted else "and give it a name.")
        return Problem(table.name, f"A {type(constraint).__name__} has no name.", fix, rename)
    message = f'"{constraint.name}" does not follow the naming convention.'
    fix = "Drop name=" + (f', or call it "{wanted}".' if wanted else ".")
    return Problem(table.name, message, fix, rename)


def _is_made_later(constraint: Any) -> bool:
    """Return whether SQLAlchemy created the constraint itself: an empty primary key, or the CHECK of an Enum."""
    if isinstance(constraint, PrimaryKeyConstraint) and not len(constraint.columns):
        return True
    return constraint.name is not None and not isinstance(constraint.name, str)
