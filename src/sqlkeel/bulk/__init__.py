"""Write many rows, or one that may already exist, at the speed of the driver: insert, update, upsert, delete."""

from typing import TYPE_CHECKING

from .._lazy import door

if TYPE_CHECKING:
    from ._delete import delete_many
    from ._insert import insert_many, insert_many_returning
    from ._update import update_many
    from ._upsert import Upserted, UpsertResult, get_or_create, upsert, upsert_many

__all__ = [
    "UpsertResult",
    "Upserted",
    "delete_many",
    "get_or_create",
    "insert_many",
    "insert_many_returning",
    "update_many",
    "upsert",
    "upsert_many",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = door(
        __name__,
        {
            "_delete": ["delete_many"],
            "_insert": ["insert_many", "insert_many_returning"],
            "_update": ["update_many"],
            "_upsert": ["UpsertResult", "Upserted", "get_or_create", "upsert", "upsert_many"],
        },
    )
