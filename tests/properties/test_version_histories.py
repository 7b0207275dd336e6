"""Random histories of concurrent changes: each that was acknowledged is there in the end, and counted once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import String, text, update
from sqlalchemy.orm import Mapped, mapped_column

import sqlkeel
from sqlkeel import Database, Repository
from sqlkeel.errors import NotFound, TransientFault, UniqueViolation, VersionConflict
from sqlkeel.models import IntKeyMixin
from sqlkeel.soft_delete import SoftDeleteMixin
from sqlkeel.timestamps import TimestampMixin
from sqlkeel.versions import TriggerVersionMixin, VersionMixin
from tests.properties.examples import tried


class Base(sqlkeel.Base):
    pass


class Columns(IntKeyMixin, TimestampMixin, SoftDeleteMixin, VersionMixin):
    """What is written by those who have read it, and what is overwritten unseen."""

    slug: Mapped[str] = mapped_column(String(20), unique=True)
    history: Mapped[str] = mapped_column(String(2000), server_default="")
    note: Mapped[str] = mapped_column(String(20), server_default="")


class Counted(Columns, Base):
    __tablename__ = "counted"


class Triggered(Columns, TriggerVersionMixin, Base):
    __tablename__ = "triggered"


pytestmark = pytest.mark.tables(Base.metadata)

Door = Callable[[Database, Any, str], Awaitable[None]]
LOST = VersionConflict, NotFound, UniqueViolation, TransientFault


async def flush(db: Database, row: Any, token: str) -> None:
    """Write the object that was read."""
    async with db.transaction() as session:
        session.add(row)
        row.history += token


async def update_expecting(db: Database, row: Any, token: str) -> None:
    """Write another object, and say which version was seen."""
    async with db.transaction() as session:
        rows = Repository(session, type(row))
        found = await rows.get_one(row.id)
        await rows.update(found, {"history": row.history + token}, expected_version=row.version)


async def update_where(db: Database, row: Any, token: str) -> None:
    """Send an update() statement that asks for the version."""
    model = type(row)
    statement = update(model).where(model.id == row.id, model.version == row.version)
    await _execute(db, row, statement.values(history=row.history + token))


async def append(db: Database, row: Any, token: str) -> None:
    """Send an update() statement that has read nothing."""
    model = type(row)
    await _execute(db, row, update(model).where(model.id == row.id).values(history=model.history.concat(token)))


async def update_by_key(db: Database, row: Any, token: str) -> None:
    """Send SQLAlchemy's update() of rows by key."""
    values = {"id": row.id, "version": row.version, "history": row.history + token}
    async with db.transaction() as session:
        await session.execute(update(type(row)), [values])


async def update_many(db: Database, row: Any, token: str) -> None:
    """Update rows by key in bulk."""
    values = {"id": row.id, "version": row.version, "history": row.history + token}
    async with db.transaction() as session:
        await Repository(session, type(row)).update_many([values])


async def upsert(db: Database, row: Any, token: str) -> None:
    """Upsert the note, unseen."""
    async with db.transaction() as session:
        await Repository(session, type(row)).upsert({"slug": row.slug, "note": token}, on=[type(row).slug])


async def upsert_many(db: Database, row: Any, token: str) -> None:
    """Upsert the note in bulk, unseen."""
    async with db.transaction() as session:
        await Repository(session, type(row)).upsert_many([{"slug": row.slug, "note": token}], on=[type(row).slug])


async def touch(db: Database, row: Any, token: str) -> None:
    """Count a change of something else."""
    async with db.transaction() as session:
        session.add(row)
        await Repository(session, type(row)).touch(row, expected_version=row.version)


async def delete(db: Database, row: Any, token: str) -> None:
    """Delete what was read."""
    async with db.transaction() as session:
        await session.delete(row)


async def delete_and_restore(db: Database, row: Any, token: str) -> None:
    """Delete what was read, and think better of it: two changes."""
    async with db.transaction() as session:
        rows = Repository(session, type(row))
        await rows.delete(row)
        await rows.restore(row)


async def write_from_outside(db: Database, row: Any, token: str) -> None:
    """Send a Core statement that knows of no version, if there is a trigger that counts."""
    if isinstance(row, Counted):
        raise NotFound("trigger")
    table: Any = Triggered.__table__
    async with db.engine.begin() as connection:
        statement = table.update().where(table.c.id == row.id)
        await connection.execute(statement.values(history=table.c.history.concat(token)))


async def _execute(db: Database, row: Any, statement: Any) -> None:
    async with db.transaction() as session:
        result: Any = await session.execute(statement)
        if result.rowcount != 1:
            raise NotFound(type(row).__name__, row.id)


WRITES_HISTORY: list[Door] = [flush, update_expecting, update_where, append, update_by_key, update_many]
WRITES_HISTORY.append(write_from_outside)
WRITES_NOTE: list[Door] = [upsert, upsert_many]
DOORS: list[Door] = [*WRITES_HISTORY, *WRITES_NOTE, touch, delete, delete_and_restore]


class Change(NamedTuple):
    """One attempt to change a row."""

    door: Door
    place: int
    token: str


async def run(db: Database, model: Any, rounds: list[list[tuple[Door, int]]]) -> dict[Change, bool]:
    """Make rows, let each round read and then write at the same time, and tell which changes were acknowledged."""
    keys = await make_rows(db, model)
    acknowledged: dict[Change, bool] = {}
    for number, doors in enumerate(rounds):
        changes = [Change(door, place, f"<{number}.{n}>") for n, (door, place) in enumerate(doors)]
        all_have_read = asyncio.Barrier(len(changes))
        attempts = [attempt(db, model, keys, change, all_have_read) for change in changes]
        acknowledged |= dict(zip(changes, await asyncio.gather(*attempts), strict=True))
    return acknowledged


async def make_rows(db: Database, model: Any) -> list[int]:
    """Replace all rows by two new ones, and return their keys."""
    async with db.transaction() as session:
        await session.execute(text(f"DELETE FROM {model.__tablename__}"))
        return [(await Repository(session, model).create(slug=slug)).id for slug in ("a", "b")]


async def attempt(db: Database, model: Any, keys: list[int], change: Change, all_have_read: asyncio.Barrier) -> bool:
    """Read, wait for the others, and write; tell whether it was acknowledged."""
    async with db.read() as session:
        row = await Repository(session, model).get_one(keys[change.place], include_deleted=True)
    await all_have_read.wait()
    try:
        await change.door(db, row, change.token)
    except LOST:
        return False
    return True


async def rows_of(db: Database, model: Any) -> list[Any]:
    """Return both rows as they are in the end."""
    async with db.read() as session:
        return await Repository(session, model).get_all(order_by=model.slug, include_deleted=True)


class TestHistories:
    @pytest.mark.parametrize("model", [Counted, Triggered])
    @tried(15)
    @given(
        rounds=st.lists(
            st.lists(st.tuples(st.sampled_from(DOORS), st.integers(0, 1)), min_size=1, max_size=5),
            min_size=1,
            max_size=4,
        )
    )
    async def test_no_update_is_lost(self, db: Database, model: Any, rounds: list[list[tuple[Door, int]]]) -> None:
        """Whoever was told that a change is made finds it in the end, once; the version is the number of changes."""
        acknowledged = await run(db, model, rounds)

        rows = await rows_of(db, model)
        assert [facts(row) for row in rows] == [expected(acknowledged, place) for place in (0, 1)]
        assert all(row.note in notes(acknowledged, place) for place, row in enumerate(rows))

    @pytest.mark.parametrize("model", [Counted, Triggered])
    async def test_one_round_of_all(self, db: Database, model: Any) -> None:
        """Every door at once on one row: most are told that they lost, and nothing of those is there."""
        acknowledged = await run(db, model, [[(door, 0) for door in DOORS if door is not delete]])

        [first, second] = await rows_of(db, model)
        assert any(acknowledged.values())
        assert facts(first) == expected(acknowledged, 0)
        assert facts(second) == (1, [], False)


def facts(row: Any) -> tuple[int, list[str], bool]:
    """Return the version, what is in the history, and whether the row is deleted."""
    return row.version, sorted(f"{token}>" for token in row.history.split(">") if token), row.is_deleted


def expected(acknowledged: dict[Change, bool], place: int) -> tuple[int, list[str], bool]:
    """Return what the facts have to be by what was acknowledged."""
    made = made_on(acknowledged, place)
    counted = len(made) + sum(change.door is delete_and_restore for change in made)
    history = sorted(change.token for change in made if change.door in WRITES_HISTORY)
    return 1 + counted, history, any(change.door is delete for change in made)


def notes(acknowledged: dict[Change, bool], place: int) -> set[str]:
    """Return the notes that may stand there: one that was acknowledged, or none."""
    return {change.token for change in made_on(acknowledged, place) if change.door in WRITES_NOTE} or {""}


def made_on(acknowledged: dict[Change, bool], place: int) -> list[Change]:
    """Return the changes of a row that were acknowledged."""
    return [change for change, told in acknowledged.items() if told and change.place == place]
