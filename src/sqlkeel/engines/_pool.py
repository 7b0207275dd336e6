"""The pool: SQLAlchemy's, in one event loop at a time, with an error that says what to do when it is empty."""

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
    """A queue of connections that reports who waits in vain as `PoolTimeout`.

    The queue wakes who waits in one event loop, and cannot in two: another loop gets a queue of its own, with what was
    in the first one, when nobody uses that any more. It logs on ``sqlkeel.pool``; with ``echo_pool=True`` it prints, as
    SQLAlchemy's do.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._arriving = [0]
        self._door = threading.Lock()
        if isinstance(self.logger, logging.Logger):
            # SQLAlchemy names it after this module, which is nobody's business.
            self.logger = logging.getLogger(".".join(filter(None, ("sqlkeel.pool", options.get("logging_name")))))

    def connect(self) -> PoolProxiedConnection:
        """Check a connection out.

        Raises:
            PoolTimeout: When none came back in time.
            UsageError: While another event loop, which is still open, uses the pool.
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
        """Count one more who wants a connection, in the one event loop that uses the pool."""
        loop = running_loop()
        with self._door:
            if self._loop is not loop:
                if self._loop is not None:
                    self._move()
                self._loop = loop
            self._arriving[0] += 1
            return self._arriving

    def _move(self) -> None:
        """Leave the event loop that the queue, and SQLAlchemy's locks around the first connection, are bound to."""
        assert self._loop is not None
        if not self._loop.is_closed() and (self._arriving[0] or self.checkedout()):
            raise belongs_elsewhere()
        self._arriving = [0]  # who was left behind in a closed loop counts there
        private.renew_queue(self)
        private.forget_pool_locks(self)
