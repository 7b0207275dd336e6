"""What every database file says about running migrations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Column, Connection

__all__ = ["MigrationBackend"]


class MigrationBackend(ABC):
    """One run of migrations on one connection: prepare, wait for the turn, work, verify, restore."""

    batch: bool
    """Whether ALTER TABLE is written as a copy of the table."""

    has_identity: bool
    """Whether the database tells an identity column from a column that counts up."""

    after_failure: str
    """What a failed revision leaves behind, in a sentence that starts after the revision's name."""

    @abstractmethod
    def prepare(self, connection: Connection, lock_timeout: float) -> None:
        """Set the session: no limit on statements, a short one on waiting for locks."""

    @abstractmethod
    def try_lock(self, connection: Connection) -> bool:
        """Become the only migrator of this database, or say at once that another one is at work."""

    @abstractmethod
    def verify(self, connection: Connection) -> None:
        """Look at the result before it is committed."""

    @abstractmethod
    def restore(self, connection: Connection) -> None:
        """Give the lock back, and the connection as it was, whatever has happened."""

    @contextmanager
    def borrow(self, connection: Connection) -> Iterator[None]:
        """Work on a connection of the caller's: its settings, its transaction and its turn are left to the caller."""
        yield

    @abstractmethod
    def plain_default(self, default: str, column: Column[Any]) -> str:
        """Return the server default of *column* in the one form that models and database both come to."""

    @abstractmethod
    def is_generated(self, kind: str, reflected: Any) -> bool:
        """Tell whether the database made this object by itself, so that the models need not have it."""

    @abstractmethod
    def parts(self, connection: Connection) -> set[tuple[str | None, str]]:
        """Return schema and name of the tables that go with another one, or with an extension."""
