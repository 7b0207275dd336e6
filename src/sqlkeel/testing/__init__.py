"""Throw-away database servers for tests: the real server, without a container, and nothing left behind."""

from ._mariadb import MariaDBServer
from ._pgbouncer import PgBouncerServer
from ._postgresql import PostgreSQLServer
from ._server import Server

__all__ = ["MariaDBServer", "PgBouncerServer", "PostgreSQLServer", "Server"]
