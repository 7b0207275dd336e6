"""Forks: a child process shares its parent's sockets and must not use its connections."""

from __future__ import annotations

import os
import weakref
from typing import Any, Final

from sqlalchemy import Engine

__all__ = ["renew_after_fork"]

_engines: Final[weakref.WeakSet[Engine]] = weakref.WeakSet()
_of_the_parent: Final[list[Any]] = []
"""The parent's pools, kept forever, because a driver object that is freed may close what the parent still uses."""


def renew_after_fork(engine: Engine) -> None:
    """Give *engine* a new pool in each forked child process; the old pool is left to the parent.

    A server that loads the application before it forks (``gunicorn --preload``), or ``multiprocessing`` with ``fork``,
    would otherwise read answers to statements of another process.
    """
    if not _engines and hasattr(os, "register_at_fork") and not _of_the_parent:
        os.register_at_fork(after_in_child=_renew)
        _of_the_parent.append(None)  # marks that the handler is registered
    _engines.add(engine)


def _renew() -> None:
    for engine in list(_engines):
        _of_the_parent.append(engine.pool)
        engine.dispose(close=False)
