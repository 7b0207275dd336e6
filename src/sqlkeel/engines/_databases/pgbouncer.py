"""PostgreSQL behind PgBouncer in transaction mode: each transaction may use another server connection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, event, orm

from ...errors import NotSupported
from .._backend import LIMITS, Backend, Limits, driver_of
from .._traces import LeavesTraces
from .postgresql import (
    NOTICE,
    PostgreSQLBackend,
    connection_class,
    report_set_up,
    set_locally,
    settings_of,
)
from .postgresql_statements import find_session_state

__all__ = ["PgBouncer"]

_UNPREPARED: Final[Mapping[str, Mapping[str, Any]]] = {
    "asyncpg": {"statement_cache_size": 0, "prepared_statement_cache_size": 0},
    "psycopg": {"prepare_threshold": None},
}
"""Options that keep each driver from naming prepared statements; asyncpg and SQLAlchemy each have a cache."""

_PASSED_ON: Final = {"application_name", "client_encoding", "datestyle", "standard_conforming_strings", "timezone"}
"""The settings that PgBouncer tracks for each client: https://www.pgbouncer.org/config.html."""

_NOT_OURS: Final = "sqlkeel has to open the connection itself"
_REFUSED: Final[Mapping[str, str]] = {
    "async_creator_fn": _NOT_OURS,
    "connection_class": _NOT_OURS,
    "options": "PgBouncer refuses settings in the start-up message",
    "prepared_statement_name_func": "a statement prepared by name stays on a connection that another client gets next",
}

_DIRECT: Final = "Open a Database on PostgreSQL itself, without pooler=, for this."
_REASONS: Final[Mapping[str, tuple[str, str]]] = {
    "listen": ("Notifications do not arrive", _DIRECT),
    "set": (
        "A setting of the session would affect transactions of other clients",
        f"SET LOCAL, until the transaction ends. {_DIRECT}",
    ),
    "prepare": ("A prepared statement does not exist in the next transaction", "Bind parameters need no PREPARE."),
    "temporary": (
        "A temporary table stays on a server connection that another client gets next",
        "CREATE TEMPORARY TABLE … ON COMMIT DROP.",
    ),
    "hold": ("A cursor does not exist in the next transaction", "session.stream(), inside one transaction."),
    "lock": (
        "The lock would stay on a server connection that another client gets next",
        f"session.advisory_lock(name), until the transaction ends. {_DIRECT}",
    ),
}


class PgBouncer(PostgreSQLBackend):
    """PostgreSQL through a PgBouncer with ``pool_mode = transaction``.

    The application connects to the pooler. It has a server connection to itself only from BEGIN to COMMIT, and whatever
    it sets or prepares there affects later clients. So statements are not prepared by name, the limits are set in each
    transaction, and statements whose effect outlives a transaction are refused before they are sent.

    Raises:
        NotSupported: When *url* is not PostgreSQL's, or the engine's *options* cannot work.
    """

    def __init__(self, url: URL, options: Mapping[str, Any]) -> None:
        if url.get_backend_name() != self.name:
            raise NotSupported(f"PgBouncer does not support {url.get_backend_name()}.", hint="Leave pooler= out.")
        _refuse_options(url, options)

    def engine_options(self, url: URL, limits: Limits) -> dict[str, Any]:
        """Prepare nothing by name, and send no settings in the start-up message."""
        driver = url.get_driver_name()
        own = {"connection_class": connection_class()} if driver == "asyncpg" else {}
        return {"connect_args": {**_UNPREPARED[driver], **own}}

    def reader_options(self, url: URL, limits: Limits) -> dict[str, Any] | None:
        """Return options of read-only transactions, because a read-only session might be given to a writer next."""
        return {**self.engine_options(url, limits), "execution_options": {"postgresql_readonly": True}}

    def traces(self, url: URL) -> LeavesTraces | None:
        """Return ``None``: statements that would leave traces are refused."""
        return None

    def begin(self, session: orm.Session, options: Mapping[str, Any]) -> None:
        """Begin; the limits are sent together with BEGIN."""
        Backend.begin(self, session, options)

    def install(self, engine: Engine, limits: Limits) -> None:
        """Set the limits of each transaction; refuse statements outside a transaction, or with a lasting effect."""
        report_set_up(engine)
        event.listen(engine, "set_engine_execution_options", _refuse_autocommit)
        event.listen(engine, "set_connection_execution_options", _refuse_autocommit)
        event.listen(engine, "before_cursor_execute", _refuse_session_state)

        @event.listens_for(engine, "begin")
        def limit(connection: Connection) -> None:
            own = connection.get_execution_options().get(LIMITS)
            statement = set_locally({**settings_of(limits.changed_by(own)), **NOTICE})
            if connection.dialect.driver == "asyncpg":
                driver_of(connection).after_begin = statement
            else:
                connection.exec_driver_sql(statement)


def _refuse_options(url: URL, options: Mapping[str, Any]) -> None:
    needed = _UNPREPARED[url.get_driver_name()]
    given = {**url.query, **options, **options.get("connect_args", {})}
    for name, value in given.items():
        if name in _REFUSED:
            raise _refusal(f"{name} cannot be given: {_REFUSED[name]}", "Leave it out.")
        if name in needed and str(value) != str(needed[name]):
            raise _refusal(f"{name} is {needed[name]!r}: {_REFUSED['prepared_statement_name_func']}", "Leave it out.")
    settings = {name.lower() for name in given.get("server_settings", {})} - _PASSED_ON
    if settings:
        names = ", ".join(sorted(settings))
        raise _refusal(
            f"server_settings cannot hold {names}: {_REFUSED['options']}", "ALTER ROLE … SET, on the server."
        )


def _refuse_autocommit(target: object, options: Mapping[str, Any]) -> None:
    if str(options.get("isolation_level", "")).upper() == "AUTOCOMMIT":
        raise _refusal(
            "AUTOCOMMIT is not possible: a statement outside a transaction has no limits",
            f"db.read() for reading. {_DIRECT}",
        )


def _refuse_session_state(connection: Connection, cursor: Any, statement: str, *rest: Any) -> None:
    """Refuse statements whose effect would outlive the transaction."""
    found = find_session_state(statement)
    if found is not None:
        raise _refusal(*_REASONS[found])


def _refusal(reason: str, hint: str) -> NotSupported:
    return NotSupported(f"{reason}, behind PgBouncer in transaction mode.", hint=hint)
