"""Options of an engine that a database cannot have: what it promises would not hold, and nobody would be told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import AsyncAdaptedQueuePool, StaticPool

from ..errors import NotSupported

__all__ = ["refuse_autocommit", "refuse_options"]

_CONNECTING: Final = (
    "connect_args={...} for what the driver is given; what changes with each connection, as a password that expires, "
    "in a listener: for engine in db.engines: event.listen(engine.sync_engine, 'do_connect', function)."
)
_POOLS: Final = "poolclass=, pool_size= and the other options of a pool."


def refuse_options(options: Mapping[str, Any], *, in_memory: bool) -> None:
    """Refuse what a Database cannot be made with.

    Raises:
        NotSupported: For connections that are made past us, which would have no limits and, on SQLite, no transactions;
            for AUTOCOMMIT, with which a transaction is none; for a pool whose connection several transactions share.
    """
    for name in ("async_creator", "creator"):
        if options.get(name) is not None:
            raise NotSupported(f"{name} would open connections without the limits of the Database.", hint=_CONNECTING)
    if options.get("pool") is not None:
        raise NotSupported("pool cannot be given: a Database has one for writing and one for reading.", hint=_POOLS)
    for given in (options, options.get("execution_options") or {}):
        refuse_autocommit(given)
    _refuse_pool(options.get("poolclass") or AsyncAdaptedQueuePool, in_memory=in_memory)


def refuse_autocommit(options: Mapping[str, Any]) -> None:
    """Refuse options by which an engine commits each statement.

    Raises:
        NotSupported: Says what does so without the engine of a Database.
    """
    if str(options.get("isolation_level", "")).upper() == "AUTOCOMMIT":
        raise NotSupported(
            "With AUTOCOMMIT nothing that transaction() writes could be rolled back.",
            hint="db.read() for reading; db.engine.execution_options(isolation_level='AUTOCOMMIT') for DDL.",
        )


def _refuse_pool(kind: type[Any], *, in_memory: bool) -> None:
    if in_memory and not issubclass(kind, AsyncAdaptedQueuePool):
        raise NotSupported(
            f"A database in memory is one connection; {kind.__name__} would lose it, or let transactions share it.",
            hint="Leave poolclass out: the connection is kept, and given to one after the other.",
        )
    if issubclass(kind, StaticPool):
        raise NotSupported(
            "With StaticPool, transactions that run at the same time would be one.",
            hint="pool_size=1, or NullPool.",
        )
