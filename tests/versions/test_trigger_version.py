"""A version that the database counts: no program can change a row unnoticed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import ForeignKey, Integer, String, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.orm.exc import StaleDataError

import sqlkeel
from sqlkeel import Database, Repository
from sqlkeel.errors import NotSupported, UniqueViolation, VersionConflict
from sqlkeel.models import IntKeyMixin, metadata_with_names
from sqlkeel.observe import queries
from sqlkeel.soft_delete import SoftDeleteMixin
from sqlkeel.timestamps import TimestampMixin
from sqlkeel.versions import TriggerVersionMixin


class Base(sqlkeel.Base):
    pass


class Page(IntKeyMixin, TimestampMixin, SoftDeleteMixin, TriggerVersionMixin, Base):
    __tablename__ = "page"
    slug: Mapped[str] = mapped_column(String(50), unique=True)
    title: Mapped[str] = mapped_column(String(50), default="old")
    rank: Mapped[int] = mapped_column(Integer(), default=0, unique=True)


class Creature(IntKeyMixin, TriggerVersionMixin, Base):
    """One table for all kinds, and a version under another name."""

    __tablename__ = "creature"
    kind: Mapped[str] = mapped_column(String(10))
    name: Mapped[str] = mapped_column(String(50))
    version: Mapped[int] = mapped_column("edition", Integer(), server_default="1")
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "creature"}


class Cat(Creature):
    __mapper_args__ = {"polymorphic_identity": "cat"}


pytestmark = pytest.mark.tables(Base.metadata)

Door = Callable[[AsyncSession, Page], Awaitable[Any]]


async def flushing(session: AsyncSession, page: Page) -> None:
    """Change the object."""
    page.title = "new"
    await session.flush()


async def touching(session: AsyncSession, page: Page) -> None:
    """Count a change of something else."""
    await Repository(session, Page).touch(page)


async def stating(session: AsyncSession, page: Page) -> None:
    """Send an update() statement."""
    await session.execute(update(Page).where(Page.id == page.id).values(title="new"))


async def writing_many(session: AsyncSession, page: Page) -> None:
    """Update by key."""
    await Repository(session, Page).update_many([{"id": page.id, "title": "new", "version": 1}])


async def upserting(session: AsyncSession, page: Page) -> None:
    """Upsert one row."""
    await Repository(session, Page).upsert({"slug": page.slug, "title": "new", "rank": 0}, on=[Page.slug])


async def upserting_many(session: AsyncSession, page: Page) -> None:
    """Upsert rows."""
    await Repository(session, Page).upsert_many([{"slug": page.slug, "title": "new", "rank": 0}], on=[Page.slug])


async def deleting(session: AsyncSession, page: Page) -> None:
    """Mark as deleted."""
    await Repository(session, Page).delete(page)


DOORS: list[Door] = [flushing, touching, stating, writing_many, upserting, upserting_many, deleting]


async def add(db: Database, slug: str = "a", rank: int = 0) -> int:
    """Commit a page."""
    async with db.transaction() as session:
        page = Page(slug=slug, rank=rank)
        session.add(page)
        await session.flush()
        return page.id


async def version_in(db: Database, key: int) -> int:
    """Read the version over a connection of its own."""
    async with db.engine.connect() as connection:
        return int(await connection.scalar(text("SELECT version FROM page WHERE id = :key"), {"key": key}) or 0)


async def by_another_program(db: Database, statement: str) -> None:
    """Send SQL over an engine that has nothing of ours, and commit."""
    engine = create_async_engine(db.url)
    async with engine.begin() as connection:
        await connection.execute(text(statement))
    await engine.dispose()


class TestOwnWrites:
    @pytest.mark.parametrize("door", DOORS)
    async def test_each_counts_one(self, every_driver: Database, door: Door) -> None:
        """Whatever writes the row counts one, and the object knows it."""
        key = await add(every_driver)

        async with every_driver.transaction() as session:
            page = await session.get_one(Page, key)
            await door(session, page)
            known = page.version

        assert (known, await version_in(every_driver, key)) == (2, 2)

    async def test_an_object_is_written_twice(self, every_driver: Database) -> None:
        """Two flushes of one object are two changes, without a conflict with oneself."""
        key = await add(every_driver)

        async with every_driver.transaction() as session:
            page = await session.get_one(Page, key)
            page.title = "new"
            await session.flush()
            page.title = "newer"

        assert await version_in(every_driver, key) == 3

    async def test_it_costs_no_statement(self, sqlite: Database) -> None:
        """A change is one statement, as with a version that the ORM counts."""
        key = await add(sqlite)

        async with sqlite.transaction() as session:
            page = await session.get_one(Page, key)
            page.title = "new"
            async with queries(sqlite, exactly=1):
                await session.flush()

    async def test_a_row_that_is_found_counts_nothing(self, every_driver: Database) -> None:
        """get_or_create() of a row that is there leaves it alone."""
        key = await add(every_driver)

        async with every_driver.transaction() as session:
            await Repository(session, Page).get_or_create({"slug": "a"})

        assert await version_in(every_driver, key) == 1


class TestOtherPrograms:
    async def test_their_change_counts(self, every_driver: Database) -> None:
        """SQL that knows nothing of versions counts one for each row that it writes."""
        first, second = await add(every_driver), await add(every_driver, "b", 1)

        await by_another_program(every_driver, "UPDATE page SET title = 'theirs' WHERE slug = 'a'")

        assert [await version_in(every_driver, key) for key in (first, second)] == [2, 1]

    @pytest.mark.parametrize("version", ["1", "7", "version", "version + 1", "version - 1", "0"])
    async def test_they_cannot_set_it(self, every_driver: Database, version: str) -> None:
        """Whatever SQL sets the version to, it is one more than it was."""
        key = await add(every_driver)

        await by_another_program(every_driver, f"UPDATE page SET title = 'theirs', version = {version}")

        assert await version_in(every_driver, key) == 2

    async def test_their_change_is_a_conflict(self, every_driver: Database) -> None:
        """Who read the row before is told, and sees what the other program wrote."""
        key = await add(every_driver)

        with pytest.raises(VersionConflict) as caught:
            async with every_driver.session() as session:
                page = await session.get_one(Page, key)
                await session.commit()
                await by_another_program(every_driver, "UPDATE page SET title = 'theirs'")
                page.title = "mine"
                await session.commit()

        assert (caught.value.expected, caught.value.current) == (1, 2)
        assert caught.value.current_row is not None
        assert caught.value.current_row["title"] == "theirs"

    async def test_text_in_the_same_session_overtakes_its_objects(self, every_driver: Database) -> None:
        """An object cannot be written after SQL text has changed its row, also in the session that sent the text."""
        key = await add(every_driver)

        with pytest.raises(StaleDataError):
            async with every_driver.transaction() as session:
                page = await session.get_one(Page, key)
                await session.execute(text("UPDATE page SET title = 'theirs'"))
                page.title = "mine"

    async def test_a_core_statement_counts(self, every_driver: Database) -> None:
        """update() of the table, which the ORM does not see, counts."""
        key = await add(every_driver)

        async with every_driver.engine.begin() as connection:
            await connection.execute(update(Page.__table__).values(title="theirs"))  # type: ignore[arg-type]  # a Table

        assert await version_in(every_driver, key) == 2

    async def test_new_rows_begin_at_one(self, every_driver: Database) -> None:
        """A row that SQL inserts has the version that the ORM would give it."""
        async with every_driver.transaction() as session:
            await session.execute(insert(Page.__table__).values(slug="a", title="t", rank=0))  # type: ignore[arg-type]  # a Table

            assert await session.scalar(select(Page.version)) == 1

    async def test_a_version_of_another_name_counts(self, every_driver: Database) -> None:
        """The trigger counts the column that the version is stored in, for each class of the table."""
        async with every_driver.transaction() as session:
            session.add(Cat(name="Tom"))

        await by_another_program(every_driver, "UPDATE creature SET name = 'Tim'")

        async with every_driver.transaction() as session:
            cat = (await session.scalars(select(Cat))).one()
            cat.name = "Jim"
            await session.flush()
            assert cat.version == 3

    async def test_a_recursive_trigger_counts_once(self, sqlite: Database) -> None:
        """SQLite's trigger does not set itself off, whatever the connection allows."""
        key = await add(sqlite)

        async with sqlite.engine.begin() as connection:
            await connection.exec_driver_sql("PRAGMA recursive_triggers = ON")
            await connection.exec_driver_sql("UPDATE page SET title = 'theirs'")

        assert await version_in(sqlite, key) == 2

    async def test_it_goes_with_the_key(self, every_driver: Database) -> None:
        """A change of the primary key counts as well."""
        key = await add(every_driver)

        await by_another_program(every_driver, f"UPDATE page SET id = {key + 1000}")

        assert await version_in(every_driver, key + 1000) == 2


class TestMariaDB:
    async def test_meeting_another_row_counts(self, mariadb: Database) -> None:
        """ON DUPLICATE KEY UPDATE reaches a row that it then leaves as it is; a false conflict, never a missed one."""
        await add(mariadb)
        other = await add(mariadb, "b", 1)

        async with mariadb.transaction() as session:
            with pytest.raises(UniqueViolation):
                await Repository(session, Page).upsert({"slug": "c", "rank": 1}, on=[Page.slug])

        assert await version_in(mariadb, other) == 2


class TestModel:
    def test_several_tables_are_refused(self) -> None:
        """A trigger on one table does not see the changes of the other."""

        class Own(sqlkeel.Base):
            pass

        class Plant(IntKeyMixin, TriggerVersionMixin, Own):
            __tablename__ = "plant"
            kind: Mapped[str]
            __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "plant"}

        with pytest.raises(NotSupported, match="several tables"):
            type(
                "Tree",
                (Plant,),
                {
                    "__tablename__": "tree",
                    "__mapper_args__": {"polymorphic_identity": "tree"},
                    "id": mapped_column(ForeignKey("plant.id"), primary_key=True),
                },
            )

    def test_a_table_without_rowid_is_refused(self) -> None:
        """SQLite's trigger finds the row by its rowid."""

        class Own(DeclarativeBase):
            pass

        with pytest.raises(NotSupported, match="rowid"):
            type(
                "Plant",
                (IntKeyMixin, TriggerVersionMixin, Own),
                {"__tablename__": "plant", "__table_args__": {"sqlite_with_rowid": False}},
            )

    @pytest.mark.tables(None)
    async def test_nothing_is_left_of_a_dropped_table(self, every_driver: Database) -> None:
        """drop_all() removes PostgreSQL's function, too; create_all() makes all of it again."""
        async with every_driver.engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
            await connection.run_sync(Base.metadata.drop_all)
            left = await functions(connection)
            await connection.run_sync(Base.metadata.create_all)

        assert left == 0
        key = await add(every_driver)
        await by_another_program(every_driver, "UPDATE page SET title = 'theirs'")
        assert await version_in(every_driver, key) == 2

    @pytest.mark.tables(None)
    async def test_a_copy_of_the_table_has_it(self, sqlite: Database) -> None:
        """Table.to_metadata() copies the trigger with the table."""
        copy = Page.__table__.to_metadata(metadata_with_names())  # type: ignore[attr-defined]  # a Table

        async with sqlite.engine.begin() as connection:
            await connection.run_sync(copy.create)

        key = await add(sqlite)
        await by_another_program(sqlite, "UPDATE page SET title = 'theirs'")
        assert await version_in(sqlite, key) == 2


async def functions(connection: AsyncConnection) -> int:
    """Count what is left of the triggers: functions, where a database has them."""
    tables = {
        "postgresql": "pg_proc WHERE pronamespace = 'public'::regnamespace AND proname LIKE '%_version_trigger'",
        "mariadb": "information_schema.triggers WHERE trigger_schema = database()",
        "sqlite": "sqlite_master WHERE type = 'trigger'",
    }
    found = select(func.count()).select_from(text(tables[connection.dialect.name]))
    return int(await connection.scalar(found) or 0)
