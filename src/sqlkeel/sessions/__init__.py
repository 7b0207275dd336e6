"""Sessions: the database, the blocks that open transactions on it, and the session in them."""

from typing import TYPE_CHECKING

from .._lazy import door

if TYPE_CHECKING:
    from ..engines._backend import IsolationLevel
    from ._database import Database
    from ._holding import AnyAsyncSession
    from ._retry import retry_on_conflict
    from ._session import Session, SyncSession

__all__ = [
    "AnyAsyncSession",
    "Database",
    "IsolationLevel",
    "Session",
    "SyncSession",
    "retry_on_conflict",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = door(
        __name__,
        {
            "_database": ["Database", "IsolationLevel"],
            "_holding": ["AnyAsyncSession"],
            "_retry": ["retry_on_conflict"],
            # Not of the module that defines it: the listeners and behaviours of every session come with this one.
            "_session": ["Session", "SyncSession"],
        },
        # A session counts the version of a model without the mixin, too.
        beside={"_database": ".versions._version", "_session": ".versions._version"},
    )
