"""The database that the tour runs on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from sqlalchemy import inspect, text

from sqlkeel import Database
from sqlkeel.demo.database import migrations
from sqlkeel.demo.models import Base
from sqlkeel.demo.target import empty_database
from sqlkeel.errors import ConfigurationError, DatabaseUnavailable


def url_of(db: Database) -> str:
    """Return the URL with its password."""
    return db.url.render_as_string(hide_password=False)


def is_kept(db: Database) -> bool:
    """Tell whether the directory of the file is there."""
    return Path(str(db.url.database)).parent.exists()


def remove(db: Database) -> None:
    """Take away what was kept."""
    shutil.rmtree(Path(str(db.url.database)).parent)


async def tables(db: Database) -> set[str]:
    """Return the names of all tables."""
    async with db.engine.connect() as connection:
        return set(await connection.run_sync(lambda sync: inspect(sync).get_table_names()))


class TestEmptyDatabase:
    async def test_a_file_is_made_and_removed(self) -> None:
        """Without a URL it is a file that nobody finds afterwards."""
        async with empty_database(None, keep=False) as db:
            await migrations(db).up()
            there = is_kept(db)

        assert there
        assert not is_kept(db)

    async def test_a_file_can_be_kept(self) -> None:
        """With its rows."""
        async with empty_database(None, keep=True) as db:
            await migrations(db).up()

        assert is_kept(db)
        remove(db)

    async def test_own_tables_go_afterwards(self, db: Database) -> None:
        """A database that was given is left without our tables."""
        async with empty_database(url_of(db), keep=False) as opened:
            await migrations(opened).up()

        assert await tables(db) == {"alembic_version"}

    async def test_own_tables_go_after_an_error_too(self, db: Database) -> None:
        """Whatever stops the tour, and that is what is raised."""
        with pytest.raises(LookupError):
            async with empty_database(url_of(db), keep=False) as opened:
                await migrations(opened).up()
                raise LookupError

        assert await tables(db) == {"alembic_version"}

    async def test_own_tables_can_stay(self, db: Database) -> None:
        """They are what the next tour begins by dropping."""
        async with empty_database(url_of(db), keep=True) as opened:
            await migrations(opened).up()
        kept = await tables(db)

        async with empty_database(url_of(db), keep=True) as opened:
            dropped = await tables(opened)

        assert set(Base.metadata.tables) <= kept
        assert dropped == {"alembic_version"}

    @pytest.mark.parametrize("name", ["customer", "project"])
    async def test_what_belongs_to_others_is_refused(self, db: Database, name: str) -> None:
        """Also a table that is named like one of ours, but was not made by our migrations; nothing is touched."""
        async with db.engine.begin() as connection:
            await connection.execute(text(f"CREATE TABLE {name} (id INTEGER)"))

        with pytest.raises(ConfigurationError, match=name):
            async with empty_database(url_of(db), keep=False):
                pass

        assert await tables(db) == {name}

    async def test_an_unreachable_server_is_said_to_be_so(self) -> None:
        """The error is the typed one."""
        with pytest.raises(DatabaseUnavailable):
            async with empty_database("postgresql+asyncpg://nobody@127.0.0.1:1/none", keep=False):
                pass
