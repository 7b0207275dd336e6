"""Rows that come back while others ask for them, too, and a plain model of what revive does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from sqlkeel.bulk import UpsertResult, insert_many, insert_many_returning, upsert, upsert_many
from sqlkeel.sessions import Database, Session
from sqlkeel.sessions._session import SyncSession
from tests.bulk.revive_models import EMAIL, SHOWN, TABLE, Base, Member, deleted, names

pytestmark = pytest.mark.tables(Base.metadata)


Sessions = Callable[[], AsyncSession]


@pytest.fixture(params=["ours", "stock"])
async def reviving(request: pytest.FixtureRequest, postgres: Database) -> AsyncIterator[Sessions]:
    """Make the sessions that revive, on our engine and on one that raises SQLAlchemy's own errors."""
    if request.param == "ours":
        yield postgres.session
        return
    engine = create_async_engine(postgres.url)
    yield async_sessionmaker(engine, sync_session_class=SyncSession, expire_on_commit=False)
    await engine.dispose()


class TestConcurrency:
    async def test_of_many_callers_one_revives(self, every_driver: Database) -> None:
        """Of twelve concurrent calls one revives and the others update that row; none inserts."""
        async with every_driver.transaction() as session:
            older = await deleted(session)
        async with every_driver.transaction() as session:
            last = await deleted(session)

        async def call(number: int) -> tuple[bool, bool]:
            async def work(session: Session) -> tuple[bool, bool]:
                values = {"email": "a", "name": str(number)}
                result = await upsert(session, Member, values, on=EMAIL, revive=True)
                return result[1], result.revived

            return await every_driver.run_transaction(work, attempts=12)

        answers = await asyncio.gather(*map(call, range(12)))

        async with every_driver.session() as session:
            rows = (await session.scalars(select(Member), execution_options=SHOWN)).all()
        assert [created for created, _ in answers].count(True) == 0
        assert [revived for _, revived in answers].count(True) == 1
        assert {row.id for row in rows} == {older, last}
        assert [(row.id, row.version) for row in rows if not row.is_deleted] == [(last, 2 + 12)]

    async def test_reviving_and_plain_calls_make_one_live_row(self, every_driver: Database) -> None:
        """Callers that revive and callers that do not agree on one live row."""
        async with every_driver.transaction() as session:
            await deleted(session)

        async def call(number: int) -> None:
            async def work(session: Session) -> None:
                values = {"email": "a", "name": str(number)}
                await upsert(session, Member, values, on=EMAIL, revive=number % 2 == 0)

            await every_driver.run_transaction(work, attempts=12)

        await asyncio.gather(*map(call, range(12)))

        async with every_driver.session() as session:
            assert len(await names(session)) == 1

    async def test_a_row_made_meanwhile_is_updated(self, postgres: Database, reviving: Sessions) -> None:
        """Whoever finds the deleted row, and then a live one that was committed meanwhile, updates that."""
        async with postgres.transaction() as session:
            await deleted(session)

        async with postgres.session() as first, reviving() as second:
            (made,) = await insert_many_returning(first, Member, [{"email": "a"}])
            waiting = asyncio.create_task(upsert(second, Member, {"email": "a", "name": "x"}, on=EMAIL, revive=True))
            await _until_it_waits(postgres)
            await first.commit()
            result = await waiting
            await second.commit()

        async with postgres.session() as session:
            assert (result[1], result.revived) == (False, False)
            assert await names(session) == [(made.id, "a", "x")]

    async def test_a_row_deleted_meanwhile_is_revived(self, postgres: Database) -> None:
        """A row that somebody is about to delete is waited for, and then brought back: no second one is made."""
        async with postgres.transaction() as session:
            (live,) = await insert_many_returning(session, Member, [{"email": "a"}])

        async with postgres.session() as first, postgres.session() as second:
            await first.delete(await first.get_one(Member, live.id))
            waiting = asyncio.create_task(upsert(second, Member, {"email": "a"}, on=EMAIL, revive=True))
            await _until_it_waits(postgres)
            await first.commit()
            result = await waiting
            await second.commit()

        async with postgres.session() as session:
            assert result.revived
            assert [key for key, _, _ in await names(session, **SHOWN)] == [live.id]

    async def test_many_rows_meet_a_row_made_meanwhile(self, postgres: Database, reviving: Sessions) -> None:
        """The call for many rows tries again, and updates it."""
        async with postgres.transaction() as session:
            await deleted(session)

        async with postgres.session() as first, reviving() as second:
            await insert_many(first, Member, [{"email": "a"}])
            rows = [{"email": "a", "name": "x"}]
            waiting = asyncio.create_task(upsert_many(second, Member, rows, on=EMAIL, revive=True))
            await _until_it_waits(postgres)
            await first.commit()
            result = await waiting
            await second.commit()

        assert result == UpsertResult(inserted=0, updated=1, unchanged=0, revived=0)

    async def test_many_callers_with_many_rows(self, every_driver: Database) -> None:
        """Concurrent calls for the same deleted rows revive each once."""
        rows = [{"email": f"{number}"} for number in range(20)]
        async with every_driver.transaction() as session:
            for member in await insert_many_returning(session, Member, rows):
                await session.delete(member)

        async def work(session: Session) -> UpsertResult:
            return await upsert_many(session, Member, rows, on=EMAIL, revive=True)

        async def call() -> UpsertResult:
            return await every_driver.run_transaction(work, attempts=12)

        results = await asyncio.gather(*(call() for _ in range(5)))

        async with every_driver.session() as session:
            assert sum(result.revived for result in results) == 20
            assert len(await names(session, **SHOWN)) == 20


async def _until_it_waits(db: Database) -> None:
    """Return when a statement waits for a lock."""
    async with db.engine.connect() as connection:
        waits = "select count(*) from pg_locks where not granted"
        while not (await connection.exec_driver_sql(waits)).scalar_one():  # noqa: ASYNC110 - only the server knows
            await asyncio.sleep(0)


class TestModel:
    @settings(
        deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
    )
    @given(
        before=st.lists(st.tuples(st.sampled_from("abcd"), st.booleans()), max_size=8),
        rows=st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(["x", "y"])), max_size=6),
    )
    async def test_one_by_one_and_all_at_once(
        self, db: Database, before: list[tuple[str, bool]], rows: list[tuple[str, str]]
    ) -> None:
        """One by one or all at once, the same rows are alive: the live one of a key, or the one deleted last."""
        written = dict(rows)
        first = await _after(db, before, lambda session: _one_by_one(session, written))
        second = await _after(db, before, lambda session: _at_once(session, rows))

        expected = {email: (_survivor(before, email), name) for email, name in written.items()}
        assert {email: found for email, found in first.items() if email in written} == expected
        assert second == first


async def _after(db: Database, before: list[tuple[str, bool]], work: Any) -> dict[str, tuple[int, str | None]]:
    """Make rows, one after the other deleted or not, do the work, and return the place and name of the live ones."""
    async with db.transaction() as session:
        await session.execute(delete(TABLE))
    live: set[str] = set()
    for place, (email, dies) in enumerate(before, 1):
        async with db.transaction() as session:
            if email in live:
                continue
            member = Member(email=email, number=place)
            session.add(member)
            await session.flush()
            live.add(email)
            if dies:
                await session.delete(member)
                live.discard(email)
    async with db.transaction() as session:
        await work(session)
    async with db.session() as session:
        return {row.email: (row.number or 0, row.name) for row in await session.scalars(select(Member))}


def _survivor(before: list[tuple[str, bool]], email: str) -> int:
    """Return the place of the row that is to have *email*: the live one, the last that was made, or a new one (0)."""
    found = 0
    for place, (one, dies) in enumerate(before, 1):
        if one == email:
            found = place
            if not dies:
                break
    return found


async def _one_by_one(session: Session, written: dict[str, str]) -> None:
    for email, name in written.items():
        await upsert(session, Member, {"email": email, "name": name}, on=EMAIL, revive=True)


async def _at_once(session: Session, rows: list[tuple[str, str]]) -> None:
    await upsert_many(session, Member, [{"email": email, "name": name} for email, name in rows], on=EMAIL, revive=True)
