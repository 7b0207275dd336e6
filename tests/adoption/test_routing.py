"""Sessions over several databases: what we read and write goes where SQLAlchemy would send it, or is refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Delete, Insert, Update, delete, insert, update
from sqlalchemy.exc import UnboundExecutionError
from sqlalchemy.ext.asyncio import AsyncSession

from sqlkeel import SyncSession, include_deleted
from sqlkeel.errors import ForeignKeyViolation, NotFound, NotSupported, VersionConflict
from sqlkeel.repository import Repository
from sqlkeel.sessions import Database, Session
from sqlkeel.sessions._locks import advisory_lock
from tests.adoption.routed_work import (
    OF_ROWS,
    Article,
    Author,
    Base,
    Call,
    Code,
    Make,
    Note,
    Two,
    named,
    upsert,
    with_another,
)
from tests.fixtures.databases import OpenDatabase

MODELS = (Author, Article, Note, Code)


async def create(session: Any) -> None:
    await Repository(session, Author).create(email="new")


async def change(session: Any) -> None:
    authors = Repository(session, Author)
    author = await authors.get_one(1)
    await authors.update(author, {"age": 5}, expected_version=author.version)


async def count_a_change(session: Any) -> None:
    authors = Repository(session, Author)
    await authors.touch(await authors.get_one(1))


async def mark(session: Any) -> None:
    authors = Repository(session, Author)
    await authors.delete(await authors.get_one(2))


async def mark_by_the_session(session: Any) -> None:
    await session.delete(await session.get(Article, 1))


async def be_kept_by_a_note(session: Any) -> None:
    author = await Repository(session, Author).get_one(1)
    with pytest.raises(ForeignKeyViolation):
        await Repository(session, Author).delete(author)


async def mark_and_restore(session: Any) -> None:
    for model, key in ((Article, 1), (Author, 2)):
        repository: Any = Repository(session, model)
        row = await repository.get_one(key)
        await repository.delete(row)
        await repository.restore(row)


async def remove(session: Any) -> None:
    await Repository(session, Code).delete(await session.get(Code, 1))


async def purge(session: Any) -> None:
    await Repository(session, Article).delete(await session.get(Article, 1))
    await session.flush()
    await Repository(session, Article).purge(older_than=timedelta(microseconds=1))


async def release_and_roll_back(session: Any) -> None:
    author = await session.get(Author, 1)
    async with session.begin_nested():
        author.age = 7
    with pytest.raises(ZeroDivisionError):
        async with session.begin_nested():
            author.age = 8
            await session.flush()
            raise ZeroDivisionError


async def read(session: Any) -> None:
    authors = Repository(session, Author)
    assert [author.id for author in await authors.get_many([2, 1])] == [2, 1]
    assert len((await authors.get_all(load=[Author.articles]))[0].articles) == 1
    assert (await authors.page(order_by=Author.email, size=1)).has_next
    assert len([author async for author in authors.iterate(batch=1)]) == await authors.count() == 2
    with include_deleted(session):
        assert await authors.exists(Author.email == "a")


OF_OBJECTS: list[Call] = [
    create, change, count_a_change, mark, mark_by_the_session, be_kept_by_a_note, mark_and_restore, remove, purge,
    release_and_roll_back, read,
]  # fmt: skip


async def by_statement(session: Any) -> None:
    await session.execute(update(Author).where(Author.id == 1).values(age=4))
    await session.execute(delete(Code))
    await session.execute(insert(Code), [{"name": "q"}])


async def by_key(session: Any) -> None:
    await session.execute(update(Author), [{"id": 1, "age": 4, "version": 1}])


STATEMENTS: list[Call] = [by_statement, by_key]


pytestmark = pytest.mark.tables(Base.metadata)


def plain(two: Two) -> Make:
    return lambda: Session(two.meant.engine)


def by_base(two: Two) -> Make:
    return lambda: Session(two.other.engine, binds={Base: two.meant.engine})


def by_model(two: Two) -> Make:
    return lambda: Session(binds=dict.fromkeys(MODELS, two.meant.engine))


def by_table(two: Two) -> Make:
    return lambda: Session(binds=dict.fromkeys(Base.metadata.tables.values(), two.meant.engine))


def by_mapper(two: Two) -> Make:
    class Routing(SyncSession):
        def get_bind(self, mapper: Any = None, **options: Any) -> Any:
            if mapper is None:
                raise UnboundExecutionError("which?")
            return two.meant.engine.sync_engine

    return lambda: Session(sync_session_class=Routing)


def stock(two: Two) -> Make:
    return lambda: AsyncSession(
        two.other.engine, binds={Base: two.meant.engine}, sync_session_class=SyncSession, expire_on_commit=False
    )


WAYS: list[Callable[[Two], Make]] = [by_table, by_mapper, stock]


class TestOneOfTwo:
    @pytest.mark.parametrize("way", WAYS, ids=named)
    @pytest.mark.parametrize("call", [*OF_OBJECTS, *OF_ROWS, *STATEMENTS], ids=named)
    async def test_it_does_what_a_session_of_that_one_does(self, two: Two, call: Call, way: Any) -> None:
        """The rows are the same in the end, and the other database has not heard of it."""
        expected = await two.outcome(plain(two), call)

        assert await two.outcome(way(two), call) == expected
        assert two.sent == []

    @pytest.mark.parametrize("call", [*OF_OBJECTS, *OF_ROWS, *STATEMENTS], ids=named)
    @pytest.mark.parametrize("db", ["postgresql", "mariadb"], indirect=True)
    async def test_of_two_kinds(self, db: Database, open_database: OpenDatabase, tmp_path: Path, call: Call) -> None:
        """A server for the models beside a file for all else: the statements are of the right kind, too."""
        two = await with_another(db, open_database, tmp_path)
        expected = await two.outcome(plain(two), call)

        assert await two.outcome(by_base(two), call) == expected
        assert two.sent == []

    async def test_a_conflict_is_that_of_the_row(self, two: Two) -> None:
        """The versions are read where the row is."""
        await two.fill()
        async with by_base(two)() as session:
            author = await session.get(Author, 1)
            await session.commit()
            async with two.meant.transaction() as theirs:
                (await theirs.get_one(Author, 1)).age = 9
            author.age = 10

            with pytest.raises(VersionConflict) as caught:
                await session.commit()

        assert (caught.value.expected, caught.value.current) == (1, 2)

    async def test_a_row_that_is_gone_is_not_found(self, two: Two) -> None:
        """The removal is watched on the connection of the flush."""
        await two.fill()
        async with by_base(two)() as session:
            code = await session.get(Code, 1)
            await session.commit()
            async with two.meant.transaction() as theirs:
                await theirs.delete(await theirs.get_one(Code, 1))

            with pytest.raises(NotFound):
                await Repository(session, Code).delete(code)

    @pytest.mark.parametrize("way", [by_base, by_model])
    async def test_the_lock_of_a_name_is_refused(self, two: Two, way: Any) -> None:
        """It would be in the one database or in the other."""
        async with way(two)() as session:
            with pytest.raises(NotSupported, match="the session has several"):
                await session.run_sync(advisory_lock, "import")

    async def test_both_are_committed(self, two: Two) -> None:
        """Classes of two databases in one session, as SQLAlchemy's vertical partitioning has it."""
        await two.fill()
        binds: dict[Any, Any] = {**dict.fromkeys(MODELS[:3], two.meant.engine), Code: two.other.engine}
        async with Session(binds=binds) as session:
            async with session.savepoint():
                await Repository(session, Code).upsert({"name": "a", "number": 3}, on=[Code.name])
                await Repository(session, Author).delete(await session.get_one(Author, 2))
            await session.commit()

        meant, other = await two.rows(two.meant), await two.rows(two.other)
        assert (meant["code"], other["code"]) == ([("a", 0)], [("a", 3)])
        assert [[row[-1] for row in rows["author"]] for rows in (meant, other)] == [[True, False], [True, True]]


def leading(two: Two, *, knows_inserts: bool = True) -> Make:
    """A leader that is written and a follower that is read, as SQLAlchemy's manual has it."""
    writes = (Insert, Update, Delete) if knows_inserts else (Update, Delete)

    class Routing(SyncSession):
        def get_bind(self, mapper: Any = None, *, clause: Any = None, **options: Any) -> Any:
            is_write = self._flushing or isinstance(clause, writes)
            return (two.meant if is_write else two.other).engine.sync_engine

    return lambda: Session(sync_session_class=Routing)


def flushing(two: Two) -> Make:
    """One that looks at the flush only."""

    class Routing(SyncSession):
        def get_bind(self, mapper: Any = None, **options: Any) -> Any:
            return (two.meant if self._flushing else two.other).engine.sync_engine

    return lambda: Session(sync_session_class=Routing)


WITHOUT_READS = [call for call in OF_OBJECTS if call is not purge]
"""A purge reads what it has just marked, which a follower here never hears of."""


class TestLeaderAndFollower:
    @pytest.mark.parametrize("way", [leading, flushing], ids=named)
    @pytest.mark.parametrize("call", WITHOUT_READS, ids=named)
    async def test_objects_are_written_by_the_leader(self, two: Two, call: Call, way: Any) -> None:
        """Marks, counts and locks go where a flush goes; the follower is only read."""
        expected = await two.outcome(plain(two), call)

        assert await two.outcome(way(two), call) == expected
        assert not [statement for statement in two.sent if statement.startswith(("INSERT", "UPDATE", "DELETE"))]

    @pytest.mark.parametrize("way", [leading, flushing], ids=named)
    @pytest.mark.parametrize("call", OF_ROWS, ids=named)
    async def test_what_reads_and_writes_rows_is_refused(self, two: Two, call: Call, way: Any) -> None:
        """It would read what was before, or lock where nobody writes; the error says what to use."""
        await two.fill()
        before = await two.rows()
        async with way(two)() as session:
            with pytest.raises(NotSupported, match="get_bind") as caught:
                await call(session)

        assert "db.transaction()" in caught.value.hint
        assert await two.rows() == before

    async def test_reading_and_writing_one_engine_is_not(self, two: Two) -> None:
        """A `get_bind` that sends both to one place is as good as none."""
        expected = await two.outcome(plain(two), upsert)

        assert await two.outcome(by_mapper(two), upsert) == expected

    async def test_a_conflict_is_the_leaders(self, two: Two) -> None:
        """Though the session read from the follower."""
        await two.fill()
        async with two.meant.transaction() as theirs:
            (await theirs.get_one(Author, 2)).age = 9
        async with leading(two)() as session:
            author = await session.get(Author, 2)

            with pytest.raises(VersionConflict) as caught:
                await Repository(session, Author).delete(author)

        assert (caught.value.expected, caught.value.current) == (1, 2)

    async def test_rows_by_key_are_taken_back_where_they_went(self, two: Two) -> None:
        """SQLAlchemy sends them where `get_bind` says for the model alone: here that is the follower."""
        await two.fill()
        before = await two.rows(two.other)
        async with leading(two)() as session:
            with pytest.raises(VersionConflict):
                await session.execute(
                    update(Author), [{"id": 1, "age": 5, "version": 1}, {"id": 2, "age": 5, "version": 7}]
                )
            await session.commit()

        assert two.sent
        assert await two.rows(two.other) == before
