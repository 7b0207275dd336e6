"""Kill statements on MariaDB that no task waits for any more, from a second connection to the same server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext

from .._backend import CONNECT_ARGUMENTS, ConnectArguments, info_of

__all__ = ["SERVER", "Server", "kill_abandoned_statements"]

logger = logging.getLogger("sqlkeel.pool")
Connect = Callable[[Mapping[str, Any]], Any]

SERVER: Final = "sqlkeel_server"
"""The key in a connection's ``info`` for the server's id: a load balancer may send the next connection to another."""

_WHICH_SERVER: Final = """
SELECT GROUP_CONCAT(variable_value ORDER BY variable_name SEPARATOR ' '),
    UNIX_TIMESTAMP() - (SELECT variable_value FROM information_schema.global_status WHERE variable_name = 'UPTIME'),
    @@max_allowed_packet
FROM information_schema.global_variables
WHERE variable_name IN (
    'DATADIR', 'HOSTNAME', 'PID_FILE', 'PORT', 'SERVER_ID', 'SERVER_UID', 'WSREP_NODE_ADDRESS', 'WSREP_NODE_NAME'
)
"""
"""No single one of these variables exists in every version and differs on every server in containers and clusters."""

_ROUNDING: Final = 1.5
"""Seconds by which the computed start time of one server may vary."""

_TRIES: Final = 3
"""How often to connect for a kill, because a load balancer may route each connection to another server."""


def kill_abandoned_statements(engine: Engine, connect: Connect) -> None:
    """Kill a cancelled statement on the server: MariaDB would keep running it, with its locks, without its client.

    Args:
        engine: The engine.
        connect: Opens a driver connection, from which the other one is killed.
    """

    # Before the listener that connects, because SQLAlchemy calls no listeners after that one.
    @event.listens_for(engine, "do_connect", insert=True)
    def note_arguments(dialect: Any, record: Any, args: Any, kwargs: Any) -> None:
        record.info[CONNECT_ARGUMENTS] = record.record_info[CONNECT_ARGUMENTS] = ConnectArguments(kwargs)

    @event.listens_for(engine, "connect")
    def note_server(raw: Any, record: Any) -> None:
        record.info[SERVER] = raw.run_async(_server_of)

    @event.listens_for(engine, "handle_error")
    def stop(context: ExceptionContext) -> None:
        connection = context.connection
        if connection is None or not isinstance(context.original_exception, asyncio.CancelledError):
            return
        info = info_of(connection)
        # Not set yet while the engine initialises its first connection.
        if (server := info.get(SERVER)) is not None:
            raw: Any = connection.connection.dbapi_connection
            how = info[CONNECT_ARGUMENTS]
            raw.run_async(lambda driver: asyncio.shield(_kill(driver.thread_id(), server, lambda: connect(how))))


async def _kill(number: int, server: Server, connect: Callable[[], Any]) -> None:
    """Kill a connection from a new one, unless the new one is on another server: the id is another client's there."""
    try:
        for _ in range(_TRIES):
            if await _kill_once(number, server, connect):
                return
    except Exception:
        logger.debug("The statement of connection %s could not be ended.", number, exc_info=True)


async def _kill_once(number: int, server: Server, connect: Callable[[], Any]) -> bool:
    driver = await connect()
    async with driver:
        found = _is_same(server, await _server_of(driver))
        if found:
            async with driver.cursor() as cursor:
                await cursor.execute(f"KILL {number}")
    return found


class Server(NamedTuple):
    """The identity of a server, its start time (it reuses connection numbers after a restart), and its limit."""

    name: str
    started: float
    packet: int


async def _server_of(driver: Any) -> Server:
    async with driver.cursor() as cursor:
        await cursor.execute(_WHICH_SERVER)
        name, started, packet = await cursor.fetchone()
    return Server(str(name), float(started), int(packet))


def _is_same(one: Server, other: Server) -> bool:
    return one.name == other.name and abs(one.started - other.started) <= _ROUNDING
