"""The life cycle of a throw-away database server: data directory, port, start, stop, removal."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT, Popen, TimeoutExpired
from types import TracebackType
from typing import IO, ClassVar, Self

from ..errors import ServerFailed

__all__ = ["Server", "unprivileged_account"]

START_SECONDS = 60
STOP_SECONDS = 20

# The watchdog waits for the end of its standard input, which comes when this process dies, however it dies. If the
# server was stopped normally, this process says so first.
WATCHDOG = """
read -r word
[ "$word" = stopped ] && exit 0
kill -"$3" "$1"
n=0
while kill -0 "$1" && [ "$n" -lt 100 ]; do sleep 0.1; n=$((n + 1)); done
kill -KILL "$1"
rm -rf "$2"
"""


class Server(ABC):
    """Run one private database server in a temporary directory.

    Use it as a context manager, or call `start` and `close`. The server does not wait for the disk: committed data
    survives `crash`, but not a power cut. It listens only on 127.0.0.1 and has a random password, which is part of its
    URLs, so other users of the machine cannot use it. It ends with this process, even if that is killed. As root, the
    server runs under an existing unprivileged account. POSIX only.

    Do not use it for data that you want to keep: `close` removes it.

    Args:
        bin_directory: The directory of the programs; by default, it is searched.
        settings: Settings of the server, which override ours.

    Raises:
        ServerMissing: When the programs are not found.
    """

    product: ClassVar[str]
    accounts: ClassVar[Sequence[str]]
    stop_signal: ClassVar[signal.Signals]
    crash_signal: ClassVar[signal.Signals]

    def __init__(self, bin_directory: Path | None = None, *, settings: Mapping[str, str] | None = None) -> None:
        self.bin_directory = (bin_directory or self.find()).resolve()
        self.settings = dict(settings or {})
        self.account = unprivileged_account(self.accounts)
        self.directory = Path(tempfile.mkdtemp(prefix=f"sqlkeel-{self.product.lower()}-"))
        self.data = self.directory / "data"
        self.log = self.directory / "log"
        self.port = 0
        self.password = secrets.token_urlsafe(16)
        self._process: Popen[bytes] | None = None
        self._watchdog: Popen[bytes] | None = None
        self._give(self.directory)

    @classmethod
    @abstractmethod
    def find(cls) -> Path:
        """Return the directory of the newest server programs on this machine.

        Raises:
            ServerMissing: When there are none.
        """

    @abstractmethod
    def url(self, database: str | None = None, *, driver: str | None = None) -> str:
        """Return the SQLAlchemy URL of a database on this server; by default, of the server's own database."""

    @abstractmethod
    def _create_data(self) -> None:
        """Initialise the empty data directory."""

    @abstractmethod
    def _command(self) -> list[str]:
        """Return the command that runs the server in the foreground."""

    @abstractmethod
    def _is_ready(self) -> bool:
        """Return whether a started server accepts connections."""

    @property
    def running(self) -> bool:
        """Whether the server process is alive."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Start the server and wait until it accepts connections; also restarts it after a stop or crash.

        Raises:
            ServerFailed: When it ended or was not ready within a minute; the error includes the end of its log.
        """
        if not self.data.exists():
            self._create_data()
            self.port = free_port()
        with self.log.open("wb") as log:
            self._process = self._spawn(self._command(), output=log)
        subject = [str(self._process.pid), str(self.directory), self.crash_signal.name[3:]]
        self._watchdog = self._spawn(["/bin/sh", "-c", WATCHDOG, "sh", *subject], stdin=PIPE)
        self._await_ready()
        return self

    def stop(self) -> None:
        """Shut the server down cleanly; the data stays for the next start."""
        self._end(self.stop_signal)

    def crash(self) -> None:
        """Kill the server without warning; the next start recovers the data."""
        self._end(self.crash_signal)

    def close(self) -> None:
        """Stop the server at once and remove its directory. Safe to call twice."""
        self._end(self.crash_signal)
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(self, program: str, *arguments: str) -> None:
        """Run one of the server's own programs and wait for it.

        Raises:
            ServerFailed: When it failed; the error includes the end of its output.
        """
        process = self._spawn([str(self.bin_directory / program), *arguments], output=PIPE)
        output, _ = process.communicate(timeout=START_SECONDS)
        if process.returncode:
            raise ServerFailed(self.product, output.decode(errors="replace")[-2000:])

    def _keep(self, name: str, text: str) -> Path:
        """Write a file that only the account can read, and return its path."""
        path = self.directory / name
        path.touch(0o600)
        path.write_text(text)
        self._give(path)
        return path

    def _give(self, path: Path) -> None:
        if self.account is not None:
            os.chown(path, self.account.pw_uid, self.account.pw_gid)

    def _spawn(
        self, command: Sequence[str], *, stdin: int = DEVNULL, output: int | IO[bytes] = DEVNULL
    ) -> Popen[bytes]:
        """Start a process in its own session, under the account, with a minimal environment."""
        account = self.account
        return Popen(  # noqa: S603 - we find the program and build its arguments
            command,
            cwd=self.directory,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C", "TZ": "UTC", "HOME": str(self.directory)},
            start_new_session=True,
            stdin=stdin,
            stdout=output,
            stderr=STDOUT,
            user=account.pw_uid if account else None,
            group=account.pw_gid if account else None,
            extra_groups=[] if account else None,
        )

    def _await_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._is_ready():
            if not self.running or time.monotonic() > deadline:
                self._end(self.crash_signal)
                raise ServerFailed(self.product, self.log.read_text(errors="replace")[-2000:])
            time.sleep(0.01)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            try:
                process.wait(STOP_SECONDS)
            except TimeoutExpired:
                process.kill()
                process.wait()
        watchdog, self._watchdog = self._watchdog, None
        if watchdog is not None:
            watchdog.communicate(b"stopped\n")


def unprivileged_account(names: Sequence[str]) -> pwd.struct_passwd | None:
    """Return the account for servers: as root, the first of these that exists; otherwise ``None``, our own."""
    if os.geteuid() != 0:
        return None
    existing = {entry.pw_name: entry for entry in pwd.getpwall()}
    return next(existing[name] for name in names if name in existing)


def free_port() -> int:
    """Return a TCP port on 127.0.0.1 that is free at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
