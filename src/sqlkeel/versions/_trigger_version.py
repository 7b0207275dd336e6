"""A version that the database counts, for a table that other programs write."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Table, event
from sqlalchemy.orm import Mapper

from ..errors import NotSupported
from ._triggers import VersionTrigger
from ._version import VersionMixin

__all__ = ["TriggerVersionMixin"]


class TriggerVersionMixin(VersionMixin):
    """``version``, counted by a trigger: a change that did not come from here is found as well.

    For a table that a script, an old service or a person at a console writes: SQL text, Core statements and other
    programs count, and who read the row before gets a `VersionConflict`. A statement that sets the version counts one
    all the same. Everything else is as with `VersionMixin` and costs no statement more; on SQLite, a change from
    outside is a second write of the row.

    The trigger is made by ``create_all`` and written into migrations. An UPDATE that reaches a row counts even where it
    changes nothing; on MariaDB so does ON DUPLICATE KEY UPDATE. A row that is deleted and inserted again, as REPLACE
    does, begins at 1. What a foreign key does to a row is not counted by MariaDB.

    Raises:
        NotSupported: For a model that is spread over several tables, or kept WITHOUT ROWID on SQLite.
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
        raise NotSupported(f"The trigger of {cls.__name__} finds its row by rowid, which {table.name} has not.")
    if VersionTrigger.of(table) is None:
        VersionTrigger(table, column.name).attach()
