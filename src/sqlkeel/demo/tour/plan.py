"""The steps in the order in which they run; each uses the rows that earlier steps have left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from . import deleting, imports, naming, reading, sponsoring, writing
from .step import Step

__all__ = ["STEPS"]

STEPS: Final[Sequence[Step]] = (
    naming.migration_naming,
    naming.table_naming,
    naming.constraint_naming,
    imports.bulk_insert,
    imports.bulk_update,
    imports.upsert_unchanged,
    imports.upsert_changed,
    reading.sessions,
    reading.selected,
    reading.joined,
    reading.not_loaded,
    reading.dual_id,
    reading.repository,
    writing.commit,
    writing.roll_back,
    writing.duplicate,
    writing.optimistic_locking,
    writing.not_modified,
    writing.timestamps,
    sponsoring.uuid_keys,
    sponsoring.savepoint,
    sponsoring.concurrency,
    deleting.soft_delete,
    deleting.purge_old,
    deleting.cascade_delete,
)
