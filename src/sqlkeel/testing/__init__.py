"""Throw-away database servers for tests: the real server, no container, nothing left behind."""

from .mariadb import MariaDBServer
from .pgbouncer import PgBouncerServer
from .postgresql import PostgreSQLServer
from .server import Server

__all__ = ["MariaDBServer", "PgBouncerServer", "PostgreSQLServer", "Server"]
