"""Tests of sqlkeel.bulk._work: a call begins with its first row, and leaves nothing half done."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import Any

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.exc import InvalidRequestError, SQLAlchemyError

from sqlkeel import queries
from sqlkeel.bulk import delete_many, insert_many, insert_many_returning, update_many, upsert_many
from sqlkeel.bulk._rows import CHUNK
from sqlkeel.bulk._work import Work
from sqlkeel.errors import Deadlock, KeelError, NotNullViolation, ReadOnlySession, UniqueViolation, UsageError
from sqlkeel.sessions import Database, Session
from tests.bulk.models import Base, User, count_of, values_of

pytestmark = pytest.mark.tables(Base.metadata)

UPSERT = partial(upsert_many, on=[User.email])


class Source:
    """Rows, or keys, from generators, and whether these have come to their end."""

    def __init__(self, session: Session, items: Sequence[Any]) -> None:
        self.session = session
        self.items = items
        self.closed = 0

    def __iter__(self) -> Iterator[Any]:
        """Give the items, of which each call makes a generator of its own."""
        try:
            yield from self.items
        finally:
            self.closed += 1

    async def one_by_one(self) -> AsyncIterator[Any]:
        """Give the items, and use the session at the end."""
        try:
            for item in self.items:
                yield item
        finally:
            await self.session.scalar(select(1))
            self.closed += 1


SOURCES: list[Callable[[Source], Any]] = [iter, lambda source: source, Source.one_by_one]
WRONG: dict[str, tuple[Callable[..., Awaitable[Any]], list[Any]]] = {
    "insert_many": (insert_many, [{"email": "a"}, {"email": "a"}]),
    "insert_many_returning": (insert_many_returning, [{"email": "a"}, {"email": "a"}]),
    "update_many": (update_many, [{"id": 1, "city": "Rome"}, {"id": 2, "city": "Rome"}]),
    "upsert_many": (UPSERT, [{"email": "b", "nick": "n"}, {"email": "c", "nick": "n"}]),
    "delete_many": (delete_many, [func.now(), 1]),
    "unknown field": (insert_many, [{"email": "a"}, *[{"town": "a"}] * (CHUNK + 1)]),
}


async def rows_around(between: Callable[[], Awaitable[object]]) -> AsyncIterator[dict[str, Any]]:
    """Give a chunk of rows, which is written by the time that *between* is called, and one row more."""
    for number in range(CHUNK):
        yield {"email": str(number)}
    await between()
    yield {"email": "last"}


async def savepoint_in(session: Session) -> None:
    async with session.savepoint():
        session.add(User(email="of the source"))


class TestBegin:
    async def test_it_flushes_once(self, db: Database) -> None:
        """Pending objects are written when the call begins, and a second call does nothing."""
        async with db.transaction() as session:
            session.add(User(email="a"))
            async with Work(session, User) as work, queries(db, exactly=1):
                await work.begin()
                await work.begin()

    async def test_no_autoflush_is_respected(self, db: Database) -> None:
        """In a ``no_autoflush`` block nothing is flushed."""
        async with db.transaction() as session:
            with session.no_autoflush:
                session.add(User(email="a"))
                async with Work(session, User) as work, queries(db, exactly=0):
                    await work.begin()

    async def test_a_session_that_reads_is_refused(self, db: Database) -> None:
        """The call does not even start."""
        async with db.read() as session:
            with pytest.raises(ReadOnlySession, match="User"):
                Work(session, User)


class TestEnd:
    async def test_an_error_undoes_the_call_only(self, db: Database) -> None:
        """What the transaction did before stays."""
        async with db.transaction() as session:
            await insert_many(session, User, [{"email": "a"}])

            with pytest.raises(LookupError):
                async with Work(session, User) as work:
                    await work.begin()
                    await work.connection.exec_driver_sql("DELETE FROM bulk_user")
                    raise LookupError

            assert await count_of(session, User) == 1

    async def test_undo_takes_back_and_goes_on(self, db: Database) -> None:
        """After `undo` the rows are as they were, and the call may write again."""
        async with db.transaction() as session:
            await insert_many(session, User, [{"email": "a"}])
            async with Work(session, User) as work:
                await work.begin()
                await work.connection.exec_driver_sql("DELETE FROM bulk_user")
                await work.undo()

            assert await count_of(session, User) == 1

    async def test_a_lost_race_is_not_masked(self, mariadb: Database) -> None:
        """A deadlock has taken the savepoint with it: rolling back to that would raise another error."""
        async with mariadb.session() as session:
            with pytest.raises(Deadlock):
                async with Work(session, User) as work:
                    await work.begin()
                    await work.connection.exec_driver_sql("ROLLBACK")
                    raise Deadlock("Another transaction was first.")
            await session.rollback()


class TestHeld:
    async def test_the_objects_of_the_model(self, db: Database) -> None:
        """Objects are found by their key, pending ones not."""
        async with db.transaction() as session:
            (user,) = await insert_many_returning(session, User, [{"email": "a"}])
            with session.no_autoflush:
                session.add(User(email="b"))

                assert Work(session, User).held().objects == {(user.id,): user}


class TestAttempt:
    async def test_a_failure_leaves_the_rest(self, every_driver: Database) -> None:
        """A statement that fails is rolled back alone: what was written before it stays, and the call goes on."""
        table = Base.metadata.tables["bulk_user"]
        async with every_driver.transaction() as session:
            await insert_many(session, User, [{"email": "a"}, {"email": "b"}])
            async with Work(session, User) as work:
                await work.begin(savepoint=False)
                with pytest.raises(UniqueViolation):
                    await work.attempt(update(table).values(email="c"))
                result = await work.attempt(update(table).where(table.c.email == "a").values(email="d"))

            assert result.rowcount == 1
            assert await values_of(session, User.email) == [("b",), ("d",)]


class TestRowsThatEndTheTransaction:
    @pytest.mark.parametrize("write", [insert_many, UPSERT], ids=["insert", "upsert"])
    async def test_a_commit_between_two_chunks_is_refused(self, db: Database, write: Any) -> None:
        """It would keep the first chunk of a call that is all or nothing; the transaction goes on without the call."""
        async with db.transaction() as session:
            session.add(User(email="before"))
            with pytest.raises(UsageError, match=r"commit\(\) was called while rows of User were written"):
                await write(session, User, rows_around(session.commit))

        async with db.read() as session:
            assert await count_of(session, User) == 1

    @pytest.mark.parametrize(
        "write", [insert_many, insert_many_returning, UPSERT], ids=["insert", "returning", "upsert"]
    )
    async def test_a_rollback_between_two_chunks_is_told(self, db: Database, write: Any) -> None:
        """The rest of the rows is not written to another transaction, as if they were all."""
        async with db.session() as session:
            with pytest.raises(UsageError, match="The transaction was ended while rows of User were written"):
                await write(session, User, rows_around(session.rollback))
            await session.commit()

            assert await count_of(session, User) == 0

    @pytest.mark.parametrize("before", [0, CHUNK])
    @pytest.mark.parametrize(
        "write", [insert_many, insert_many_returning, UPSERT], ids=["insert", "returning", "upsert"]
    )
    async def test_a_close_is_told(self, db: Database, write: Any, before: int) -> None:
        """A session that whoever makes the rows closes, before the first is written or later, writes none."""

        async def rows(session: Session) -> AsyncIterator[dict[str, Any]]:
            for number in range(before):
                yield {"email": f"{number}"}
            await session.close()
            yield {"email": "last"}

        async with db.session() as session:
            with pytest.raises(UsageError, match="while rows of User were written"):
                await write(session, User, rows(session))

        async with db.read() as session:
            assert await count_of(session, User) == 0

    async def test_a_session_that_was_closed_before(self, db: Database) -> None:
        """What SQLAlchemy says of a closed session is left as it is."""
        async with db.session() as session:
            await session.close()
            with pytest.raises(InvalidRequestError, match="permanently closed"):
                await insert_many(session, User, [{"email": "a"}])

    async def test_the_next_call_on_the_connection_works(self, db: Database) -> None:
        """No temporary table of the refused call is in its way."""
        async with db.transaction() as session:
            with pytest.raises(UsageError):
                await UPSERT(session, User, rows_around(session.commit))

        async with db.transaction() as session:
            result = await UPSERT(session, User, [{"email": "a"}])

        assert result.inserted == 1

    async def test_a_savepoint_of_the_source_is_its_own(self, db: Database) -> None:
        """Whoever makes the rows may write and take savepoints in the same session."""
        async with db.transaction() as session:
            await insert_many(session, User, rows_around(partial(savepoint_in, session)))

            assert await count_of(session, User) == CHUNK + 2

    async def test_the_session_commits_after_the_call(self, db: Database) -> None:
        """The refusal ends with the call, in a savepoint of the caller as well."""
        async with db.session() as session:
            async with session.savepoint():
                await insert_many(session, User, [{"email": "a"}])
            await session.commit()

            assert await count_of(session, User) == 1


class TestSource:
    @pytest.mark.parametrize("source", SOURCES, ids=["generator", "iterable", "asynchronous"])
    @pytest.mark.parametrize(("write", "items"), WRONG.values(), ids=WRONG)
    async def test_a_generator_is_closed(
        self,
        every_driver: Database,
        write: Callable[..., Awaitable[Any]],
        items: list[Any],
        source: Callable[[Source], Any],
    ) -> None:
        """What a generator has in ``finally`` has run when the error arrives; it may use the session."""
        async with every_driver.transaction() as session:
            given = Source(session, [*items, *items[:1] * CHUNK * 5])
            with pytest.raises((KeelError, SQLAlchemyError)):
                await write(session, User, source(given))

            assert given.closed == 1

    async def test_one_that_is_not_read_stays(self, sqlite: Database) -> None:
        """A call that is refused before it reads leaves the generator to the next one."""
        source = iter([{"email": "a"}])
        async with sqlite.read() as session:
            with pytest.raises(ReadOnlySession):
                await insert_many(session, User, source)

        async with sqlite.transaction() as session:
            assert await insert_many(session, User, source) == 1

    async def test_an_error_of_the_source(self, every_driver: Database) -> None:
        """A generator that raises is closed by that, and its error is the one that arrives."""

        def rows() -> Iterator[dict[str, Any]]:
            yield {"email": "a"}
            raise LookupError("no more")

        async with every_driver.transaction() as session:
            with pytest.raises(LookupError, match="no more"):
                await insert_many(session, User, rows())

            assert await count_of(session, User) == 0


class TestRowOfAnEmptyColumn:
    """The row among all that were given, by each verb and driver, in a chunk that is no longer in memory."""

    SIZE = 11_000
    AT = 234

    def rows(self, fields: Sequence[str]) -> list[dict[str, Any]]:
        """Return rows of which one has no address, and a later one neither."""
        rows: list[dict[str, Any]] = [{field: f"{field}{n}" for field in fields} for n in range(self.SIZE)]
        rows[self.AT - 1]["email"] = rows[self.AT + 7]["email"] = None
        return rows

    async def test_insert_many(self, every_driver: Database) -> None:
        """insert_many() names it."""
        async with every_driver.transaction() as session:
            with pytest.raises(NotNullViolation, match=f"Row {self.AT} ") as caught:
                await insert_many(session, User, self.rows(["email", "city"]))

        assert (caught.value.columns, caught.value.row) == (("email",), self.AT)

    async def test_insert_many_returning(self, every_driver: Database) -> None:
        """insert_many_returning() names it."""
        async with every_driver.transaction() as session:
            with pytest.raises(NotNullViolation) as caught:
                await insert_many_returning(session, User, self.rows(["email"]))

        assert caught.value.row == self.AT

    @pytest.mark.parametrize("source", [list, iter])
    async def test_upsert_many(self, every_driver: Database, source: Any) -> None:
        """upsert_many() names it, which brings all rows to a temporary table that takes an empty value."""
        async with every_driver.transaction() as session:
            with pytest.raises(NotNullViolation, match=f"Row {self.AT} ") as caught:
                await upsert_many(session, User, source(self.rows(["nick", "email"])), on=[User.nick])

        assert (caught.value.columns, caught.value.row) == (("email",), self.AT)

    async def test_a_row_that_a_later_one_replaces(self, every_driver: Database) -> None:
        """Of two rows of one key the last counts: it is another one that is named."""
        rows: list[dict[str, Any]] = [
            {"nick": "a", "email": None},
            {"nick": "a", "email": "a"},
            {"nick": "b", "email": None},
        ]
        async with every_driver.transaction() as session:
            with pytest.raises(NotNullViolation) as caught:
                await upsert_many(session, User, rows, on=[User.nick])

        assert caught.value.row == 3

    async def test_rows_of_other_fields(self, every_driver: Database) -> None:
        """Rows with other fields between them count."""
        rows: list[dict[str, Any]] = [
            {"nick": "a", "email": "a"},
            {"nick": "b", "email": "b", "city": "x"},
            {"nick": "c", "email": None},
        ]
        async with every_driver.transaction() as session:
            with pytest.raises(NotNullViolation) as caught:
                await upsert_many(session, User, rows, on=[User.nick])

        assert caught.value.row == 3
