"""Options of an engine and its driver: numbers in a URL, and options that a Database cannot support."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from sqlalchemy import URL, AsyncAdaptedQueuePool, StaticPool

from ..errors import InvalidURL, NotSupported

__all__ = ["numbers_in", "refuse_autocommit", "refuse_options"]

_CONNECTING: Final = (
    "Pass driver options as connect_args={...}; set what changes with each connection, such as an expiring password, "
    "in a listener: for engine in db.engines: event.listen(engine.sync_engine, 'do_connect', function)."
)
_KEPT: Final = "nothing that transaction() writes could be rolled back."
_READING: Final = "Use db.read() for reading, db.engine.execution_options(isolation_level='AUTOCOMMIT') for DDL."
_POOLS: Final = "Use poolclass=, pool_size= and the other pool options."
_NUMBERS: Final[Mapping[str, Mapping[str, Callable[[str], Any]]]] = {
    "asyncpg": {
        "timeout": float,
        "command_timeout": float,
        "statement_cache_size": int,
        "max_cached_statement_lifetime": int,
        "max_cacheable_statement_size": int,
    },
    "psycopg": {"prepare_threshold": int, "connect_timeout": int},
    "asyncmy": {"max_allowed_packet": int},
}
"""Driver options that need a number, but that SQLAlchemy's dialects leave as a string."""
_OBJECTS: Final[Mapping[str, frozenset[str]]] = {
    "asyncpg": frozenset(
        {"loop", "connection_class", "record_class", "server_settings", "prepared_statement_name_func", "reset"}
    ),
    "psycopg": frozenset({"row_factory", "cursor_factory", "server_cursor_factory", "context"}),
    "asyncmy": frozenset({"loop", "conv", "cursor_cls", "ssl", "auth_plugin_map", "echo"}),
}


def numbers_in(url: URL) -> dict[str, Any]:
    """Return the options of *url* that the driver needs as numbers, to be passed as ``connect_args``.

    Raises:
        InvalidURL: For one that is not a number, and for one that a URL cannot express: a function, a class, a mapping.
    """
    driver = url.get_driver_name()
    if objects := sorted(_OBJECTS.get(driver, frozenset()).intersection(url.query)):
        raise InvalidURL(
            f"{objects[0]} is not a string, and a URL can only pass strings to {driver}.",
            hint=f"Database(url, connect_args={{{objects[0]!r}: ...}})",
        )
    return {
        name: _number(name, str(url.query[name]), read)
        for name, read in _NUMBERS.get(driver, {}).items()
        if name in url.query
    }


def _number(name: str, text: str, read: Callable[[str], Any]) -> Any:
    try:
        return read(text)
    except ValueError:
        pass  # The original message contains the value, which the chain of errors would show.
    kind = "not an integer" if read is int else "not a number"
    raise InvalidURL(f"The option {name} in the database URL is {kind}.", hint=f"Write it as ?{name}=5.")


def refuse_options(options: Mapping[str, Any], *, url: URL, in_memory: bool) -> None:
    """Refuse options that a Database cannot support.

    Raises:
        NotSupported: For connections that the caller opens, which would have no limits and, on SQLite, no transactions;
            for AUTOCOMMIT, which disables transactions; for a pool whose connection several transactions share.
    """
    for given in (url.query, options.get("connect_args") or {}):
        # SQLite's driver has an option of that name with another meaning, which is refused elsewhere.
        if given.get("autocommit") and url.get_backend_name() != "sqlite":
            raise NotSupported(f"autocommit cannot be given to {url.get_driver_name()}: {_KEPT}", hint=_READING)
    for name in ("async_creator", "creator"):
        if options.get(name) is not None:
            raise NotSupported(f"{name} would open connections without the limits of the Database.", hint=_CONNECTING)
    if options.get("pool") is not None:
        raise NotSupported("pool cannot be given: a Database has one for writing and one for reading.", hint=_POOLS)
    for given in (options, options.get("execution_options") or {}):
        refuse_autocommit(given)
    _refuse_pool(options.get("poolclass") or AsyncAdaptedQueuePool, in_memory=in_memory)


def refuse_autocommit(options: Mapping[str, Any]) -> None:
    """Refuse options that make an engine commit each statement.

    Raises:
        NotSupported: The hint says how to do it without the engine of a Database.
    """
    if str(options.get("isolation_level", "")).upper() == "AUTOCOMMIT":
        raise NotSupported(f"With AUTOCOMMIT {_KEPT}", hint=_READING)


def _refuse_pool(kind: type[Any], *, in_memory: bool) -> None:
    if in_memory and not issubclass(kind, AsyncAdaptedQueuePool):
        raise NotSupported(
            f"A database in memory is one connection; {kind.__name__} would lose it, or let transactions share it.",
            hint="Leave poolclass out: the connection is kept, and used by one transaction after the other.",
        )
    if issubclass(kind, StaticPool):
        raise NotSupported(
            "With StaticPool, concurrent transactions would share one connection.",
            hint="Use pool_size=1, or NullPool.",
        )
