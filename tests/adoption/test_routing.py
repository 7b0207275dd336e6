"""Sessions over several databases: what we read and write goes where SQLAlchemy would send it, or is refused."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Delete, ForeignKey, Insert, String, Update, delete, event, insert, select, text, update
from sqlalchemy.exc import UnboundExecutionError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.ext.horizontal_shard import ShardedSession, set_shard_id
from sqlalchemy.orm import Mapped, mapped_column

import sqlkeel
from sqlkeel import SyncSession, include_deleted
from sqlkeel.bulk import insert_many_returning
from sqlkeel.errors import ForeignKeyViolation, NotFound, NotSupported, VersionConflict
from sqlkeel.models import IntKeyMixin, children, parent, unique_live
from sqlkeel.repository import Repository
from sqlkeel.sessions import Database, Session
from sqlkeel.sessions._locks import advisory_lock, lock_rows
from sqlkeel.soft_delete import SoftDeleteMixin
from sqlkeel.timestamps import TimestampMixin
from sqlkeel.versions import VersionMixin
from tests.fixtures.databases import OpenDatabase


class Base(sqlkeel.Base):
    """The tables of these tests."""


class Author(IntKeyMixin, TimestampMixin, SoftDeleteMixin, VersionMixin, Base):
    """Somebody with articles, which go with him, and notes, which keep him."""

    __tablename__ = "author"
    email: Mapped[str] = mapped_column(String(50))
    age: Mapped[int] = mapped_column(default=1)
    __table_args__ = (unique_live("email"),)
    articles: Mapped[list[Article]] = children(back_populates="author")
    notes: Mapped[list[Note]] = children(back_populates="author", on_delete="restrict")


class Article(IntKeyMixin, SoftDeleteMixin, VersionMixin, Base):
    """Something written."""

    __tablename__ = "article"
    author_id: Mapped[int] = mapped_column(ForeignKey("author.id", ondelete="CASCADE"), index=True)
    author: Mapped[Author] = parent(back_populates="articles")


class Note(IntKeyMixin, SoftDeleteMixin, Base):
    """Something that must have an author."""

    __tablename__ = "note"
    author_id: Mapped[int] = mapped_column(ForeignKey("author.id"), index=True)
    author: Mapped[Author] = parent(back_populates="notes")


class Code(IntKeyMixin, Base):
    """A name and a number, which are removed for good."""

    __tablename__ = "code"
    name: Mapped[str] = mapped_column(String(20), unique=True)
    number: Mapped[int] = mapped_column(default=0)


MODELS = (Author, Article, Note, Code)

Call = Callable[[Any], Awaitable[object]]
Make = Callable[[], Any]


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
    assert len([author async for author in authors.stream(batch=1)]) == await authors.count() == 2
    with include_deleted(session):
        assert await authors.exists(Author.email == "a")


OF_OBJECTS: list[Call] = [
    create, change, count_a_change, mark, mark_by_the_session, be_kept_by_a_note, mark_and_restore, remove, purge,
    release_and_roll_back, read,
]  # fmt: skip


async def make_or_find(session: Any) -> None:
    codes = Repository(session, Code)
    assert [(await codes.get_or_create({"name": name}))[1] for name in ("a", "z")] == [False, True]


async def upsert(session: Any) -> None:
    codes = Repository(session, Code)
    assert [(await codes.upsert({"name": name, "number": 3}, on=[Code.name]))[1] for name in "az"] == [False, True]


async def revive(session: Any) -> None:
    authors = Repository(session, Author)
    await authors.delete(await authors.get_one(2))
    await authors.upsert({"email": "b", "age": 3}, on=[Author.email], revive=True)


async def insert_many(session: Any) -> None:
    assert await Repository(session, Author).insert_many([{"email": "x"}, {"email": "y"}]) == 2


async def insert_returning(session: Any) -> None:
    assert [code.name for code in await insert_many_returning(session, Code, [{"name": "x"}, {"name": "y"}])] == [
        "x",
        "y",
    ]


async def update_many(session: Any) -> None:
    held = await session.get(Author, 1)
    await Repository(session, Author).update_many([{"id": 1, "age": 7}, {"id": 2, "age": 8}])
    assert held.age == 7


async def upsert_many(session: Any) -> None:
    rows = [{"name": "a", "number": 7}, {"name": "a"}, {"name": "x", "number": 8}]
    await Repository(session, Code).upsert_many(rows, on=[Code.name])


async def delete_many(session: Any) -> None:
    assert await Repository(session, Code).delete_many([1]) == 1


async def lock(session: Any) -> None:
    assert [author.id for author in await session.run_sync(lock_rows, Author, [2, 1])] == [1, 2]


OF_ROWS: list[Call] = [
    make_or_find, upsert, revive, insert_many, insert_returning, update_many, upsert_many, delete_many, lock,
]  # fmt: skip


async def by_statement(session: Any) -> None:
    await session.execute(update(Author).where(Author.id == 1).values(age=4))
    await session.execute(delete(Code))
    await session.execute(insert(Code), [{"name": "q"}])


async def by_key(session: Any) -> None:
    await session.execute(update(Author), [{"id": 1, "age": 4, "version": 1}])


STATEMENTS: list[Call] = [by_statement, by_key]


def named(call: Any) -> str:
    return str(getattr(call, "__name__", call))


class Two:
    """The database that is meant, and another one in which nothing may happen, with the same rows."""

    def __init__(self, meant: Database, other: Database) -> None:
        self.meant, self.other = meant, other
        self.sent: list[str] = []
        event.listen(other.engine.sync_engine, "before_cursor_execute", self._note)

    def _note(self, connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        self.sent.append(statement)

    async def fill(self) -> None:
        """Write the rows, anew."""
        for database in (self.meant, self.other):
            async with database.transaction() as session:
                for table in reversed(Base.metadata.sorted_tables):
                    await session.execute(table.delete())
                first = Author(id=1, email="a")
                session.add_all([first, Author(id=2, email="b")])
                session.add_all([Article(id=1, author=first), Note(id=1, author=first), Code(id=1, name="a")])
                await self._leave_the_keys(session)
        self.sent.clear()

    async def _leave_the_keys(self, session: Session) -> None:
        """PostgreSQL does not count keys that are given, and would give them to the next rows."""
        if session.get_bind().dialect.name == "postgresql":
            for name in Base.metadata.tables:
                await session.execute(text(f"SELECT setval(pg_get_serial_sequence('{name}', 'id'), 100)"))

    async def rows(self, database: Database | None = None) -> dict[str, list[Any]]:
        """Return all rows; of a mark, whether there is one."""
        found = {}
        async with (database or self.meant).read() as session:
            for table in Base.metadata.sorted_tables:
                columns = [column for column in table.columns if column.name[-3:] != "_at"]
                columns = [column for column in columns if column.name not in {"id", "deletion_id"}]
                marks: list[Any] = [column.is_(None) for column in table.columns if column.name == "deleted_at"]
                statement = select(*columns, *marks).order_by(*columns)
                found[table.name] = [tuple(row) for row in await session.execute(statement)]
        return found

    async def outcome(self, make: Make, call: Call) -> dict[str, list[Any]]:
        """Make a session, call, commit, and return the rows."""
        await self.fill()
        async with make() as session:
            await call(session)
            await session.commit()
        return await self.rows()


@pytest.fixture
async def two(sqlite: Database, open_database: OpenDatabase, tmp_path: Path) -> Two:
    """Two files."""
    return await with_another(sqlite, open_database, tmp_path)


async def with_another(meant: Database, open_database: OpenDatabase, tmp_path: Path) -> Two:
    """Open a file beside a database."""
    other = open_database(f"sqlite+aiosqlite:///{tmp_path / 'other.db'}")
    async with other.engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    return Two(meant, other)


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


class Sharded(ShardedSession, SyncSession):
    """As an existing project has it, with ours below."""


class OursFirst(SyncSession, ShardedSession):
    """The other order."""


class Shards(Two):
    """Two databases, with rows of the same keys; authors of an even age are in the second one."""

    def session(self, kind: type[ShardedSession] = Sharded, **options: Any) -> Any:
        """Return a session over both, which has only the object to choose by."""
        return AsyncSession(
            sync_session_class=kind,
            shards={"1": self.meant.engine.sync_engine, "2": self.other.engine.sync_engine},
            shard_chooser=lambda mapper, instance, clause=None: "12"[instance.age % 2 == 0],
            identity_chooser=lambda mapper, key, **options: ["1", "2"],
            execute_chooser=lambda context: ["1", "2"],
            expire_on_commit=False,
            **options,
        )

    async def author(self, session: Any, shard: str) -> Any:
        """Return the author 2 of a shard."""
        statement = select(Author).where(Author.id == 2).options(set_shard_id(shard))
        return (await session.scalars(statement)).one()

    async def marked(self) -> list[int]:
        """Return how many authors are marked in each."""
        found = [await self.rows(database) for database in (self.meant, self.other)]
        return [[row[-1] for row in rows["author"]].count(False) for rows in found]


@pytest.fixture
async def shards(sqlite: Database, open_database: OpenDatabase, tmp_path: Path) -> Shards:
    """The two files as shards."""
    two = await with_another(sqlite, open_database, tmp_path)
    shards = Shards(two.meant, two.other)
    await shards.fill()
    return shards


each_order = pytest.mark.parametrize("kind", [Sharded, OursFirst])


class TestShards:
    @each_order
    async def test_a_mark_stays_in_its_shard(self, shards: Shards, kind: type[ShardedSession]) -> None:
        """A row of the same key in the other one is another row, and an object of it stays as it is."""
        async with shards.session(kind) as session:
            here, there = await shards.author(session, "1"), await shards.author(session, "2")
            await session.delete(there)
            await session.commit()

            assert here in session
            assert here.deleted_at is None

        assert await shards.marked() == [0, 1]

    @each_order
    async def test_a_repository_reads_both(self, shards: Shards, kind: type[ShardedSession]) -> None:
        """Its reads go where ``select()`` goes; nobody is asked for the shard of no object."""
        async with shards.meant.transaction() as theirs:
            theirs.add(Author(id=5, email="e", age=3))
        async with shards.session(kind) as session:
            authors = Repository(session, Author)
            found = await authors.get_one(5)
            several = await authors.get_many([5])
            page = await authors.page(Author.age == 3, order_by=Author.email, size=2)

            assert several == page.items == [found]
            assert await authors.update(found, {"email": "f"}, expected_version=1) is found
            await session.commit()

        async with shards.meant.read() as reader:
            assert (await reader.get_one(Author, 5)).email == "f"

    @each_order
    async def test_a_count_is_of_all(self, shards: Shards, kind: type[ShardedSession]) -> None:
        """Each shard answers with its own."""
        async with shards.session(kind) as session:
            authors = Repository(session, Author)

            assert await authors.count() == 4
            assert await authors.exists(Author.email == "b")
            assert len(await authors.get_all()) == 4

    @pytest.mark.parametrize(
        "call",
        [
            lambda authors: authors.page(size=3),
            lambda authors: authors.get_all(limit=3),
            lambda authors: authors.get_all(skip=1),
            lambda authors: authors.get_all(order_by=Author.email),
            lambda authors: anext(authors.stream(batch=3)),
        ],
        ids=["page", "limit", "skip", "order", "stream"],
    )
    async def test_an_order_over_several_is_refused(self, shards: Shards, call: Callable[[Any], Any]) -> None:
        """They answer one after the other: a page would leave out rows, and a limit hold for each."""
        async with shards.session() as session:
            with pytest.raises(NotSupported, match="several shards"):
                await call(Repository(session, Author))

    async def test_an_order_in_one_is_not(self, shards: Shards) -> None:
        """Where the others have no row to give, what is skipped among them."""
        async with shards.meant.transaction() as theirs:
            theirs.add_all([Author(id=key, email=str(key), age=3) for key in (5, 6, 7)])
        async with shards.session() as session:
            authors = Repository(session, Author)
            where = Author.age == 3
            page = await authors.page(where, size=2)
            rest = await authors.page(where, size=2, after=page.next)

            assert [author.id for author in (*page, *rest)] == [5, 6, 7]
            assert [author.id async for author in authors.stream(where, batch=2)] == [5, 6, 7]
            assert [author.id for author in await authors.get_all(where, skip=1, limit=1)] == [6]
            assert [author.id for author in await authors.get_all(where, skip=2)] == [7]

    @each_order
    async def test_what_is_brought_back_is_there(self, shards: Shards, kind: type[ShardedSession]) -> None:
        """Of one shard, too."""
        async with shards.session(kind) as session:
            there = await shards.author(session, "2")
            await session.delete(there)
            await session.commit()
            await Repository(session, Author).restore(there)
            await session.commit()

        assert await shards.marked() == [0, 0]

    @each_order
    @pytest.mark.parametrize("shard", ["1", "2"])
    async def test_a_conflict_is_that_of_the_shard(
        self, shards: Shards, kind: type[ShardedSession], shard: str
    ) -> None:
        """The versions are those of the row that was to be written."""
        changed = shards.meant if shard == "1" else shards.other
        async with shards.session(kind) as session:
            author = await shards.author(session, shard)
            await session.commit()
            async with changed.transaction() as theirs:
                (await theirs.get_one(Author, 2)).age = 9
            author.age = 10

            with pytest.raises(VersionConflict) as caught:
                await session.commit()

        assert (caught.value.expected, caught.value.current) == (1, 2)

    @each_order
    async def test_a_savepoint_takes_back_what_is_flushed(self, shards: Shards, kind: type[ShardedSession]) -> None:
        """A stock one does not: its flush passes by the savepoint."""
        async with shards.session(kind) as session:
            author = await shards.author(session, "2")
            with pytest.raises(ZeroDivisionError):
                async with session.begin_nested():
                    author.age = 8
                    session.add(Author(id=7, email="new", age=1))
                    await session.flush()
                    raise ZeroDivisionError
            await session.commit()

        first, second = await shards.rows(shards.meant), await shards.rows(shards.other)
        assert len(first["author"]) == len(second["author"]) == 2
        assert {row[1] for row in second["author"]} == {1}

    @each_order
    @pytest.mark.parametrize("call", [call for call in OF_ROWS if call not in (revive, update_many)], ids=named)
    async def test_what_writes_many_rows_is_refused(
        self, shards: Shards, kind: type[ShardedSession], call: Call
    ) -> None:
        """Nothing tells to which shard a row belongs."""
        async with shards.session(kind) as session:
            with pytest.raises(NotSupported, match="to which shard") as caught:
                await call(session)

        assert "shard's own engine" in caught.value.hint

    async def test_the_lock_of_a_name_is_refused(self, shards: Shards) -> None:
        """It would be in one of them only."""
        async with shards.session() as session:
            with pytest.raises(NotSupported, match="the session has several"):
                await session.run_sync(advisory_lock, "import")
