"""Callers that write the same rows at once wait for each other: every verb locks rows in the order of their keys."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import String, select, text
from sqlalchemy.orm import Mapped, mapped_column

import sqlkeel
from sqlkeel import IntKeyMixin, queries
from sqlkeel.bulk import delete_many, insert_many, update_many, upsert_many
from sqlkeel.sessions import Database, Session
from tests.bulk.models import count_of, values_of


class Base(sqlkeel.Base):
    pass


class Product(IntKeyMixin, Base):
    __tablename__ = "lock_order_product"

    sku: Mapped[str] = mapped_column(String(20), unique=True)
    n: Mapped[int] = mapped_column(default=0)
    m: Mapped[int | None]


pytestmark = pytest.mark.tables(Base.metadata)
COUNT = 800
"""So many that PostgreSQL goes through the keys as they are sorted; of fewer it may make a hash for the whole table."""

CALLERS = 6
Verb = Callable[[Session, Sequence[int], int], Awaitable[Any]]


async def _update(session: Session, numbers: Sequence[int], caller: int) -> None:
    await update_many(session, Product, [{"id": number, "n": caller} for number in numbers])


async def _upsert(session: Session, numbers: Sequence[int], caller: int) -> None:
    await upsert_many(session, Product, [{"sku": f"{n:06}", "n": caller} for n in numbers], on=[Product.sku])


async def _upsert_some_fields(session: Session, numbers: Sequence[int], caller: int) -> None:
    rows = [{"sku": f"{n:06}", "id": n} | ({"n": caller} if n % 2 else {}) for n in numbers]
    await upsert_many(session, Product, rows, on=[Product.sku], update=None)


async def _upsert_other_fields(session: Session, numbers: Sequence[int], caller: int) -> None:
    rows = [{"sku": f"{n:06}"} | ({"n": caller} if n % 2 else {"m": caller}) for n in numbers]
    await upsert_many(session, Product, rows, on=[Product.sku])


async def _delete(session: Session, numbers: Sequence[int], caller: int) -> None:
    await delete_many(session, Product, numbers)


VERBS: dict[str, list[Verb]] = {
    "update": [_update],
    "upsert": [_upsert],
    "upsert_some_fields": [_upsert_some_fields],
    "delete": [_delete],
    "update_and_upsert": [_update, _upsert],
}


@pytest.fixture(params=["asyncpg", "psycopg"])
def database(request: pytest.FixtureRequest) -> Database:
    """PostgreSQL through each of its drivers."""
    found: Database = request.getfixturevalue({"asyncpg": "postgres"}.get(request.param, request.param))
    return found


async def all_at_once(database: Database, verbs: Sequence[Verb], seed: int) -> None:
    """Let some callers write all rows, each in an order of its own."""
    order = random.Random(seed)

    async def call(caller: int) -> None:
        async with database.transaction() as session:
            await verbs[caller % len(verbs)](session, order.sample(range(1, COUNT + 1), COUNT), caller + 1)

    await asyncio.gather(*(call(caller) for caller in range(CALLERS)))


async def fill(database: Database, seed: int) -> None:
    """Insert the rows, in an order that is not that of their keys."""
    numbers = random.Random(seed).sample(range(1, COUNT + 1), COUNT)
    async with database.transaction() as session:
        await insert_many(session, Product, [{"id": number, "sku": f"{number:06}"} for number in numbers])


async def somebody_waits(session: Session) -> None:
    """Return when a connection to the database waits for a lock, which only the server knows."""
    waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    while not await session.scalar(text(waits)):
        await session.rollback()


@pytest.mark.parametrize("seed", range(4))
class TestConcurrentCallers:
    @pytest.mark.parametrize("verbs", VERBS.values(), ids=VERBS)
    async def test_rows_that_are_there(self, database: Database, verbs: list[Verb], seed: int) -> None:
        """Whatever order each caller gives its rows in, none of them deadlocks."""
        await fill(database, seed)

        await all_at_once(database, verbs, seed)

    async def test_new_rows(self, database: Database, seed: int) -> None:
        """Callers that insert the same rows wait for each other, too."""
        await all_at_once(database, [_upsert], seed)

        async with database.transaction() as session:
            assert await count_of(session, Product) == COUNT


class TestOrder:
    @pytest.mark.parametrize("verb", [_update, _upsert, _upsert_some_fields, _upsert_other_fields, _delete])
    async def test_rows_before_a_held_one_are_locked(self, database: Database, verb: Verb) -> None:
        """While a verb waits for a row it holds those with smaller keys, and none of those with larger ones."""
        await fill(database, 0)
        numbers = random.Random(1).sample(range(1, COUNT + 1), COUNT)
        every = select(Product.id).order_by(Product.id)

        async with database.session() as holder, database.session() as writer, database.session() as other:
            await holder.scalars(every.where(Product.id == COUNT // 2).with_for_update())
            task = asyncio.ensure_future(verb(writer, numbers, 1))
            await somebody_waits(other)
            free = (await other.scalars(every.with_for_update(skip_locked=True))).all()
            await other.rollback()
            await holder.rollback()
            await task

        assert free == [*range(COUNT // 2 + 1, COUNT + 1)]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("verb", [_update, _upsert, _upsert_some_fields, _upsert_other_fields, _delete])
class TestMariaDB:
    async def test_rows_that_are_there(self, mariadb: Database, verb: Verb, seed: int) -> None:
        """Callers that run the same verb for rows that are there wait for each other."""
        await fill(mariadb, seed)

        await all_at_once(mariadb, [verb], seed)


class TestRowsOfSeveralFields:
    async def test_they_are_written_in_one_order(self, every_driver: Database) -> None:
        """Whichever fields come first, all callers write the sets of fields in the same order."""
        rows = [{"sku": "a", "n": 1}, {"sku": "b", "m": 2}]
        async with every_driver.transaction() as session, queries(every_driver) as log:
            await upsert_many(session, Product, rows, on=[Product.sku])
            await upsert_many(session, Product, rows[::-1], on=[Product.sku])
            await upsert_many(session, Product, [rows[1]], on=[Product.sku])

        into = re.compile(r"INSERT INTO lock_order_product (\(.*?\))")
        found = [match[1] for match in map(into.search, log.statements) if match]
        assert found[:2] == found[2:4]
        assert found[0] != found[1]

    async def test_the_last_of_one_key_counts(self, every_driver: Database) -> None:
        """Where two sets of fields share a key, they are written in the order in which they came."""
        rows = [
            {"sku": "a", "n": 1},
            {"sku": "a", "n": 2, "id": 5},
            {"sku": "b", "n": 3, "id": 6},
            {"sku": "b", "n": 4},
        ]
        async with every_driver.transaction() as session:
            await upsert_many(session, Product, rows[:2], on=[Product.sku])
            await upsert_many(session, Product, rows[2:], on=[Product.sku])

            assert await values_of(session, Product.sku, Product.n) == [("a", 2), ("b", 4)]
