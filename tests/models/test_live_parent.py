"""Tests of sqlkeel.constraints.live_parent: no live row under a deleted one, whoever writes it."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import ForeignKey, Table, UniqueConstraint, func, insert, inspect, select, text, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, configure_mappers, mapped_column, relationship
from sqlalchemy.schema import CreateTable

from sqlkeel import Database, Repository, live_parent, queries
from sqlkeel.errors import ForeignKeyViolation
from sqlkeel.migrations import Migrations
from sqlkeel.models._constraints import is_live_key
from sqlkeel.soft_delete import purge_in
from sqlkeel.types import utc_now
from tests.engines.peers import soon, statements_running
from tests.fixtures.databases import OpenDatabase
from tests.models.live_parent_models import Article, Author, Base, Cell, Journal, Mark, Node, Note

SHOWN = {"include_deleted": True}
MARKED: Any = {"deleted_at": utc_now()}
POSTGRESQL: Any = postgresql.dialect


pytestmark = pytest.mark.tables(Base.metadata)


@pytest.fixture(params=["sqlite", "postgres", "psycopg"])
def db(request: pytest.FixtureRequest) -> Database:
    """Each driver of a database that can check at COMMIT."""
    database: Database = request.getfixturevalue(request.param)
    return database


@pytest.fixture(params=["postgres", "psycopg"])
def server(request: pytest.FixtureRequest) -> Database:
    """PostgreSQL, through each of its drivers."""
    database: Database = request.getfixturevalue(request.param)
    return database


async def add(db: Database, *rows: Any) -> None:
    """Commit rows."""
    async with db.transaction() as session:
        session.add_all(rows)


async def execute(db: Database, *statements: Any) -> None:
    """Commit Core statements, which soft delete knows nothing of."""
    async with db.engine.begin() as connection:
        for statement in statements:
            await connection.execute(statement)


def table_of(model: Any) -> Table:
    """Return the table of a model, for Core statements."""
    found = model.__table__
    assert isinstance(found, Table)
    return found


async def stray(db: Database, model: Any) -> int:
    """Count the live rows of a child whose author is deleted."""
    child, author = table_of(model), table_of(Author)
    async with db.engine.connect() as connection:
        join = child.join(author, child.c.author_id == author.c.id)
        statement = (
            select(func.count()).select_from(join).where(child.c.deleted_at.is_(None), author.c.deleted_at.is_not(None))
        )
        return int(await connection.scalar(statement) or 0)


class TestRefused:
    async def test_a_live_child_under_a_deleted_parent(self, db: Database) -> None:
        """At COMMIT, as a typed error; nothing is written."""
        await add(db, Author(id=1, **MARKED))

        with pytest.raises(ForeignKeyViolation):
            await add(db, Article(id=1, author_id=1))

        async with db.read() as session:
            assert await session.scalar(select(func.count()).select_from(Article)) == 0

    async def test_the_error_names_the_key(self, server: Database) -> None:
        """PostgreSQL says which; SQLite does not."""
        await add(server, Author(id=1, **MARKED))

        with pytest.raises(ForeignKeyViolation) as caught:
            await add(server, Article(id=1, author_id=1))

        assert caught.value.table == "live_article"
        assert caught.value.constraint == "live_article_author_id_is_live_fkey"

    async def test_a_parent_marked_by_sql(self, db: Database) -> None:
        """Past the session, the children are live; with them it passes, in either order."""
        await add(db, Author(id=1, articles=[Article(id=1)]))
        author, article = (update(table_of(model)).values(MARKED) for model in (Author, Article))

        with pytest.raises(ForeignKeyViolation):
            await execute(db, author)
        await execute(db, author, article)

        assert await stray(db, Article) == 0

    async def test_a_child_brought_back_by_sql(self, db: Database) -> None:
        """A child whose parent is deleted comes back with it, or not at all."""
        await add(db, Author(id=1, articles=[Article(id=1)]))
        async with db.transaction() as session:
            await session.delete(await session.get_one(Author, 1))
        author, article = (update(table_of(model)).values(deleted_at=None) for model in (Author, Article))

        with pytest.raises(ForeignKeyViolation):
            await execute(db, article)
        await execute(db, article, author)

        async with db.read() as session:
            assert await session.get(Article, 1) is not None

    async def test_a_child_that_is_moved(self, db: Database) -> None:
        """An UPDATE of the foreign key is an insert under the new parent."""
        await add(db, Author(id=1, articles=[Article(id=1)]), Author(id=2, **MARKED))

        with pytest.raises(ForeignKeyViolation):
            await execute(db, update(table_of(Article)).values(author_id=2))

    async def test_each_parent_counts(self, db: Database) -> None:
        """A child of two parents needs both; NULL is no parent."""
        await add(db, Author(id=1), Journal(id=1), Journal(id=2, **MARKED))

        await add(db, Article(id=1, author_id=1, journal_id=1), Article(id=2, author_id=1))

        with pytest.raises(ForeignKeyViolation):
            await add(db, Article(id=3, author_id=1, journal_id=2))

    async def test_keys_of_several_columns(self, db: Database) -> None:
        """All of them and the mark."""
        await add(db, Cell(row=1, column=1), Cell(row=1, column=2, **MARKED))

        await add(db, Mark(id=1, row=1, column=1))

        with pytest.raises(ForeignKeyViolation):
            await add(db, Mark(id=2, row=1, column=2))

    async def test_a_tree(self, db: Database) -> None:
        """A table may point to itself."""
        await add(db, Node(id=1, below=[Node(id=2)]))

        with pytest.raises(ForeignKeyViolation):
            await execute(db, update(table_of(Node)).where(Node.id == 1).values(MARKED))


class TestPermitted:
    async def test_a_deletion_with_all_below(self, db: Database) -> None:
        """The session marks the parent first, and the children after it."""
        await add(db, Author(id=1, articles=[Article(id=1), Article(id=2)]), Node(id=1, below=[Node(id=2)]))

        async with db.transaction() as session:
            await session.delete(await session.get_one(Author, 1))
            await session.delete(await session.get_one(Node, 1))

        assert await stray(db, Article) == 0
        async with db.read() as session:
            assert await session.scalar(select(func.count()).select_from(Article)) == 0

    async def test_a_restore_of_all_below(self, db: Database) -> None:
        """Exactly what was deleted comes back, and is held again."""
        await add(db, Author(id=1, articles=[Article(id=1)]))
        async with db.transaction() as session:
            await session.delete(await session.get_one(Author, 1))

        async with db.transaction() as session:
            authors = Repository(session, Author)
            await authors.restore(await authors.get_one(1, include_deleted=True))

        with pytest.raises(ForeignKeyViolation):
            await execute(db, update(table_of(Author)).values(MARKED))

    async def test_a_deleted_child_under_a_deleted_parent(self, db: Database) -> None:
        """Dead rows may be written under dead rows: an import of history, a change of a column."""
        await add(db, Author(id=1, **MARKED), Article(id=1, author_id=1, **MARKED))

        await execute(db, update(table_of(Article)).values(title="new"))

        assert await stray(db, Article) == 0

    async def test_a_real_delete(self, db: Database) -> None:
        """The plain foreign key says what becomes of the children."""
        await add(db, Author(id=1, articles=[Article(id=1)]))

        await execute(db, table_of(Author).delete())

        async with db.read() as session:
            assert await session.scalar(select(func.count()).select_from(Article)) == 0

    async def test_a_purge(self, db: Database) -> None:
        """Nothing refers to a deleted row by the second key."""
        await add(db, Author(id=1, **MARKED), Article(id=1, author_id=1, **MARKED))
        async with db.transaction() as session:
            past = (await session.execute(select(utc_now()))).scalar_one() - timedelta(days=9)
            for model in (Author, Article):
                await session.execute(update(model).values(deleted_at=past), execution_options=SHOWN)

            found = await purge_in(session, Author, older_than=timedelta(days=8))

        assert [one.removed for one in found if one.table in {"live_article", "live_author"}] == [1, 1]


class TestRaces:
    async def test_a_child_inserted_during_the_deletion(self, server: Database, open_database: OpenDatabase) -> None:
        """It waits for the deletion, and is refused."""
        other = open_database(server)
        await add(server, Author(id=1, articles=[Article(id=1)]))
        async with server.transaction() as session:
            await session.delete(await session.get_one(Author, 1))
            inserting = asyncio.create_task(add(other, Article(id=2, author_id=1)))
            waits = await soon(lambda: statements_running(server))

        [error] = await asyncio.gather(inserting, return_exceptions=True)

        assert waits
        assert isinstance(error, ForeignKeyViolation)
        assert await stray(server, Article) == 0

    async def test_without_it_the_child_stays_behind(self, server: Database, open_database: OpenDatabase) -> None:
        """A plain foreign key lets it in: the row of the parent is there."""
        other = open_database(server)
        await add(server, Author(id=1, notes=[Note(id=1)]))
        async with server.transaction() as session:
            await session.delete(await session.get_one(Author, 1))
            inserting = asyncio.create_task(add(other, Note(id=2, author_id=1)))
            await soon(lambda: statements_running(server))

        await inserting

        assert await stray(server, Note) == 1

    async def test_a_deletion_during_the_insert(self, server: Database, open_database: OpenDatabase) -> None:
        """It waits for the child, and takes it along."""
        other = open_database(server)
        await add(server, Author(id=1))
        async with server.transaction() as session:
            session.add(Article(id=2, author_id=1))
            await session.flush()
            deleting = asyncio.create_task(delete_author(other))
            waits = await soon(lambda: statements_running(server))

        await deleting

        assert waits
        async with server.read() as session:
            deleted = await session.scalars(select(Article.is_deleted), execution_options=SHOWN)
            assert deleted.all() == [True]

    async def test_many_at_once(self, server: Database) -> None:
        """Of one deletion and twenty inserts, no child that is live is left under the deleted parent."""
        await add(server, Author(id=1))

        inserts = [add(server, Article(id=n, author_id=1)) for n in range(20)]
        await asyncio.gather(*inserts[:10], delete_author(server), *inserts[10:], return_exceptions=True)

        assert await stray(server, Article) == 0


async def delete_author(db: Database) -> None:
    """Delete the author as a unit of work."""
    async with db.transaction() as session:
        await session.delete(await session.get_one(Author, 1))


class TestModels:
    def test_no_model_has_the_column(self) -> None:
        """It is the database's: not an attribute, not in a SELECT, not in an INSERT."""
        assert "is_live" not in inspect(Article).attrs
        assert "is_live" not in str(select(Article)) + str(insert(Article)) + str(select(table_of(Article)))

    def test_joins_go_by_the_plain_key(self) -> None:
        """A second way from table to table does not make them ambiguous."""
        configure_mappers()

        assert str(Author.articles.property.primaryjoin) == "live_author.id = live_article.author_id"
        assert "ON live_author.id = live_article.author_id" in str(select(Author).join(Article))

    async def test_writing_costs_no_statement_more(self, db: Database) -> None:
        """Nothing is read back, and nothing is expired."""
        await add(db, Author(id=1))

        async with db.transaction() as session, queries(db, exactly=2):
            article = Article(author_id=1, title="a")
            session.add(article)
            await session.flush()
            article.title = "b"
            await session.flush()

        assert not inspect(article).expired_attributes

    async def test_many_rows(self, db: Database) -> None:
        """Bulk writes do not name the column, on COPY and on the other ways; and are held by it."""
        await add(db, Author(id=1), Author(id=2, **MARKED))
        rows = [{"title": f"{n}", "author_id": 1} for n in range(1000)]

        async with db.transaction() as session:
            articles = Repository(session, Article)
            inserted = await articles.insert_many(rows)
            upserted = await articles.upsert_many(
                [{"title": "0", "author_id": 1}, {"title": "x", "author_id": 1}], on=[Article.title]
            )
            one, _ = await articles.upsert({"title": "y", "author_id": 1}, on=[Article.title])
            updated = await articles.update_many([{"id": one.id, "title": "z"}])

        assert (inserted, upserted.inserted, updated) == (1000, 1, 1)
        with pytest.raises(ForeignKeyViolation):
            async with db.transaction() as session:
                await Repository(session, Article).insert_many([{"title": "dead", "author_id": 2}])

    def test_the_tables(self) -> None:
        """A column in both, a unique constraint above, a foreign key below, with the names of the convention."""
        child, above = (str(CreateTable(table_of(model)).compile(dialect=POSTGRESQL())) for model in (Mark, Cell))

        column = "is_live SMALLINT GENERATED ALWAYS AS (CASE WHEN deleted_at IS NULL THEN 1 ELSE NULL END) STORED"
        assert column in child
        assert column in above
        assert "CONSTRAINT live_cell_row_no_column_no_is_live_key UNIQUE (row_no, column_no, is_live)" in above
        assert (
            "CONSTRAINT live_mark_row_no_column_no_is_live_fkey FOREIGN KEY(row_no, column_no, is_live) "
            "REFERENCES live_cell (row_no, column_no, is_live) DEFERRABLE INITIALLY DEFERRED"
        ) in child

    def test_one_column_serves_all(self) -> None:
        """Two parents, or a tree, make no second one; two children no second constraint."""
        assert [column.name for column in table_of(Article).c].count("is_live") == 1
        assert len([key for key in table_of(Article).foreign_key_constraints if is_live_key(key)]) == 2
        uniques = [one for one in table_of(Node).constraints if isinstance(one, UniqueConstraint)]
        assert [one.columns.keys() for one in uniques] == [["id", "is_live"]]

    async def test_plain_sqlalchemy_will_do(self, sqlite: Database) -> None:
        """Nothing is needed but tables with a deleted_at."""

        class Stock(DeclarativeBase):
            pass

        class Head(Stock):
            __tablename__ = "stock_head"
            id: Mapped[int] = mapped_column(primary_key=True)
            deleted_at: Mapped[datetime | None]
            tails: Mapped[list[Tail]] = relationship()

        class Tail(Stock):
            __tablename__ = "stock_tail"
            __table_args__ = (live_parent("head_id"),)
            id: Mapped[int] = mapped_column(primary_key=True)
            head_id: Mapped[int] = mapped_column(ForeignKey(Head.id))
            deleted_at: Mapped[datetime | None]

        async with sqlite.engine.begin() as connection:
            await connection.run_sync(Stock.metadata.create_all)
        try:
            with pytest.raises(ForeignKeyViolation):
                async with AsyncSession(sqlite.engine) as session, session.begin():
                    session.add(Head(id=1, deleted_at=datetime(2026, 1, 1), tails=[Tail(id=1)]))
        finally:
            async with sqlite.engine.begin() as connection:
                await connection.run_sync(Stock.metadata.drop_all)


class TestMigrations:
    @pytest.mark.tables(None)
    async def test_the_same_is_no_difference(self, db: Database, tmp_path: Path) -> None:
        """A revision writes it as it is declared, and what is there is recognised."""
        migrations = Migrations(db, Base, tmp_path / "migrations")
        await migrations.new("first")
        await migrations.up()

        await migrations.check()
        again = await migrations.new("again")

        assert again is None
        async with db.engine.connect() as connection:
            assert await connection.scalar(text("SELECT count(is_live) FROM live_article")) == 0
        await migrations.down("base")
