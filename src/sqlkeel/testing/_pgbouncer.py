"""A throw-away PgBouncer in transaction mode, in front of a PostgreSQL server."""

from __future__ import annotations

import shutil
import signal
import socket
from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import URL, make_url

from ..errors import ServerMissing
from ._server import Server

__all__ = ["PgBouncerServer"]

PLACES = (Path("/usr/sbin"), Path("/usr/local/sbin"), Path("/opt/homebrew/bin"))
SETTINGS = {
    "auth_type": "scram-sha-256",
    "default_pool_size": "5",
    "ignore_startup_parameters": "",
    "listen_addr": "127.0.0.1",
    "log_connections": "0",
    "log_disconnections": "0",
    "max_client_conn": "500",
    "pool_mode": "transaction",
    "unix_socket_dir": "",
}


class PgBouncerServer(Server):
    """Run a private PgBouncer in front of the PostgreSQL at *target*; it gives access to every database there.

    Clients connect as the user in *target*, with the random password of this server. The program comes from
    ``bin_directory``, ``PATH`` or ``/usr/sbin``; there is no wheel. ``settings`` go into the section ``[pgbouncer]``.
    Starts in 20 ms.
    """

    product = "PgBouncer"
    accounts = ("postgres", "pgbouncer", "nobody")
    stop_signal = signal.SIGINT  # waits for open transactions
    crash_signal = signal.SIGKILL

    def __init__(
        self, target: str | URL, bin_directory: Path | None = None, *, settings: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(bin_directory, settings=settings)
        self.target = make_url(target)

    @classmethod
    def find(cls) -> Path:
        """Return the directory of the program on this machine."""
        on_path = shutil.which("pgbouncer")
        places = [Path(on_path).parent] if on_path else PLACES
        found = next((path for path in places if (path / "pgbouncer").exists()), None)
        if found is None:
            raise ServerMissing(cls.product, hint="Install the package pgbouncer; it need not run.")
        return found

    def url(self, database: str | None = None, *, driver: str | None = None) -> str:
        """Return the SQLAlchemy URL of a database through PgBouncer; the default is the target's, with asyncpg."""
        user, name = self.target.username or "postgres", database or self.target.database
        return f"postgresql+{driver or 'asyncpg'}://{user}:{self.password}@127.0.0.1:{self.port}/{name}"

    def _create_data(self) -> None:
        self.data.mkdir()
        self._give(self.data)

    def _command(self) -> list[str]:
        ini = self.data / "pgbouncer.ini"
        ini.write_text(self._configuration())
        user = (self.target.username or "postgres").replace('"', '""')
        self._keep("users", f'"{user}" "{self.password}"\n')
        return [str(self.bin_directory / "pgbouncer"), str(ini)]

    def _is_ready(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def _configuration(self) -> str:
        target = self.target
        server = {"host": target.host, "port": target.port, "user": target.username, "password": target.password}
        address = " ".join(f"{name}={_quoted(str(value))}" for name, value in server.items() if value is not None)
        settings = (
            SETTINGS | {"auth_file": str(self.directory / "users"), "listen_port": str(self.port)} | self.settings
        )
        lines = [f"{name} = {value}" for name, value in settings.items()]
        return "\n".join(["[databases]", f"* = {address}", "[pgbouncer]", *lines, ""])


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
