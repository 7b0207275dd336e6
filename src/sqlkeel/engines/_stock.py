"""An engine that the project has made itself: it raises the errors of sqlkeel after one call."""

from __future__ import annotations

from typing import Any, Final, TypeVar
from weakref import WeakSet

from sqlalchemy import Dialect, Engine
from sqlalchemy.ext.asyncio import AsyncEngine

from ..errors import NotSupported, UsageError
from . import _faults as faults
from ._backend import Backend, backend_of

__all__ = ["note_translated", "translate_errors"]

E = TypeVar("E", Engine, AsyncEngine)

_WITHOUT_ASYNCIO: Final = {"sqlite": "pysqlite"}
"""The drivers for synchronous engines whose errors are read; psycopg is one for both kinds."""

_translated: Final[WeakSet[Dialect]] = WeakSet()


def translate_errors(engine: E) -> E:
    """Make an engine of SQLAlchemy's own raise the errors of `sqlkeel.errors`, and return the engine.

    For a project that keeps its ``create_engine`` or ``create_async_engine``: a name that is taken is a
    `UniqueViolation` on each driver, and still an ``IntegrityError``. It has what the server tells of the table, the
    columns and the constraint. A connection on which COMMIT failed is closed and not used again, and a
    COMMIT that the server would answer with a ROLLBACK is `TransactionAborted`. A listener of ``handle_error`` that
    returns an error keeps the last word.

    Limits, the pool, transactions that begin with BEGIN, and whether a lost COMMIT took place are a `Database`'s. Call
    it once for each engine, before the first connection; a second call does nothing.

    Raises:
        NotSupported: For a database or a driver whose errors sqlkeel cannot read.
        UsageError: For anything that is not an engine.
    """
    sync = getattr(engine, "sync_engine", engine)
    if not isinstance(sync, Engine):
        raise UsageError(
            f"translate_errors() is for an engine, and not for a {type(engine).__name__}.",
            hint="translate_errors(create_async_engine(url))",
        )
    if sync.dialect not in _translated:
        backend = _backend_of(sync.dialect)
        note_translated(sync)
        faults.install(sync, backend)
        backend.watch(sync)
    return engine


def note_translated(engine: Engine) -> None:
    """Remember that *engine*, and its copies with other options, raise our errors already."""
    _translated.add(engine.dialect)


def _backend_of(dialect: Any) -> Backend:
    backend = backend_of(dialect.name)
    if backend is None:
        raise NotSupported(f"sqlkeel cannot read the errors of {dialect.name}.", hint="Keep SQLAlchemy's own.")
    known = [*backend.drivers, *([_WITHOUT_ASYNCIO[backend.name]] if backend.name in _WITHOUT_ASYNCIO else [])]
    if dialect.driver not in known:
        raise NotSupported(
            f"sqlkeel cannot read the errors of the driver {dialect.driver}.",
            hint=f"create_async_engine('{backend.name}+{known[0]}://…'); the drivers are {', '.join(known)}.",
        )
    return backend
