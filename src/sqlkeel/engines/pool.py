"""The pool: SQLAlchemy's, with an error that says what to do when it is empty."""

from __future__ import annotations

import logging
from typing import Any

from sqlalchemy import AsyncAdaptedQueuePool, PoolProxiedConnection
from sqlalchemy.exc import TimeoutError as SQLAlchemyTimeout

from ..errors import PoolTimeout

__all__ = ["Pool"]


class Pool(AsyncAdaptedQueuePool):
    """A queue of connections that reports who waits in vain as `PoolTimeout`.

    It logs on ``sqlkeel.pool``; with ``echo_pool=True`` it prints, as SQLAlchemy's do.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if isinstance(self.logger, logging.Logger):
            # SQLAlchemy names it after this module, which is nobody's business.
            self.logger = logging.getLogger(".".join(filter(None, ("sqlkeel.pool", self._orig_logging_name))))

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
