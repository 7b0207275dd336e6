"""Make an engine that the project created itself raise the errors of sqlkeel."""

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
"""The drivers of synchronous engines whose errors we can read; psycopg serves both kinds."""

_translated: Final[WeakSet[Dialect]] = WeakSet()


def translate_errors(engine: E) -> E:
    """Make an engine of SQLAlchemy's own raise the errors of `sqlkeel.errors`, and return the engine.

    For a project that keeps its ``create_engine`` or ``create_async_engine``: a duplicate name is a `UniqueViolation`
    with each driver, and still an ``IntegrityError``. It has the table, the columns and the constraint that the server
    reports. A connection on which COMMIT failed is closed and not used again, and a COMMIT that the server would answer
    with a ROLLBACK raises `TransactionAborted`. A ``handle_error`` listener that returns an error takes precedence.

    Only a `Database` has limits, its own pool, transactions that begin with BEGIN, and a check whether a lost COMMIT
    took place. Call this once for each engine, before the first connection; a second call does nothing.

    Raises:
        NotSupported: For a database or a driver whose errors sqlkeel cannot read.
        UsageError: For anything that is not an engine.
    """
    sync = getattr(engine, "sync_engine", engine)
    if not isinstance(sync, Engine):
        raise UsageError(
            f"translate_errors() takes an engine, not a {type(engine).__name__}.",
            hint="translate_errors(create_async_engine(url))",
        )
    if sync.dialect not in _translated:
        backend = _backend_of(sync.dialect)
        note_translated(sync)
        faults.install(sync, backend)
        backend.watch(sync)
    return engine


def note_translated(engine: Engine) -> None:
    """Record that *engine*, and its copies with other options, already raise our errors."""
    _translated.add(engine.dialect)


def _backend_of(dialect: Any) -> Backend:
    backend = backend_of(dialect.name)
    if backend is None:
        raise NotSupported(f"sqlkeel cannot read the errors of {dialect.name}.", hint="Keep SQLAlchemy's own errors.")
    known = [*backend.drivers, *([_WITHOUT_ASYNCIO[backend.name]] if backend.name in _WITHOUT_ASYNCIO else [])]
    if dialect.driver not in known:
        raise NotSupported(
            f"sqlkeel cannot read the errors of the driver {dialect.driver}.",
            hint=f"create_async_engine('{backend.name}+{known[0]}://…'); the drivers are {', '.join(known)}.",
        )
    return backend
