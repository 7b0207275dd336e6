"""Tests of same-type: keys of one type."""

from __future__ import annotations

import pytest
from sqlalchemy import BigInteger, Column, ForeignKey, Integer

from sqlkeel.lint import check, check_database
from sqlkeel.models import metadata_with_names
from sqlkeel.sessions import Database
from tests.lint.examples import found, found_in, table

NUMBERS = metadata_with_names()
table(name="post", metadata=NUMBERS)
table(Column("post_id", BigInteger, ForeignKey("post.id"), index=True), metadata=NUMBERS)


class TestSameType:
    def test_missing_target(self) -> None:
        """A foreign key to a table that is not here cannot be compared."""
        assert not found("same-type", Column("a", Integer, ForeignKey("elsewhere.id"), index=True))

    def test_names_without_a_key(self) -> None:
        """Columns that share a name and point nowhere may differ."""
        metadata = metadata_with_names()
        table(Column("object_id", Integer), name="a", metadata=metadata)
        table(Column("object_id", BigInteger), name="b", metadata=metadata)

        assert {(one.code, one.where) for one in check(metadata)} == set()

    @pytest.mark.tables(NUMBERS)
    async def test_integers_of_sqlite(self, sqlite: Database) -> None:
        """SQLite stores an integer in 64 bits by any name; the others tell the two apart."""
        assert found_in("same-type", NUMBERS)
        assert not [one for one in await check_database(sqlite) if one.code == "same-type"]
