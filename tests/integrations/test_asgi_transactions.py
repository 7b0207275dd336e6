"""Transactions in a request beside its own: blocks that join it, and a handler that ends it by hand."""

from __future__ import annotations

import asyncio

import pytest

from sqlkeel import Database, Session
from sqlkeel.errors import (
    ForeignKeyViolation,
    NoTransaction,
    TransactionAborted,
)
from sqlkeel.integrations.asgi import UnitOfWork
from tests.integrations.handling import answer, served, write, write_orphan
from tests.integrations.tables import Base, Deferred, Note, stored
from tests.integrations.wire import Send

pytestmark = pytest.mark.tables(Base.metadata)
deferred = pytest.mark.tables(Deferred.metadata)


class TestJoining:
    """What a handler calls may open ``database.transaction()`` itself, and is a part of the request all the same."""

    async def test_a_transaction_in_the_handler_is_the_requests(self, every_driver: Database) -> None:
        """It is the same session, and is committed with the response."""
        sessions: list[Session] = []
        before: list[list[str]] = []

        async def handler(unit: UnitOfWork, send: Send) -> None:
            sessions.append(await unit.session())
            async with unit.database.transaction() as session:
                sessions.append(session)
                session.add(Note(text="kept"))
            before.append(await stored(every_driver))
            await answer(send)

        await served(every_driver, handler).run()

        assert sessions[0] is sessions[1]
        assert before == [[]]
        assert await stored(every_driver) == ["kept"]

    async def test_it_is_rolled_back_with_the_request(self, db: Database) -> None:
        """A bad status takes it along."""

        async def handler(unit: UnitOfWork, send: Send) -> None:
            await unit.session()
            async with unit.database.transaction() as session:
                session.add(Note(text="lost"))
            await answer(send, 400)

        await served(db, handler).run()

        assert await stored(db) == []

    async def test_a_failure_that_the_handler_swallowed_is_no_success(self, db: Database) -> None:
        """What was left half done is not committed, and the 200 is not sent."""

        async def handler(unit: UnitOfWork, send: Send) -> None:
            await unit.session()
            with pytest.raises(ZeroDivisionError):
                async with unit.database.transaction() as session:
                    session.add(Note(text="half"))
                    raise ZeroDivisionError
            await answer(send)

        exchange = served(db, handler)

        with pytest.raises(TransactionAborted):
            await exchange.run()

        assert exchange.messages == []
        assert await stored(db) == []

    async def test_without_a_session_it_is_its_own(self, db: Database) -> None:
        """A request that never asked for its session has nothing to join: the row is there before the response."""
        before: list[list[str]] = []

        async def handler(unit: UnitOfWork, send: Send) -> None:
            async with unit.database.transaction() as session:
                session.add(Note(text="kept"))
            before.append(await stored(db))
            await answer(send, 400)

        await served(db, handler).run()

        assert before == [["kept"]]

    async def test_after_the_start_it_is_its_own(self, db: Database) -> None:
        """A background task writes in a transaction that commits by itself."""

        async def handler(unit: UnitOfWork, send: Send) -> None:
            await unit.session()
            await answer(send)
            async with unit.database.transaction() as session:
                session.add(Note(text="later"))

        await served(db, handler).run()

        assert await stored(db) == ["later"]

    async def test_a_session_that_another_task_asked_for_is_joined(self, db: Database) -> None:
        """Some frameworks resolve dependencies in tasks of their own; the handler's blocks join all the same."""
        sessions: list[Session] = []

        async def handler(unit: UnitOfWork, send: Send) -> None:
            sessions.append(await asyncio.create_task(unit.session()))
            async with unit.database.transaction() as session:
                sessions.append(session)
            await answer(send)

        await served(db, handler).run()

        assert sessions[0] is sessions[1]

    @pytest.mark.parametrize("asked_before", [False, True])
    async def test_a_handler_in_another_task_joins_too(self, every_driver: Database, asked_before: bool) -> None:
        """A middleware may run the handler in a task of its own: what asks for the session there joins there."""
        sessions: list[Session] = []

        async def work(unit: UnitOfWork) -> None:
            sessions.append(await unit.session())
            async with unit.database.transaction() as session:
                sessions.append(session)
                await write(unit)

        async def handler(unit: UnitOfWork, send: Send) -> None:
            sessions.extend([await unit.session()] * asked_before)
            await asyncio.create_task(work(unit))
            await answer(send, 409)

        await served(every_driver, handler).run()

        assert len(set(sessions)) == 1
        assert await stored(every_driver) == []

    async def test_another_task_has_its_own(self, db: Database) -> None:
        """A task that has not asked for the session has a transaction of its own, as outside of a request."""

        async def work(unit: UnitOfWork) -> None:
            async with unit.database.transaction() as session:
                session.add(Note(text="kept"))

        async def handler(unit: UnitOfWork, send: Send) -> None:
            await unit.session()
            await asyncio.create_task(work(unit))
            await answer(send, 409)

        await served(db, handler).run()

        assert await stored(db) == ["kept"]

    async def test_no_task_is_remembered(self, sqlite: Database) -> None:
        """After the request, a block of each of its tasks is its own again."""
        kept: list[bool] = []

        async def work(unit: UnitOfWork) -> None:
            request = await unit.session()
            await unit.commit()
            async with unit.database.transaction() as session:
                kept.append(session is request)

        async def handler(unit: UnitOfWork, send: Send) -> None:
            await asyncio.create_task(work(unit))
            async with unit.database.transaction(durable=True):
                kept.append(False)

        await served(sqlite, handler).run()

        assert kept == [False, False]


class TestByHand:
    """A handler may end the transaction itself, or have nothing to do with it."""

    async def test_what_it_committed_stays(self, every_driver: Database) -> None:
        """After ``session.commit()`` a bad status takes back only what came later."""

        async def handler(unit: UnitOfWork, send: Send) -> None:
            await write(unit)
            await (await unit.session()).commit()
            await write(unit, "lost")
            await answer(send, 502)

        await served(every_driver, handler).run()

        assert await stored(every_driver) == ["kept"]

    async def test_the_rest_is_committed_by_the_response(self, every_driver: Database) -> None:
        """After ``session.commit()`` the request goes on in another transaction, which ends as usual."""

        async def handler(unit: UnitOfWork, send: Send) -> None:
            await write(unit, "first")
            await (await unit.session()).commit()
            await write(unit, "rest")
            await answer(send)

        await served(every_driver, handler).run()

        assert await stored(every_driver) == ["first", "rest"]

    async def test_what_it_rolled_back_is_gone(self, every_driver: Database) -> None:
        """After ``session.rollback()`` a success keeps only what came later."""

        async def handler(unit: UnitOfWork, send: Send) -> None:
            await write(unit, "lost")
            await (await unit.session()).rollback()
            await write(unit)
            await answer(send)

        await served(every_driver, handler).run()

        assert await stored(every_driver) == ["kept"]

    async def test_it_ends_the_unit_of_work(self, every_driver: Database) -> None:
        """After ``unit.commit()`` the row is there, its hook has run, the connection is free, and no status matters."""
        seen: list[object] = []

        async def handler(unit: UnitOfWork, send: Send) -> None:
            (await unit.session()).on_commit(seen.append, "hook")
            await write(unit)
            await unit.commit()
            seen.append(every_driver.engine.pool.checkedout())  # type: ignore[attr-defined]
            seen.append(await stored(every_driver))
            await answer(send, 502)

        exchange = await served(every_driver, handler).run()

        assert exchange.status == 502
        assert seen == ["hook", 0, ["kept"]]
        assert await stored(every_driver) == ["kept"]

    async def test_an_exception_afterwards_takes_nothing_back(self, db: Database) -> None:
        """What was committed by hand is committed, whatever goes wrong later."""

        async def handler(unit: UnitOfWork, send: Send) -> None:
            await write(unit)
            await unit.commit()
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await served(db, handler).run()

        assert await stored(db) == ["kept"]

    async def test_it_may_keep_nothing(self, db: Database) -> None:
        """After ``unit.roll_back()`` a success keeps nothing: a trial run."""

        async def handler(unit: UnitOfWork, send: Send) -> None:
            await write(unit)
            await unit.roll_back()
            await answer(send)

        exchange = await served(db, handler).run()

        assert exchange.status == 200
        assert await stored(db) == []

    async def test_there_is_no_session_afterwards(self, sqlite: Database) -> None:
        """What comes later opens a transaction of its own; one that nobody commits cannot be had."""

        async def handler(unit: UnitOfWork, send: Send) -> None:
            await write(unit)
            await unit.commit()
            with pytest.raises(NoTransaction, match="by hand"):
                await unit.session()
            async with unit.database.transaction() as session:
                session.add(Note(text="later"))
            await answer(send, 502)

        await served(sqlite, handler).run()

        assert await stored(sqlite) == ["kept", "later"]

    @deferred
    async def test_a_failed_commit_is_the_handlers(self, deferring: Database) -> None:
        """Who commits by hand has the error in hand, and may answer it."""

        async def handler(unit: UnitOfWork, send: Send) -> None:
            await write_orphan(unit)
            with pytest.raises(ForeignKeyViolation):
                await unit.commit()
            await answer(send, 409)

        exchange = await served(deferring, handler).run()

        assert exchange.status == 409
