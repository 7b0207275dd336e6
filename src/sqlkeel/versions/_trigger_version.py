"""A version that the database increments, for a table that other applications write too."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Table, event
from sqlalchemy.orm import Mapper

from ..errors import NotSupported
from ._triggers import VersionTrigger
from ._version import VersionMixin

__all__ = ["TriggerVersionMixin"]


class TriggerVersionMixin(VersionMixin):
    """``version``, incremented by a trigger, so that changes from outside this application are detected too.

    Use it for a table that scripts, an old service or people at a console also write. SQL text, Core statements and
    other applications increment the version, and a session that read the row before gets a `VersionConflict`. A
    statement that sets the version increments it by one all the same. Everything else works as with `VersionMixin`,
    without additional statements; on SQLite, a change from outside writes the row twice.

    ``create_all`` and migrations create the trigger. An UPDATE of a row counts even if it changes nothing; on MariaDB
    so does ON DUPLICATE KEY UPDATE. A row that is deleted and inserted again, as by REPLACE, starts at 1. MariaDB does
    not count changes by a foreign key's ON DELETE or ON UPDATE.

    Raises:
        NotSupported: For a model with several tables, or with a WITHOUT ROWID table on SQLite.
    """


@event.listens_for(TriggerVersionMixin, "after_mapper_constructed", propagate=True)
def _attach_trigger(mapper: Mapper[Any], cls: type) -> None:
    table, column = mapper.local_table, mapper.columns["version"]
    if not isinstance(table, Table) or column.table is not table:
        raise NotSupported(
            f"{cls.__name__} is stored in several tables, and a trigger sees the changes of one.",
            hint="Keep the hierarchy in one table, or use the VersionMixin.",
        )
    if table.dialect_kwargs.get("sqlite_with_rowid") is False:
        raise NotSupported(f"The trigger of {cls.__name__} finds its row by rowid, which {table.name} does not have.")
    if VersionTrigger.of(table) is None:
        VersionTrigger(table, column.name).attach()
