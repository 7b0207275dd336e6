"""Tests of reserved-word: words that SQLAlchemy does not quote."""

from __future__ import annotations

import pytest
import sqlalchemy
from sqlalchemy import Column, Integer, text
from sqlalchemy.dialects.mysql.mariadb import MariaDBDialect

from sqlkeel.lint import check_database
from sqlkeel.lint.rules.reserved_word import UNQUOTED
from sqlkeel.models import metadata_with_names
from sqlkeel.sessions import Database
from tests.lint.examples import found, found_in, table

PORTION = metadata_with_names()
table(Column("portion", Integer), metadata=PORTION)


class TestReservedWord:
    @pytest.mark.parametrize("name", ["user", "order", "group", "key"])
    def test_accepted(self, name: str) -> None:
        """Words that SQLAlchemy quotes are no problem."""
        assert not found("reserved-word", Column(name, Integer), name=name)

    async def test_postgresql_reserves_no_other(self, postgres: Database) -> None:
        """The words of PostgreSQL that are reserved and not quoted are in the list."""
        query = text("SELECT word FROM pg_get_keywords() WHERE catcode IN ('R', 'T')")
        async with postgres.read() as session:
            words = (await session.scalars(query)).all()
        quoted = postgres.engine.dialect.identifier_preparer.reserved_words

        assert set(words) - set(quoted) <= UNQUOTED.keys()

    @pytest.mark.parametrize("word", [word for word, where in UNQUOTED.items() if where == "MariaDB"])
    async def test_mariadb_reserves_them(self, mariadb: Database, word: str) -> None:
        """The words of MariaDB in the list are refused by the server, and unknown to SQLAlchemy."""
        assert word not in MariaDBDialect().identifier_preparer.reserved_words
        async with mariadb.read() as session:
            with pytest.raises(sqlalchemy.exc.ProgrammingError):
                await session.execute(text(f"SELECT 1 AS {word}"))

    @pytest.mark.tables(PORTION)
    async def test_live_database(self, postgres: Database) -> None:
        """A live database is asked about its own words; models are for all."""
        assert found_in("reserved-word", PORTION)
        assert await check_database(postgres) == []
