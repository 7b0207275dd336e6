"""Many rows at once, and one row that may exist already: insert, update, upsert, delete at the speed of the driver."""

from .delete import delete_many
from .insert import insert_many, insert_many_returning
from .update import update_many
from .upsert import Upserted, UpsertResult, get_or_create, upsert, upsert_many

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
