"""The start and the end of an application: its database is checked, and closed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sqlkeel import Database, Session
from sqlkeel.errors import DatabaseBehind, DatabaseUnavailable, MigrationError
from sqlkeel.migrations import Migrations
from tests.fixtures.databases import OpenDatabase
from tests.integrations.contract.framework import Framework
from tests.integrations.tables import Base, write
from tests.integrations.wire import client

pytestmark = pytest.mark.tables(Base.metadata)

NOWHERE = "postgresql+asyncpg://nobody@127.0.0.1:1/nothing"


async def writing(session: Session) -> None:
    """Write a note."""
    await write(session)


def refusal(error: type[Exception], match: str | None = None) -> pytest.RaisesGroup[Exception]:
    """Expect *error*, alone or in the groups of a framework that starts an application in a task group."""
    return pytest.RaisesGroup(pytest.RaisesExc(error, match=match), flatten_subgroups=True, allow_unwrapped=True)


async def start(framework: Framework, app: Any) -> None:
    """Start an application, and shut it down."""
    async with framework.running(app):
        pass


class TestEnd:
    async def test_the_database_is_closed_with_the_application(
        self, framework: Framework, sqlite: Database, open_database: OpenDatabase
    ) -> None:
        """After the shutdown no connection is kept open."""
        db = open_database(sqlite)
        app = framework.serve(db)

        async with framework.running(app):
            kept = db.engine.pool.checkedin()  # type: ignore[attr-defined]  # a QueuePool

        assert kept == 1
        assert db.engine.pool.checkedin() == 0  # type: ignore[attr-defined]

    async def test_the_own_lifespan_has_the_database(
        self, framework: Framework, sqlite: Database, open_database: OpenDatabase
    ) -> None:
        """The application's own lifespan runs inside: it has the database until its end, and leaves nothing open."""
        happened: list[str] = []
        db = open_database(sqlite)

        @asynccontextmanager
        async def lifespan(app: Any) -> AsyncIterator[None]:
            await db.check()
            happened.append("up")
            yield
            await db.check()
            happened.append("down")

        await start(framework, framework.serve(db, lifespan=lifespan))

        assert happened == ["up", "down"]
        assert db.engine.pool.checkedin() == 0  # type: ignore[attr-defined]


class TestStart:
    async def test_an_unreachable_database_stops_it(self, framework: Framework, open_database: OpenDatabase) -> None:
        """The application does not start on a database that it cannot reach, before its own lifespan runs."""
        happened: list[str] = []

        @asynccontextmanager
        async def lifespan(app: Any) -> AsyncIterator[None]:
            happened.append("up")
            yield

        app = framework.serve(open_database(NOWHERE), lifespan=lifespan)

        with refusal(DatabaseUnavailable):
            await start(framework, app)

        assert happened == []

    async def test_migrations_that_are_not_applied_stop_it(
        self, framework: Framework, open_database: OpenDatabase, tmp_path: Path
    ) -> None:
        """The application does not start on a database without its tables; after the migration it does."""
        db = open_database(f"sqlite+aiosqlite:///{tmp_path}/a.db")
        migrations = Migrations(db, Base, tmp_path / "migrations")
        await migrations.new("first tables")
        app = framework.serve(db, installed={"check": migrations})
        with refusal(DatabaseBehind):
            await start(framework, app)

        await migrations.up()

        await start(framework, app)

    async def test_a_missing_file_is_not_made(
        self, framework: Framework, open_database: OpenDatabase, tmp_path: Path
    ) -> None:
        """A file of SQLite that is not there stops the start, and is not there afterwards either."""
        db = open_database(f"sqlite+aiosqlite:///{tmp_path}/a.db")
        await (migrations := Migrations(db, Base, tmp_path / "migrations")).new("first tables")
        await db.dispose()
        (tmp_path / "a.db").unlink()
        app = framework.serve(db, installed={"check": migrations})

        with refusal(MigrationError, "There is no database file"):
            await start(framework, app)

        assert not (tmp_path / "a.db").exists()

    async def test_an_unreachable_database_stops_it_with_migrations_too(
        self, framework: Framework, open_database: OpenDatabase, tmp_path: Path
    ) -> None:
        """A server that does not answer is DatabaseUnavailable, for nobody knows what it lacks."""
        db = open_database(NOWHERE)
        migrations = Migrations(db, Base, tmp_path / "migrations")
        await migrations.new("by hand", autogenerate=False)
        app = framework.serve(db, installed={"check": migrations})

        with refusal(DatabaseUnavailable):
            await start(framework, app)

    async def test_the_check_can_be_left_out(self, framework: Framework, open_database: OpenDatabase) -> None:
        """A service that shall start before its database does so, and answers 503."""
        app = framework.serve(open_database(NOWHERE), writing, installed={"check": False})

        async with framework.running(app), client(app) as http:
            response = await http.post("/")

        assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
        assert response.json()["type"] == "errors#database-unavailable"
