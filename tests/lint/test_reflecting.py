"""Tests of sqlkeel.lint._reflecting: a database is read as the models that made it."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import (
    JSON,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Enum,
    Float,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Numeric,
    String,
    Table,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

import sqlkeel
from sqlkeel import Money, unique_live
from sqlkeel.demo.app import create_app
from sqlkeel.demo.database import migrations
from sqlkeel.demo.models import Base as Demo
from sqlkeel.errors import ConfigurationError
from sqlkeel.lint import check, check_database
from sqlkeel.lint._reflecting import reflect
from sqlkeel.models import metadata_with_names
from sqlkeel.sessions import Database

EVERY_TYPE = metadata_with_names()
Table(
    "team",
    EVERY_TYPE,
    Column("id", Integer, Identity(), primary_key=True),
    Column("name", String(50), unique=True),
)
Table(
    "thing",
    EVERY_TYPE,
    Column("id", Uuid(), primary_key=True),
    Column("team_id", ForeignKey("team.id", ondelete="CASCADE"), index=True),
    Column("price", Money()),
    Column("total", Numeric(12, 2)),
    Column("weight", Float),
    Column("sent_at", sqlkeel.UTCDateTime()),
    Column("birth_date", Date),
    Column("document", JSON().with_variant(JSONB(), "postgresql")),
    Column("active", Boolean, nullable=False),
    Column("state", Enum("a", "b", native_enum=False, length=32)),
    Column("deleted_at", sqlkeel.UTCDateTime()),
    CheckConstraint("weight > 0", name="weight"),
    Index(None, "state", "weight"),
    unique_live("state"),
)
NAIVE = metadata_with_names()
Table("visit", NAIVE, Column("id", Integer, primary_key=True), Column("seen_at", DateTime))
PLAIN = metadata_with_names()
Table("user", PLAIN, Column("id", Integer, primary_key=True))
Table(
    "post",
    PLAIN,
    Column("id", Integer, primary_key=True),
    Column("author_id", ForeignKey("user.id")),
    Column("a", Integer, unique=True),
    Column("b", Integer),
    Index(None, "b", unique=True),
)


def table(schema: Any, name: str) -> Table:
    """Return a reflected table."""
    found: Table = schema.metadata.tables[name]
    return found


class TestNoFalseAlarm:
    @pytest.mark.tables(Demo.metadata)
    async def test_demo(self, every_driver: Database) -> None:
        """The demo keeps all rules: its models, what it answers with, and its tables in each database."""
        assert check(Demo, apps=[create_app(every_driver)]) == []
        assert await check_database(every_driver) == []

    async def test_demo_as_migrated(self, db: Database) -> None:
        """So do the tables that the demo's own migrations have made."""
        await migrations(db).up()

        assert await check_database(db, models=Demo) == []

    @pytest.mark.tables(EVERY_TYPE)
    async def test_types(self, every_driver: Database) -> None:
        """What a type becomes in a database is no finding where the type was none."""
        assert await check_database(every_driver) == []

    @pytest.mark.tables(NAIVE)
    async def test_what_cannot_be_seen(self, db: Database) -> None:
        """A zone is missing only where the database could have kept one."""
        shown = {"postgresql": ["visit.seen_at"], "sqlite": [], "mariadb": []}

        findings = await check_database(db)

        assert [one.where for one in findings] == shown[db.engine.dialect.name]

    async def test_times_as_text(self, sqlite: Database) -> None:
        """SQLite keeps a time as text or number, so that a column with its suffix may be either."""
        async with sqlite.engine.begin() as connection:
            await connection.execute(text("CREATE TABLE log (id INTEGER, sent_at TEXT, seen_at INTEGER)"))

        assert [one for one in await check_database(sqlite) if one.code == "time-suffix"] == []


class TestReflect:
    @pytest.mark.tables(PLAIN)
    async def test_names(self, mariadb: Database) -> None:
        """MariaDB calls each primary key PRIMARY and each unique constraint an index."""
        post = table(await reflect(mariadb), "post")

        assert {str(one.name) for one in post.constraints} == {"post_pkey", "post_author_id_fkey", "post_a_key"}
        assert {str(one.name) for one in post.indexes} == {"post_author_id_fkey", "post_b_idx"}

    @pytest.mark.tables(PLAIN)
    async def test_index_of_a_foreign_key(self, db: Database) -> None:
        """The index that MariaDB makes with a foreign key serves it, and is not called wrong; others make none."""
        missing = [("foreign-key-index", "post.author_id")]
        expected = {"sqlite": missing, "postgresql": missing, "mariadb": []}

        findings = await check_database(db)

        assert [(one.code, one.where) for one in findings] == expected[db.engine.dialect.name]

    @pytest.mark.tables(EVERY_TYPE)
    async def test_live_index(self, mariadb: Database) -> None:
        """The generated column of `unique_live` is no column of the table."""
        thing = table(await reflect(mariadb), "thing")

        (live,) = [one for one in thing.indexes if one.unique]
        assert [column.name for column in live.columns] == ["state"]
        assert live.dialect_kwargs["mariadb_live"] == "deleted_at"
        assert not [one for one in thing.columns if one.name.endswith("_live")]

    async def test_check_without_a_name(self, mariadb: Database) -> None:
        """A name that MariaDB has made up is none."""
        async with mariadb.engine.begin() as connection:
            await connection.execute(text("CREATE TABLE t (id int PRIMARY KEY, a int, CHECK (a > 0))"))

        findings = await check_database(mariadb)

        assert [one.message for one in findings] == ["A CheckConstraint has no name."]
        assert findings[0].rename is None

    async def test_schemas(self, postgres: Database) -> None:
        """Only the schemas asked for are read, and a place says which it is in."""
        async with postgres.engine.begin() as connection:
            await connection.execute(text("CREATE SCHEMA sales"))
            await connection.execute(text('CREATE TABLE sales.posts (id int CONSTRAINT "posts_pkey" PRIMARY KEY)'))
            await connection.execute(text('CREATE TABLE likes (id int CONSTRAINT "likes_pkey" PRIMARY KEY)'))

        assert [one.where for one in await check_database(postgres)] == ["likes"]
        assert [one.where for one in await check_database(postgres, schemas=["sales"])] == ["sales.posts"]
        assert [one.where for one in await check_database(postgres, schemas=["sales"], exclude={"sales.*": "x"})] == []

    @pytest.mark.tables(PLAIN)
    async def test_a_schema_that_is_not_there(self, db: Database) -> None:
        """A mistyped schema is refused: it would have no faults."""
        with pytest.raises(ConfigurationError, match="There is no schema 'slaes'"):
            await check_database(db, schemas=["slaes"])

    async def test_what_cannot_be_described(self, sqlite: Database) -> None:
        """An index over an expression, of which SQLAlchemy warns, does not disturb."""
        metadata = metadata_with_names()
        made = Table("word", metadata, Column("id", Integer, primary_key=True), Column("form", String))
        Index("word_form_idx", func.lower(made.c.form))
        async with sqlite.engine.begin() as connection:
            await connection.run_sync(metadata.create_all)

        assert await check_database(sqlite) == []

    @pytest.mark.tables(PLAIN)
    async def test_alembics_table(self, sqlite: Database) -> None:
        """The table of Alembic is not ours to judge."""
        async with sqlite.engine.begin() as connection:
            await connection.execute(text("CREATE TABLE alembic_version (num TEXT)"))

        assert set((await reflect(sqlite)).metadata.tables) == {"post", "user"}
        async with sqlite.engine.begin() as connection:
            await connection.execute(text("DROP TABLE alembic_version"))
