"""Many rows written to PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from operator import itemgetter

from sqlalchemy import bindparam, delete, insert, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert

from sqlkeel.bulk import delete_many, insert_many, insert_many_returning, update_many, upsert_many
from sqlkeel.models import uuid7

from .measure import Case
from .models import Reading, Signal, readings
from .stand import Stand

__all__ = ["cases"]

COLUMNS = ["name", "place", "value", "at"]
WITH_KEY = ["id", *COLUMNS]
TABLE = Reading.__tablename__
PLAIN_LIMIT = 30_000
"""Keys in one IN list: asyncpg takes no more than 32,767 parameters."""


def cases(stand: Stand) -> Iterator[Case]:
    """Yield the cases of this file."""
    yield _insert(stand)
    yield _insert_with_uuid(stand)
    yield _insert_returning(stand)
    yield _upsert(stand)
    yield _update(stand)
    yield _delete(stand)


def _insert(stand: Stand) -> Case:
    rows = readings(stand.rows)
    rows = [{"id": n, **row} for n, row in enumerate(rows, 1)]
    records = list(map(itemgetter(*WITH_KEY), rows))

    async def limit() -> None:
        async with stand.driver.transaction():
            await stand.driver.copy_records_to_table(TABLE, records=records, columns=WITH_KEY)

    async def ours() -> None:
        async with stand.database.transaction() as session:
            await insert_many(session, Reading, rows)

    async def core() -> None:
        async with stand.engine.begin() as connection:
            await connection.execute(insert(Reading.__table__), rows)

    async def orm() -> None:
        async with stand.sessions.begin() as session:
            await session.execute(insert(Reading), rows)

    async def add_all() -> None:
        async with stand.sessions.begin() as session:
            session.add_all([Reading(**row) for row in rows])

    contenders = {"sqlkeel insert_many": ours, "Core executemany": core, "ORM bulk": orm, "ORM add_all": add_all}
    return Case("insert many dicts", limit, contenders, 0.95, before=stand.empty)


def _insert_with_uuid(stand: Stand) -> Case:
    rows = readings(stand.rows)
    records = [(uuid7(), *record) for record in map(itemgetter(*COLUMNS), rows)]

    async def limit() -> None:
        async with stand.driver.transaction():
            await stand.driver.copy_records_to_table(Signal.__tablename__, records=records, columns=["id", *COLUMNS])

    async def ours() -> None:
        async with stand.database.transaction() as session:
            await insert_many(session, Signal, rows)

    async def core() -> None:
        async with stand.engine.begin() as connection:
            await connection.execute(insert(Signal.__table__), rows)

    contenders = {"sqlkeel insert_many": ours, "Core executemany": core}
    return Case("insert many dicts, UUIDv7 made in Python", limit, contenders, 0.80, before=stand.empty)


def _insert_returning(stand: Stand) -> Case:
    rows = readings(stand.rows)
    statement = (
        f"INSERT INTO {TABLE} (name, place, value, at) "
        "SELECT * FROM unnest($1::text[], $2::text[], $3::int[], $4::timestamptz[]) RETURNING *"
    )

    async def limit() -> None:
        async with stand.driver.transaction():
            columns = zip(*map(itemgetter(*COLUMNS), rows), strict=True)
            await stand.driver.fetch(statement, *columns)

    async def ours() -> None:
        async with stand.database.transaction() as session:
            await insert_many_returning(session, Reading, rows)

    async def orm() -> None:
        async with stand.sessions.begin() as session:
            (await session.scalars(insert(Reading).returning(Reading, sort_by_parameter_order=True), rows)).all()

    async def add_all() -> None:
        async with stand.sessions.begin() as session:
            session.add_all([Reading(**row) for row in rows])

    contenders = {"sqlkeel insert_many_returning": ours, "ORM bulk returning": orm, "ORM add_all": add_all}
    return Case("insert many, objects back", limit, contenders, 0.80, before=stand.empty)


def _upsert(stand: Stand) -> Case:
    rows = readings(stand.rows, shift=1)
    records = list(map(itemgetter(*COLUMNS), rows))
    half = list(map(itemgetter(*COLUMNS), readings(stand.rows)[::2]))
    merge = (
        f"INSERT INTO {TABLE} (name, place, value, at) SELECT * FROM stage "
        "ON CONFLICT (name) DO UPDATE SET place = excluded.place, value = excluded.value, at = excluded.at"
    )

    async def before() -> None:
        await stand.fill(half, COLUMNS)

    async def limit() -> None:
        async with stand.driver.transaction():
            await stand.driver.execute(
                f"CREATE TEMP TABLE stage ON COMMIT DROP AS SELECT name, place, value, at FROM {TABLE} WITH NO DATA"
            )
            await stand.driver.copy_records_to_table("stage", records=records, columns=COLUMNS)
            await stand.driver.execute(merge)

    async def ours() -> None:
        async with stand.database.transaction() as session:
            await upsert_many(session, Reading, rows, on=[Reading.name])

    async def core() -> None:
        statement = postgresql_insert(Reading.__table__)
        changed = {name: statement.excluded[name] for name in COLUMNS[1:]}
        async with stand.engine.begin() as connection:
            await connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=changed), rows)

    contenders = {"sqlkeel upsert_many": ours, "Core executemany": core}
    return Case("upsert many, half exist", limit, contenders, 0.85, before=before)


def _update(stand: Stand) -> Case:
    there = [(n, *record) for n, record in enumerate(map(itemgetter(*COLUMNS), readings(stand.rows)), 1)]
    rows = [{"id": n, "place": f"new place {n % 89}", "value": n + 1} for n in range(1, stand.rows + 1)]
    statement = (
        f"UPDATE {TABLE} AS t SET place = v.place, value = v.value "
        "FROM unnest($1::bigint[], $2::text[], $3::int[]) AS v (id, place, value) WHERE t.id = v.id"
    )

    async def before() -> None:
        await stand.fill(there, WITH_KEY)

    async def limit() -> None:
        async with stand.driver.transaction():
            columns = zip(*map(itemgetter("id", "place", "value"), rows), strict=True)
            await stand.driver.execute(statement, *columns)

    async def ours() -> None:
        async with stand.database.transaction() as session:
            await update_many(session, Reading, rows)

    async def core() -> None:
        table = Reading.__table__
        given = [{"key": row["id"], "place": row["place"], "value": row["value"]} for row in rows]
        values = {"place": bindparam("place"), "value": bindparam("value")}
        async with stand.engine.begin() as connection:
            await connection.execute(update(table).where(table.c.id == bindparam("key")).values(values), given)

    async def orm() -> None:
        async with stand.sessions.begin() as session:
            await session.execute(update(Reading), rows)

    contenders = {"sqlkeel update_many": ours, "Core executemany": core, "ORM bulk by key": orm}
    return Case("update many by key", limit, contenders, 0.85, before=before)


def _delete(stand: Stand) -> Case:
    there = [(n, *record) for n, record in enumerate(map(itemgetter(*COLUMNS), readings(stand.rows)), 1)]
    keys = list(range(1, stand.rows + 1))

    async def before() -> None:
        await stand.fill(there, WITH_KEY)

    async def limit() -> None:
        async with stand.driver.transaction():
            await stand.driver.execute(f"DELETE FROM {TABLE} WHERE id = ANY($1::bigint[])", keys)

    async def ours() -> None:
        async with stand.database.transaction() as session:
            await delete_many(session, Reading, keys)

    async def core() -> None:
        async with stand.engine.begin() as connection:
            for start in range(0, len(keys), PLAIN_LIMIT):
                chunk = keys[start : start + PLAIN_LIMIT]
                await connection.execute(delete(Reading.__table__).where(Reading.__table__.c.id.in_(chunk)))

    contenders = {"sqlkeel delete_many": ours, "Core IN": core}
    return Case("delete many by key", limit, contenders, 0.85, before=before)
