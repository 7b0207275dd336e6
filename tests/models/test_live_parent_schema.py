"""What live_parent writes into the schema, and the declarations that it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Column, ForeignKey, Integer, MetaData, Table, Text
from sqlalchemy.dialects.mysql.mariadb import MariaDBDialect
from sqlalchemy.schema import CreateTable

from sqlkeel import Database, live_parent
from sqlkeel.errors import ConfigurationError, NotSupported
from sqlkeel.types import UTCDateTime
from tests.models.live_parent_models import Base

MARIADB: Any = MariaDBDialect


pytestmark = pytest.mark.tables(Base.metadata)


def table(name: str, *parts: Any, metadata: MetaData | None = None, soft: bool = True) -> Table:
    """Make a table with a key and, if it is soft-deletable, a mark."""
    mark = [Column("deleted_at", UTCDateTime)] if soft else []
    return Table(
        name, metadata if metadata is not None else MetaData(), Column("id", Integer, primary_key=True), *mark, *parts
    )


def pointing(**options: Any) -> Table:
    """Make a child of a table "above"."""
    return table("child", Column("up", ForeignKey("above.id")), live_parent("up"), **options)


class TestRefusals:
    def test_no_column(self) -> None:
        """There has to be one."""
        with pytest.raises(ConfigurationError, match="needs a column"):
            live_parent()

    def test_no_foreign_key(self) -> None:
        """The message names the columns, and what to write."""
        with pytest.raises(
            ConfigurationError, match=r"live_parent\(up\) on child: there is no foreign key over \(up\)"
        ):
            table("child", Column("up", Integer), live_parent("up"))

    def test_a_child_that_is_not_soft_deletable(self) -> None:
        """It is always live: a plain foreign key and no soft delete above is what it wants."""
        with pytest.raises(ConfigurationError, match="child has no deleted_at"):
            pointing(soft=False)

    @pytest.mark.parametrize("first", ["above", "child"])
    def test_a_parent_that_is_not_soft_deletable(self, first: str) -> None:
        """It is never deleted; found out when the second of the two is declared."""
        metadata = MetaData()
        make: dict[str, Callable[[], Table]] = {
            "above": lambda: table("above", metadata=metadata, soft=False),
            "child": lambda: pointing(metadata=metadata),
        }
        make.pop(first)()
        [second] = make.values()

        with pytest.raises(ConfigurationError, match="above has no deleted_at"):
            second()

    def test_a_column_of_that_name(self) -> None:
        """It is not written over."""
        with pytest.raises(ConfigurationError, match="needs the name is_live for a column, but child already has one"):
            table("child", Column("up", ForeignKey("above.id")), Column("is_live", Text), live_parent("up"))

    @pytest.mark.tables(None)
    async def test_mariadb_is_refused(self, mariadb: Database) -> None:
        """It checks each statement, and a soft delete marks the parent first; nothing weaker is made."""
        metadata = MetaData()
        table("above", metadata=metadata)
        pointing(metadata=metadata)

        with pytest.raises(NotSupported, match=r"The foreign key \(up, is_live\) has to be checked at COMMIT"):
            async with mariadb.engine.begin() as connection:
                await connection.run_sync(metadata.create_all)
        async with mariadb.engine.begin() as connection:
            await connection.run_sync(metadata.drop_all)

    def test_other_foreign_keys_of_mariadb_are_left_alone(self) -> None:
        """They are written as ever."""
        ddl = str(CreateTable(table("child", Column("up", ForeignKey(table("above").c.id)))).compile(dialect=MARIADB()))

        assert "FOREIGN KEY(up) REFERENCES above (id)" in ddl


class TestSchema:
    def test_a_schema_of_the_metadata_counts(self) -> None:
        """The parent is found under its full name, whichever comes first."""
        metadata = MetaData(schema="shop")
        pointing(metadata=metadata)

        above = table("above", metadata=metadata)

        assert "is_live" in above.c
