"""The throw-away PgBouncer: what it stands before and what it can do."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from sqlkeel.errors import ServerFailed, ServerMissing
from sqlkeel.testing import PgBouncerServer
from sqlkeel.testing import _pgbouncer as module
from tests.fixtures.servers import Run, skip_unless_required

ORPHAN = """
import os, signal
from sqlkeel.testing import PgBouncerServer
print(PgBouncerServer("postgresql://app@127.0.0.1/app").start().directory, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def wait_until_gone(path: Path) -> bool:
    """Wait up to ten seconds for a directory to be removed."""
    deadline = time.monotonic() + 10
    while path.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return not path.exists()


async def ask(server: PgBouncerServer, statement: str, driver: str = "psycopg") -> object:
    """Return the answer to a statement that goes through the pooler."""
    engine = create_async_engine(server.url(driver=driver))
    async with engine.connect() as connection:
        value: object = (await connection.execute(text(statement))).scalar_one()
    await engine.dispose()
    return value


@pytest.fixture(autouse=True, scope="module")
def program() -> Path:
    """Skip where there is no PgBouncer to start."""
    try:
        return PgBouncerServer.find()
    except ServerMissing as error:
        skip_unless_required("pgbouncer", str(error))


@pytest.fixture(scope="module")
def single(run: Run) -> Iterator[PgBouncerServer]:
    """A PgBouncer with settings of the caller's."""
    settings = {"default_pool_size": "1", "ignore_startup_parameters": "extra_float_digits,options"}
    with PgBouncerServer(run.server_url("postgresql"), settings=settings) as server:
        yield server


class TestFind:
    def test_a_missing_program_names_the_package(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where there is no PgBouncer the error says what to install."""
        monkeypatch.setenv("PATH", "")
        monkeypatch.setattr(module, "PLACES", ())

        with pytest.raises(ServerMissing, match="package pgbouncer"):
            PgBouncerServer.find()

    def test_a_place_beside_the_path_is_looked_at(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Programs for administrators are not on everybody's PATH."""
        (tmp_path / "pgbouncer").touch()
        monkeypatch.setenv("PATH", "")
        monkeypatch.setattr(module, "PLACES", (Path("/nonexistent"), tmp_path))

        assert PgBouncerServer.find() == tmp_path


class TestPgBouncerServer:
    @pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
    async def test_both_drivers_connect(self, pgbouncer: PgBouncerServer, driver: str) -> None:
        """The URL names the driver that was asked for, and leads to the database of the target."""
        assert await ask(pgbouncer, "select current_database()", driver) == pgbouncer.target.database

    async def test_a_connection_is_given_out_by_the_transaction(self, single: PgBouncerServer) -> None:
        """Two clients that are both connected use one connection of the server in turn."""
        engine = create_async_engine(single.url(driver="psycopg"))
        async with engine.connect() as first, engine.connect() as second:
            one = (await first.execute(text("select pg_backend_pid()"))).scalar_one()
            await first.commit()
            other = (await second.execute(text("select pg_backend_pid()"))).scalar_one()
        await engine.dispose()

        assert one == other

    async def test_settings_come_last(self, single: PgBouncerServer) -> None:
        """A start-up parameter that the caller lets it ignore is ignored."""
        engine = create_async_engine(single.url(driver="psycopg"), connect_args={"options": "-c jit=off"})
        async with engine.connect() as connection:
            answer = (await connection.execute(text("select 1"))).scalar_one()
        await engine.dispose()

        assert answer == 1

    async def test_a_stopped_one_starts_again(self, pgbouncer: PgBouncerServer) -> None:
        """A URL stays right over a restart, and over a crash."""
        pgbouncer.stop()
        stopped = pgbouncer.running
        pgbouncer.start()
        pgbouncer.crash()
        pgbouncer.start()

        assert not stopped
        assert await ask(pgbouncer, "select 1") == 1

    def test_a_killed_process_takes_it_along(self) -> None:
        """A test run that is killed leaves neither the pooler nor its files behind."""
        orphaned = subprocess.run([sys.executable, "-c", ORPHAN], capture_output=True, text=True, check=False)

        assert orphaned.returncode == -signal.SIGKILL
        assert wait_until_gone(Path(orphaned.stdout.strip()))

    def test_a_password_may_have_any_character(self) -> None:
        """What the target's URL holds is quoted."""
        server = PgBouncerServer("postgresql://app:it%27s%20me@db:5433/app")
        server.close()

        assert "* = host='db' port='5433' user='app' password='it''s me'" in server._configuration()

    def test_one_that_ends_early_says_why(self) -> None:
        """ServerFailed carries what the pooler wrote."""
        server = PgBouncerServer("postgresql://app@127.0.0.1/app", settings={"pool_mode": "sometimes"})

        with pytest.raises(ServerFailed, match="pool_mode"), server:
            pass


class TestAccess:
    @pytest.mark.parametrize("account", ["postgres:", "postgres:wrong", "somebody:wrong"])
    async def test_nobody_else_gets_in(self, single: PgBouncerServer, account: str) -> None:
        """It knows the password of its target, and lets only those in who know its own."""
        user, _, password = account.partition(":")
        engine = create_async_engine(make_url(single.url(driver="psycopg")).set(username=user, password=password))

        with pytest.raises(DBAPIError):
            async with engine.connect():
                pass
