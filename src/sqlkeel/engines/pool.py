"""The pool: SQLAlchemy's, with an error that says what to do when it is empty."""

from __future__ import annotations

from sqlalchemy import AsyncAdaptedQueuePool, PoolProxiedConnection
from sqlalchemy.exc import TimeoutError as SQLAlchemyTimeout

from ..errors import PoolTimeout

__all__ = ["Pool"]


class Pool(AsyncAdaptedQueuePool):
    """A queue of connections that reports who waits in vain as `PoolTimeout`."""

    def connect(self) -> PoolProxiedConnection:
        """Check a connection out.

        Raises:
            PoolTimeout: When none came back in time.
        """
        try:
            return super().connect()
        except SQLAlchemyTimeout as error:
            raise PoolTimeout(
                f"All {self.checkedout()} connections of the pool are in use; none came back in {self.timeout():g} s."
            ) from error
