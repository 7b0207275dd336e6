"""Blocks on an engine's connections: the error that ends a block is not replaced by an error of its rollback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncTransaction

from ._options import refuse_autocommit

__all__ = ["EngineOfBlocks", "note_failed_rollback"]


def note_failed_rollback(error: BaseException, failure: Exception) -> None:
    """Add a note to *error*, which ended a block, that its rollback failed too; raising that would hide the cause.

    The transaction is rolled back anyway, because a connection on which ROLLBACK fails is closed.
    """
    error.add_note(f"The rollback failed too, and its connection was closed: {failure}")


@asynccontextmanager
async def _kept(error: BaseException | None) -> AsyncIterator[None]:
    """Re-raise *error*, if there is one, whatever happens in the block, including a cancellation."""
    try:
        yield
    except Exception as failure:
        if error is None or failure is error:
            raise
        note_failed_rollback(error, failure)


class _Transaction(AsyncTransaction):
    __slots__ = ()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        async with _kept(error):
            await super().__aexit__(kind, error, trace)


class _Connection(AsyncConnection):
    __slots__ = ()

    def begin(self) -> AsyncTransaction:
        super().begin()  # raises an error if the connection is not open
        return _Transaction(self)

    def begin_nested(self) -> AsyncTransaction:
        super().begin_nested()
        return _Transaction(self, nested=True)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        async with _kept(error):
            await super().__aexit__(kind, error, trace)


class EngineOfBlocks(AsyncEngine):
    """An `AsyncEngine` whose ``begin()`` and ``connect()`` raise what their block raised.

    Everything else is SQLAlchemy's; copies with other execution options have the same class.
    """

    __slots__ = ()
    _connection_cls = _Connection  # SQLAlchemy's attribute for subclasses

    @classmethod
    def _regenerate_proxy_for_target(cls, target: Engine, **additional_kw: Any) -> Self:
        return cls(target)

    def execution_options(self, **options: Any) -> Self:
        """Return a copy with *options* for everything that is executed through it."""
        return type(self)(self.sync_engine.execution_options(**options))

    def update_execution_options(self, **options: Any) -> None:
        """Change the options of this engine for all its users.

        Raises:
            NotSupported: For AUTOCOMMIT, which needs a copy of the engine: see `execution_options`.
        """
        refuse_autocommit(options)
        super().update_execution_options(**options)
