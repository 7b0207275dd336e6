"""A throw-away MariaDB server from the installed programs."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

from ..errors import ServerMissing
from ._server import Server

__all__ = ["MariaDBServer"]

SETTINGS = {
    "bind-address": "127.0.0.1",
    "character-set-server": "utf8mb4",
    "collation-server": "utf8mb4_unicode_ci",
    "innodb-buffer-pool-size": "64M",
    "innodb-doublewrite": "0",
    "innodb-flush-log-at-trx-commit": "2",
    "innodb-flush-method": "nosync",
    "innodb-log-file-size": "16M",
    "max-connections": "200",
    "skip-name-resolve": "1",
    "skip-log-bin": "1",
}

_CLOSING = (
    "DELETE FROM mysql.global_priv WHERE User IN ('root', '')"
    " AND coalesce(json_value(Priv, '$.authentication_string'), '') = '';"
)
"""Locks the accounts that a new server has; one of them is for the machine's host name, not for localhost."""


class MariaDBServer(Server):
    """Run a private MariaDB server; the superuser is ``root``.

    The programs come from ``bin_directory`` or ``PATH``; ``mariadbd`` may also be in ``/usr/sbin``. There is no wheel.
    ``settings`` are options of ``mariadbd`` without the leading dashes. Starts in under a second.
    """

    product = "MariaDB"
    accounts = ("mysql", "nobody")
    stop_signal = signal.SIGTERM
    crash_signal = signal.SIGKILL

    @classmethod
    def find(cls) -> Path:
        """Return the directory of the MariaDB programs on this machine."""
        found = shutil.which("mariadb-install-db")
        if found is None or _server_program(Path(found).parent) is None:
            raise ServerMissing(cls.product, hint="Install the package mariadb-server; it need not run.")
        return Path(found).parent

    def url(self, database: str | None = None, *, driver: str | None = None) -> str:
        """Return the SQLAlchemy URL of a database on this server; the default driver is asyncmy."""
        address = f"root:{self.password}@127.0.0.1:{self.port}/{database or 'mysql'}"
        return f"mariadb+{driver or 'asyncmy'}://{address}?charset=utf8mb4"

    def _create_data(self) -> None:
        options = ["--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"]
        # In /tmp, the temporary tables of two servers that are created at the same time could collide.
        places = [f"--datadir={self.data}", f"--tmpdir={self.directory}"]
        self.run("mariadb-install-db", "--no-defaults", *places, *options)

    def _command(self) -> list[str]:
        own = {"datadir": self.data, "port": self.port, "tmpdir": self.directory}
        own |= {"socket": self.directory / "socket", "pid-file": self.directory / "pid"}
        # Runs before the server accepts connections, because its initial accounts have no password.
        own |= {"init-file": self._keep("accounts.sql", self._accounts())}
        options = [f"--{name}={value}" for name, value in (SETTINGS | own | self.settings).items()]
        return [str(_server_program(self.bin_directory)), "--no-defaults", *options]

    def _accounts(self) -> str:
        lines = [_CLOSING, "FLUSH PRIVILEGES;"]
        for host in ("localhost", "127.0.0.1", "::1"):
            lines.append(f"CREATE OR REPLACE USER root@'{host}' IDENTIFIED BY '{self.password}';")
            lines.append(f"GRANT ALL ON *.* TO root@'{host}' WITH GRANT OPTION;")
        return "\n".join([*lines, ""])

    def _is_ready(self) -> bool:
        return b"ready for connections" in self.log.read_bytes()


def _server_program(bin_directory: Path) -> Path | None:
    """Return ``mariadbd``, which distributions put next to the other programs or in a neighbouring ``sbin``."""
    places = [bin_directory, bin_directory.parent / "sbin", Path("/usr/sbin"), Path("/usr/libexec")]
    return next((path / "mariadbd" for path in places if (path / "mariadbd").exists()), None)
