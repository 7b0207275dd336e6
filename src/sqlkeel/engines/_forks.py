"""Forks: a process that was split in two shares its sockets, and must not speak on those of the other one."""

from __future__ import annotations

import os
import weakref
from typing import Any, Final

from sqlalchemy import Engine

__all__ = ["renew_after_fork"]

_engines: Final[weakref.WeakSet[Engine]] = weakref.WeakSet()
_of_the_parent: Final[list[Any]] = []
"""The pools of the parent, kept for ever: a driver that is thrown away may close what the parent still uses."""


def renew_after_fork(engine: Engine) -> None:
    """Give *engine* a new pool in each process that is forked from this one; the old one is left to the parent.

    A server that loads the application before it forks (``gunicorn --preload``), and ``multiprocessing`` with ``fork``,
    would otherwise read each other's answers.
    """
    if not _engines and hasattr(os, "register_at_fork") and not _of_the_parent:
        os.register_at_fork(after_in_child=_renew)
        _of_the_parent.append(None)  # registered once, and for good
    _engines.add(engine)


def _renew() -> None:
    for engine in list(_engines):
        _of_the_parent.append(engine.pool)
        engine.dispose(close=False)
