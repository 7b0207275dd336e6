"""The pool: SQLAlchemy's, for one event loop at a time, with a helpful error when no connection is free."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

from sqlalchemy import AsyncAdaptedQueuePool, PoolProxiedConnection
from sqlalchemy.exc import TimeoutError as SQLAlchemyTimeout

from .. import _sqlalchemy as private
from ..errors import PoolTimeout
from ._loops import belongs_elsewhere, running_loop

__all__ = ["Pool"]


class Pool(AsyncAdaptedQueuePool):
    """A queue of connections that raises `PoolTimeout` if none becomes free in time.

    SQLAlchemy's queue can wake waiters in only one event loop. When another loop takes over an unused pool, it gets a
    new queue with the connections of the first. It logs on ``sqlkeel.pool``; with ``echo_pool=True`` it prints, as
    SQLAlchemy's pools do.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._arriving = [0]
        self._door = threading.Lock()
        if isinstance(self.logger, logging.Logger):
            # SQLAlchemy would name the logger after this private module.
            self.logger = logging.getLogger(".".join(filter(None, ("sqlkeel.pool", options.get("logging_name")))))

    def connect(self) -> PoolProxiedConnection:
        """Check out a connection.

        Raises:
            PoolTimeout: When no connection became free in time.
            UsageError: When another event loop, which is still open, uses the pool.
        """
        arriving = self._enter()
        try:
            return super().connect()
        except SQLAlchemyTimeout as error:
            raise PoolTimeout(
                f"All {self.checkedout()} connections of the pool are in use; none came back in {self.timeout():g} s."
            ) from error
        finally:
            with self._door:
                arriving[0] -= 1

    def _enter(self) -> list[int]:
        """Count one more waiter, in the event loop that uses the pool."""
        loop = running_loop()
        with self._door:
            if self._loop is not loop:
                if self._loop is not None:
                    self._move()
                self._loop = loop
            self._arriving[0] += 1
            return self._arriving

    def _move(self) -> None:
        """Replace the queue and SQLAlchemy's locks, which are bound to the previous event loop."""
        assert self._loop is not None
        if not self._loop.is_closed() and (self._arriving[0] or self.checkedout()):
            raise belongs_elsewhere()
        self._arriving = [0]  # waiters left in a closed loop keep counting in the old list
        private.renew_queue(self)
        private.forget_pool_locks(self)
