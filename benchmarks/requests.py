"""What one request costs: a row by its key, a row written and committed, a list of objects."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from operator import itemgetter

from sqlalchemy import insert, select

from .measure import Case
from .models import START, Reading, readings
from .stand import Stand

__all__ = ["cases"]

COLUMNS = ["name", "place", "value", "at"]
TABLE = Reading.__tablename__
NUMBERS = count(1_000_000)


def cases(stand: Stand) -> Iterator[Case]:
    """Yield the cases of this file."""
    yield _read(stand)
    yield _write(stand)
    yield _list(stand)


def _records(size: int) -> list[tuple[object, ...]]:
    return [(n, *record) for n, record in enumerate(map(itemgetter(*COLUMNS), readings(size)), 1)]


def _read(stand: Stand) -> Case:
    there = _records(1000)

    async def before() -> None:
        await stand.fill(there, ["id", *COLUMNS])

    async def limit() -> None:
        async with stand.pool.acquire() as connection:
            await connection.fetchrow(f"SELECT id, name, place, value, at FROM {TABLE} WHERE id = $1", 500)

    async def ours() -> None:
        async with stand.database.read() as session:
            await session.get(Reading, 500)

    async def in_transaction() -> None:
        async with stand.database.transaction() as session:
            await session.get(Reading, 500)

    async def plain() -> None:
        async with stand.sessions() as session:
            await session.get(Reading, 500)

    contenders = {"sqlkeel read()": ours, "sqlkeel transaction()": in_transaction, "plain session": plain}
    return Case("one read by key per request", limit, contenders, 1.8, is_rate=False, before=before, repeat=200)


def _row() -> dict[str, object]:
    number = next(NUMBERS)
    return {"name": f"request {number}", "place": "here", "value": number, "at": START}


def _write(stand: Stand) -> Case:
    statement = f"INSERT INTO {TABLE} (name, place, value, at) VALUES ($1, $2, $3, $4) RETURNING id"

    async def limit() -> None:
        async with stand.pool.acquire() as connection, connection.transaction():
            await connection.fetchval(statement, *_row().values())

    async def ours() -> None:
        async with stand.database.transaction() as session:
            session.add(Reading(**_row()))

    async def plain() -> None:
        async with stand.sessions.begin() as session:
            session.add(Reading(**_row()))

    async def core() -> None:
        async with stand.engine.begin() as connection:
            await connection.execute(insert(Reading.__table__), _row())

    contenders = {"sqlkeel transaction()": ours, "plain session": plain, "Core": core}
    return Case(
        "one insert and commit per request", limit, contenders, 1.8, is_rate=False, before=stand.empty, repeat=100
    )


def _list(stand: Stand) -> Case:
    there = _records(1000)

    async def before() -> None:
        await stand.fill(there, ["id", *COLUMNS])

    async def limit() -> None:
        async with stand.pool.acquire() as connection:
            await connection.fetch(f"SELECT id, name, place, value, at FROM {TABLE}")

    async def ours() -> None:
        async with stand.database.read() as session:
            (await session.scalars(select(Reading))).all()

    async def plain() -> None:
        async with stand.sessions() as session:
            (await session.scalars(select(Reading))).all()

    async def core() -> None:
        async with stand.engine.connect() as connection:
            (await connection.execute(select(Reading.__table__))).all()

    contenders = {"sqlkeel read()": ours, "plain session": plain, "Core rows": core}
    return Case("1,000 rows into objects", limit, contenders, 3.7, is_rate=False, before=before, repeat=10)
