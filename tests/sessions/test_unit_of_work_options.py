"""The options of a unit of work, and functions that are one."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from sqlkeel.errors import Deadlock, NestedTransaction, UsageError
from sqlkeel.sessions import Database, Session
from tests.sessions.unit_of_work_models import Base, User, add, emails

pytestmark = pytest.mark.tables(Base.metadata)


OPTIONS: list[dict[str, Any]] = [
    {"durable": True},
    {"isolation": "serializable"},
    {"read_only": True},
    {"statement_timeout": 1},
    {"statement_timeout": 0},
    {"lock_timeout": 1},
    {"durable": True, "savepoint": True},
]


class TestOptions:
    @pytest.mark.parametrize("options", OPTIONS, ids=str)
    async def test_a_block_inside_cannot_have_its_own(self, db: Database, options: dict[str, Any]) -> None:
        """What only an outermost block can promise is refused inside of another, before anything is done."""
        async with db.transaction() as session:
            session.add(User(id=1, email="a"))
            with pytest.raises(NestedTransaction, match="joins it"):
                async with db.transaction(**options):
                    pytest.fail("the block was entered")

        assert await emails(db) == ["a"]

    @pytest.mark.parametrize("options", OPTIONS, ids=str)
    async def test_the_outermost_may(self, db: Database, options: dict[str, Any]) -> None:
        """Alone each of them is taken."""
        async with db.transaction(**options) as session:
            assert await session.scalar(select(1)) == 1

    async def test_what_is_not_true_is_not_asked(self, db: Database) -> None:
        """``read_only=None``, from a setting that is not there, is the default."""
        async with db.transaction() as outer, db.transaction(read_only=None) as inner:  # type: ignore[arg-type]
            assert inner is outer

    async def test_a_block_of_another_task_may(self, server: Database) -> None:
        """It is an outermost one."""

        async def settle() -> None:
            async with server.transaction(durable=True, isolation="serializable") as session:
                session.add(User(id=1, email="a"))

        async with server.transaction():
            await asyncio.create_task(settle())

            assert await emails(server) == ["a"]

    async def test_run_transaction_inside_is_refused(self, db: Database) -> None:
        """A part of a transaction cannot be run again alone."""
        calls: list[Session] = []

        async def work(session: Session) -> None:
            calls.append(session)

        with pytest.raises(NestedTransaction, match="retried alone"):
            async with db.transaction():
                await db.run_transaction(work)

        assert calls == []

    async def test_what_it_runs_may_join(self, db: Database) -> None:
        """The function's own calls are a part of its attempt."""

        async def work(session: Session) -> bool:
            return await add(db, 1) is session

        assert await db.run_transaction(work)


class TestTransactional:
    async def test_it_gives_the_function_a_session(self, every_driver: Database) -> None:
        """The decorated function is called without one, and what it did is committed."""

        @every_driver.transactional()
        async def register(session: Session, number: int, *, email: str) -> int:
            session.add(User(id=number, email=email))
            return number

        answer = await register(1, email="a")

        assert answer == 1
        assert await emails(every_driver) == ["a"]

    async def test_it_runs_again_with_a_new_session(self, db: Database) -> None:
        """Each attempt has its own, and only the last one is committed."""
        sessions: list[Session] = []

        @db.transactional(attempts=2)
        async def work(session: Session) -> None:
            sessions.append(session)
            session.add(User(id=1, email=f"{len(sessions)}"))
            await session.flush()
            if len(sessions) == 1:
                raise Deadlock("lost")

        await work()

        assert sessions[0] is not sessions[1]
        assert await emails(db) == ["2"]

    @pytest.mark.parametrize("attempts", [1, 3])
    async def test_its_options_are_run_transactions(self, db: Database, attempts: int) -> None:
        """attempts= counts all of them."""
        calls: list[int] = []

        @db.transactional(attempts=attempts, isolation="serializable", deadline=60)
        async def work(session: Session) -> None:
            calls.append(1)
            raise Deadlock("lost")

        with pytest.raises(Deadlock):
            await work()

        assert len(calls) == attempts

    async def test_a_deadline_ends_the_attempts(self, db: Database) -> None:
        """No attempt begins after it."""
        calls: list[int] = []

        @db.transactional(attempts=100, deadline=0)
        async def work(session: Session) -> None:
            calls.append(1)
            raise Deadlock("lost")

        with pytest.raises(Deadlock):
            await work()

        assert len(calls) == 1

    async def test_inside_of_a_transaction_it_is_refused(self, db: Database) -> None:
        """It is a run_transaction."""

        @db.transactional()
        async def work(session: Session) -> None: ...

        with pytest.raises(NestedTransaction):
            async with db.transaction():
                await work()

    async def test_its_arguments_may_have_any_name(self, sqlite: Database) -> None:
        """Those of run_transaction too: they are the function's."""

        @sqlite.transactional()
        async def work(session: Session, *, attempts: int, deadline: timedelta) -> tuple[int, timedelta]:
            return attempts, deadline

        assert await work(attempts=7, deadline=timedelta(1)) == (7, timedelta(1))

    async def test_it_stays_the_function_that_it_was(self, sqlite: Database) -> None:
        """Name and documentation are those of the function."""

        @sqlite.transactional()
        async def register(session: Session) -> None:
            """Register somebody."""

        assert (register.__name__, register.__doc__) == ("register", "Register somebody.")

    def test_it_has_parentheses(self, sqlite: Database) -> None:
        """Without them Python counts arguments of a function of ours."""
        decorator: Any = sqlite.transactional

        with pytest.raises(UsageError, match=r"hint: @db\.transactional\(\)"):

            @decorator
            async def work(session: Session) -> None: ...
