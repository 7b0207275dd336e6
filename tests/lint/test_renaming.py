"""Tests of sqlkeel.lint._renaming: what renames repair is repaired, taken back, and nothing else is touched."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    UniqueConstraint,
    insert,
    inspect,
    select,
    text,
)

from sqlkeel.lint import RenamePlan, check_database, plan_renames
from sqlkeel.lint._revision import fill_revision
from sqlkeel.migrations import Migrations
from sqlkeel.models import metadata_with_names
from sqlkeel.sessions import Database
from tests.lint.legacy import Base, Category, Post, User

TABLES = {"user": 1, "category": 1, "blog_post": 1}


async def create(db: Database, metadata: MetaData) -> None:
    """Make the tables."""
    async with db.engine.begin() as connection:
        await connection.run_sync(metadata.create_all)


async def fill(db: Database) -> None:
    """Put a row into each table of the schema."""
    async with db.transaction() as session:
        born = datetime.date(2000, 1, 1)
        session.add(User(id=1, age=3, city="Bonn", born=born))
        session.add(Category(id=1, title="Ships"))
        await session.flush()
        session.add(Post(id=1, title="Keels", urlPart="keels", author_id=1, category_id=1))


async def write(db: Database, folder: Path, plan: RenamePlan) -> Migrations:
    """Write the revision of a plan."""
    migrations = Migrations(db, MetaData(), folder / "migrations")
    path = await migrations.new("rename", autogenerate=False)
    assert path is not None
    fill_revision(path, upgrade=plan.upgrade, downgrade=plan.downgrade)
    return migrations


async def described(db: Database) -> dict[str, Any]:
    """Return everything that the database says of its tables."""

    def describe(connection: Any) -> dict[str, Any]:
        found = inspect(connection)
        reads = [found.get_columns, found.get_indexes, found.get_foreign_keys, found.get_check_constraints]
        reads += [found.get_unique_constraints]
        names = [name for name in found.get_table_names() if name != "alembic_version"]
        return {name: [sorted(map(shown, read(name))) for read in reads] for name in names}

    async with db.engine.connect() as connection:
        return await connection.run_sync(describe)


def shown(item: Any) -> str:
    """Return what a reflected thing is, with conditions as text."""
    options = {key: str(value) for key, value in (item.get("dialect_options") or {}).items()}
    return repr({**item, "dialect_options": options})


async def count(db: Database) -> dict[str, int]:
    """Return how many rows each table has."""
    async with db.engine.connect() as connection:
        names = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
        tables = [Table(name, MetaData()) for name in names if name != "alembic_version"]
        found = {one.name: await connection.execute(select(text("count(*)")).select_from(one)) for one in tables}
    return {name: result.scalar_one() for name, result in found.items()}


async def plan_for(db: Database, *parts: Any, name: str = "post", **options: Any) -> RenamePlan:
    """Return the plan for a database with one table."""
    metadata = metadata_with_names()
    Table(name, metadata, Column("id", Integer, primary_key=True), *parts)
    await create(db, metadata)
    return await plan_renames(db, **options)


class TestLegacySchema:
    async def test_lint_is_clean_afterwards(self, every_driver: Database, tmp_path: Path) -> None:
        """Every name breaks a rule before, none does afterwards, and no row is lost."""
        await create(every_driver, Base.metadata)
        await fill(every_driver)
        before = {one.code for one in await check_database(every_driver)}

        plan = await plan_renames(every_driver)
        migrations = await write(every_driver, tmp_path, plan)
        await migrations.up()

        assert before >= {"constraint-name", "singular-table", "snake-case", "time-suffix"}
        assert await check_database(every_driver) == []
        assert await count(every_driver) == TABLES
        assert plan.refused == ()

    async def test_nothing_is_left_to_rename(self, db: Database, tmp_path: Path) -> None:
        """A second plan is empty."""
        await create(db, Base.metadata)
        await (await write(db, tmp_path, await plan_renames(db))).up()

        plan = await plan_renames(db)

        assert plan == RenamePlan((), "", "", ())

    async def test_constraints_still_hold(self, db: Database, tmp_path: Path) -> None:
        """Foreign keys, CHECKs and unique constraints do what they did."""
        await create(db, Base.metadata)
        await fill(db)
        await (await write(db, tmp_path, await plan_renames(db))).up()

        async with db.transaction() as session:
            await session.execute(text(f"DELETE FROM {quoted(db, 'user')}"))

        assert await count(db) == {**TABLES, "user": 0, "blog_post": 0}
        checks = (await described(db))["user"][3]
        assert any("a :b" in check for check in checks)

    async def test_down(self, db: Database, tmp_path: Path) -> None:
        """Taken back, everything is called as before; what had no name on SQLite keeps the plain one."""
        await create(db, Base.metadata)
        await fill(db)
        before = await described(db)
        migrations = await write(db, tmp_path, await plan_renames(db))
        await migrations.up()

        await migrations.down()

        assert named(await described(db)) == named(before)
        assert await count(db) == {"users": 1, "Category": 1, "BlogPosts": 1}

    async def test_up_again(self, db: Database, tmp_path: Path) -> None:
        """What was taken back can be done again."""
        await create(db, Base.metadata)
        migrations = await write(db, tmp_path, await plan_renames(db))
        await migrations.up()
        await migrations.down()

        await migrations.up()

        assert await check_database(db) == []

    async def test_the_live_index_stays_one(self, mariadb: Database, tmp_path: Path) -> None:
        """On MariaDB the generated column of a `unique_live` index goes with the index."""
        await create(mariadb, Base.metadata)
        migrations = await write(mariadb, tmp_path, await plan_renames(mariadb))

        await migrations.up()

        columns = (await described(mariadb))["user"][0]
        assert any("'user_city_age_idx_live'" in column for column in columns)


def quoted(db: Database, name: str) -> str:
    """Return a name as this database writes it."""
    return str(db.engine.dialect.identifier_preparer.quote(name))


def named(tables: dict[str, Any]) -> dict[str, Any]:
    """Return a description without what has no name on SQLite."""
    return {table: [columns, indexes, checks] for table, (columns, indexes, _, checks, _) in tables.items()}


class TestNames:
    async def test_two_rules_about_one_name(self, db: Database) -> None:
        """A name that two rules find gets the one that both accept."""
        plan = await plan_for(db, name="BlogPosts")

        assert plan.renames[-1] == "BlogPosts → blog_post"

    async def test_two_rules_about_one_column(self, postgres: Database) -> None:
        """So does a column: a capital and a missing suffix are repaired together, and a suffix is not doubled."""
        moment = DateTime(timezone=True)

        plan = await plan_for(postgres, Column("sentAt", moment), Column("lastSeen", moment))

        assert plan.renames == ("post.sentAt → sent_at", "post.lastSeen → last_seen_at")

    async def test_constraints_follow_their_table(self, postgres: Database) -> None:
        """A name of the convention follows the table and column that it is made of."""
        plan = await plan_for(postgres, Column("userName", Integer, unique=True), name="posts")

        assert plan.renames == (
            "posts posts_pkey → post_pkey",
            "posts posts_userName_key → post_user_name_key",
            "posts.userName → user_name",
            "posts → post",
        )

    async def test_a_name_of_ones_own(self, db: Database) -> None:
        """A name that has the right form stays, though the convention would have made another."""
        plan = await plan_for(
            db, Column("A", Integer), Column("b", Integer), UniqueConstraint("A", "b", name="post_pair_key")
        )

        assert plan.renames == ("post.A → a",)

    async def test_ignored(self, db: Database) -> None:
        """What is let through keeps its name, in pyproject.toml or in the models."""
        models = metadata_with_names()
        Table("other", models)
        ignore = {"snake-case:post.A": "a reason", "constraint-name:post": "a reason"}

        plan = await plan_for(
            db, Column("A", Integer), UniqueConstraint("id", name="odd"), ignore=ignore, models=models
        )

        assert plan == RenamePlan((), "", "", ())

    async def test_excluded(self, db: Database) -> None:
        """A table that is left out is left alone."""
        plan = await plan_for(db, name="posts", exclude={"posts": "a reason"})

        assert plan.renames == ()

    async def test_keys_to_renamed_tables(self, db: Database) -> None:
        """A rule that follows foreign keys sees the new names on both ends."""
        await create(db, table_of("users"))
        metadata = metadata_with_names()
        Table("users", metadata, Column("id", Integer, primary_key=True))
        Table(
            "post",
            metadata,
            Column("id", Integer, primary_key=True),
            Column("writer", ForeignKey("users.id"), index=True),
        )
        await create(db, metadata)

        plan = await plan_renames(db)

        assert "post.writer → writer_id" in plan.renames
        assert "post post_writer_fkey → post_writer_id_fkey" in plan.renames


class TestRefused:
    async def test_a_column_that_is_taken(self, db: Database) -> None:
        """Two columns are not made one."""
        plan = await plan_for(db, Column("userName", Integer), Column("user_name", Integer))

        assert (plan.renames, plan.refused) == ((), ('post.userName → user_name: "user_name" is taken',))

    async def test_two_that_want_one_name(self, db: Database) -> None:
        """Where two would get the name, none does."""
        plan = await plan_for(db, Column("userName", Integer), Column("user__name", Integer))

        assert plan.renames == ()
        assert len(plan.refused) == 2

    async def test_a_table_that_is_taken(self, db: Database) -> None:
        """Two tables are not made one."""
        await create(db, table_of("post"))

        plan = await plan_for(db, name="posts")

        assert 'posts → post: "post" is taken' in plan.refused
        assert plan.renames == ()

    async def test_a_constraint_that_is_taken(self, postgres: Database) -> None:
        """Two constraints on the same columns cannot both have the name."""
        plan = await plan_for(postgres, Column("a", Integer), Index("x", "a"), Index("y", "a"))

        taken = '"post_a_idx" is taken'
        assert plan.refused == (f"post x → post_a_idx: {taken}", f"post y → post_a_idx: {taken}")

    async def test_a_constraint_of_another_table(self, db: Database) -> None:
        """Nor can two on different tables, whose names and columns add up to the same."""
        metadata = metadata_with_names()
        Table(
            "user", metadata, Column("id", Integer, primary_key=True), Column("post_nr", Integer), Index("x", "post_nr")
        )
        Table("user_post", metadata, Column("id", Integer, primary_key=True), Column("nr", Integer), Index("y", "nr"))
        await create(db, metadata)

        plan = await plan_renames(db)

        assert len(plan.renames) == 1
        assert plan.refused[0].endswith('"user_post_nr_idx" is taken')


def table_of(name: str) -> MetaData:
    """Return a schema with one table."""
    metadata = metadata_with_names()
    Table(name, metadata, Column("id", Integer, primary_key=True))
    return metadata


class TestSchemas:
    async def test_schema(self, postgres: Database, tmp_path: Path) -> None:
        """Tables of another schema are renamed where they are."""
        async with postgres.engine.begin() as connection:
            await connection.execute(text("CREATE SCHEMA sales"))
        metadata = MetaData(schema="sales")
        posts = Table("posts", metadata, Column("id", Integer, primary_key=True), Column("Odd", Integer, index=True))
        await create(postgres, metadata)
        async with postgres.engine.begin() as connection:
            await connection.execute(insert(posts).values(id=1))

        migrations = await write(postgres, tmp_path, await plan_renames(postgres, schemas=["sales"]))
        await migrations.up()

        assert await check_database(postgres, schemas=["sales"]) == []
        await migrations.down()
        assert (await check_database(postgres, schemas=["sales"]))[0].where == "sales.posts"
