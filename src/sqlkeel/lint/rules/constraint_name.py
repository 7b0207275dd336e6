"""Constraints and indexes are named by the convention.

A constraint without a name gets one from the database, a different one on each; a migration that drops it has to look
it up first, and an error that names it says nothing. ``user_email_key`` says the table, the columns and the kind.

Instead: inherit from ``sqlkeel.Base``, or make the ``MetaData`` with ``sqlkeel.naming.metadata_with_names()``, and
name nothing by hand but a CHECK.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, PrimaryKeyConstraint, Table, UniqueConstraint

from ..finding import Problem, Schema

__all__ = ["BAD", "GOOD", "check"]

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
_ROOM_TO_CUT: Final = 40


def check(table: Table, schema: Schema) -> Iterator[Problem]:
    """Yield constraints and indexes without a name, or with one of another form."""
    for constraint in (*table.constraints, *table.indexes):
        ending = next((word for kind, word in _ENDINGS.items() if isinstance(constraint, kind)), "_idx")
        if not _is_made_later(constraint):
            yield from _problems(table, constraint, ending)


def _problems(table: Table, constraint: Any, ending: str) -> Iterator[Problem]:
    columns = [] if ending == "_pkey" else [column.name for column in constraint.columns]
    wanted = "_".join([table.name, *columns]) + ending
    if constraint.name is None:
        message = f"A {type(constraint).__name__} has no name."
        yield Problem(table.name, message, f'Use metadata_with_names(), or name="{wanted}".')
    elif not _follows(table, str(constraint.name), ending):
        message = f'"{constraint.name}" is not a name of the convention.'
        yield Problem(table.name, message, f'Drop name=, or call it "{wanted}".')


def _follows(table: Table, name: str, ending: str) -> bool:
    # A long table name is cut to make room for a hash.
    return name.startswith(f"{table.name[:_ROOM_TO_CUT]}_"[:_ROOM_TO_CUT]) and name.endswith(ending)


def _is_made_later(constraint: Any) -> bool:
    """Tell whether this is no constraint of the program's: an empty primary key, or the CHECK of an Enum."""
    if isinstance(constraint, PrimaryKeyConstraint) and not len(constraint.columns):
        return True
    return constraint.name is not None and not isinstance(constraint.name, str)
