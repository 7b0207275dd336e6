"""The life of a throw-away server, on PostgreSQL, which starts fastest."""

from __future__ import annotations

import os
import pickle
import pwd
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sqlkeel.errors import ServerFailed, ServerMissing
from sqlkeel.testing import PostgreSQLServer
from sqlkeel.testing._server import unprivileged_account
from tests.fixtures.servers import skip_unless_required

ORPHAN = """
import os, signal
from sqlkeel.testing import PostgreSQLServer
server = PostgreSQLServer().start()
print(server.directory, server.port, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module", autouse=True)
def programs() -> Path:
    """Skip where there is no PostgreSQL to start."""
    try:
        return PostgreSQLServer.find()
    except ServerMissing as error:
        skip_unless_required("postgresql", str(error))


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQLServer]:
    """A running server that tests may stop, as long as they start it again."""
    with PostgreSQLServer() as server:
        yield server


def listens(port: int) -> bool:
    """Tell whether anything takes connections there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until_gone(path: Path) -> bool:
    """Wait up to ten seconds for a directory to be removed."""
    deadline = time.monotonic() + 10
    while path.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return not path.exists()


class TestServer:
    def test_a_started_server_takes_connections(self, server: PostgreSQLServer) -> None:
        """start() returns when the port answers."""
        assert server.running
        assert listens(server.port)

    def test_a_stopped_server_starts_again_on_its_port(self, server: PostgreSQLServer) -> None:
        """A URL stays right over a restart."""
        url = server.url()

        server.stop()
        stopped = server.running, listens(server.port)
        server.start()

        assert stopped == (False, False)
        assert server.running
        assert server.url() == url

    def test_a_crashed_server_starts_again(self, server: PostgreSQLServer) -> None:
        """A crash leaves a data directory that the next start recovers."""
        server.crash()
        crashed = server.running
        server.start()

        assert not crashed
        assert server.running

    def test_close_removes_everything(self) -> None:
        """Nothing is left of a closed server, and closing it again does no harm."""
        server = PostgreSQLServer().start()

        server.close()
        server.close()

        assert not server.running
        assert not server.directory.exists()

    def test_a_killed_process_takes_its_server_along(self) -> None:
        """A test run that is killed leaves neither a server nor files behind."""
        orphaned = subprocess.run([sys.executable, "-c", ORPHAN], capture_output=True, text=True, check=False)
        directory, port = orphaned.stdout.split()

        gone = wait_until_gone(Path(directory))

        assert orphaned.returncode == -signal.SIGKILL
        assert gone
        assert not listens(int(port))

    def test_a_server_that_ends_early_says_why(self) -> None:
        """ServerFailed carries what the server wrote, and nothing is left behind."""
        server = PostgreSQLServer(settings={"no_such_setting": "1"})

        with pytest.raises(ServerFailed, match="no_such_setting") as caught, server:
            pass

        assert not server.directory.exists()
        assert pickle.loads(pickle.dumps(caught.value)).log == caught.value.log

    def test_a_failing_program_says_why(self, server: PostgreSQLServer) -> None:
        """run() turns a failure into an error with the program's words."""
        with pytest.raises(ServerFailed, match="no-such-option"):
            server.run("initdb", "--no-such-option")


class TestAccount:
    @pytest.mark.skipif(os.geteuid() != 0, reason="only root changes accounts")
    def test_root_becomes_the_first_account_that_exists(self) -> None:
        """As root a server runs as somebody else."""
        account = unprivileged_account(["sqlkeel-no-such-account", "nobody"])

        assert account == pwd.getpwnam("nobody")

    def test_others_stay_who_they_are(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An ordinary user cannot and need not change accounts."""
        monkeypatch.setattr(os, "geteuid", lambda: 1000)

        assert unprivileged_account(["nobody"]) is None
