"""Pages beside writers: whatever comes, goes or moves between two batches, the rows that stay are met once."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Integer, String, delete, insert, update
from sqlalchemy.orm import Mapped, mapped_column

import sqlkeel
from sqlkeel.repository import Repository
from sqlkeel.sessions import Database
from tests.properties.examples import tried


class Base(sqlkeel.Base):
    pass


class Entry(Base):
    __tablename__ = "entry"
    id: Mapped[int] = mapped_column(Integer(), primary_key=True, autoincrement=False)
    rank: Mapped[int | None] = mapped_column(Integer())
    word: Mapped[str] = mapped_column(String(5))


pytestmark = pytest.mark.tables(Base.metadata)

KEYS = st.integers(0, 11)
RANKS = st.none() | st.integers(0, 4)
WORDS = st.sampled_from("abcd")
CHANGES = st.one_of(
    st.tuples(st.just("insert"), st.integers(12, 40), RANKS, WORDS),
    st.tuples(st.just("update"), KEYS, RANKS, WORDS),
    st.tuples(st.just("delete"), KEYS, RANKS, WORDS),
)
ORDERS = st.sampled_from(
    [
        [],
        [Entry.rank],
        [Entry.rank.desc()],
        [Entry.word, Entry.rank.desc()],
        [Entry.word.desc(), Entry.id.desc()],
    ]
)
TABLE: Any = Entry.__table__


async def write(db: Database, change: tuple[str, int, Any, str], touched: set[int]) -> None:
    """Change the table as another program would, through another connection."""
    verb, key, rank, word = change
    values = {"rank": rank, "word": word}
    async with db.engine.begin() as connection:
        if verb == "insert" and key not in touched:
            await connection.execute(insert(TABLE).values(id=key, **values))
        elif verb == "update":
            await connection.execute(update(TABLE).where(TABLE.c.id == key).values(values))
        elif verb == "delete":
            await connection.execute(delete(TABLE).where(TABLE.c.id == key))
    touched.add(key)


class TestBesideWriters:
    @tried(30)
    @given(
        rows=st.lists(st.tuples(RANKS, WORDS), min_size=12, max_size=12),
        order=ORDERS,
        changes=st.lists(st.none() | CHANGES, max_size=12),
        size=st.integers(1, 4),
        holds=st.booleans(),
    )
    async def test_what_stays_is_met_once(
        self, every_driver: Database, rows: Any, order: Any, changes: Any, size: int, holds: bool
    ) -> None:
        """A stream meets each row once that nobody changes, with what the session held before it or without."""
        db, touched, met = every_driver, set(), []
        async with db.engine.begin() as connection:
            await connection.execute(delete(TABLE))
            values = [{"id": key, "rank": rank, "word": word} for key, (rank, word) in enumerate(rows)]
            await connection.execute(insert(TABLE), values)
        waiting = iter(changes)

        async with db.read() as session:
            entries = Repository(session, Entry)
            held = await entries.get_all() if holds else []
            async for entry in entries.iterate(order_by=order, batch=size):
                met.append(entry.id)
                change = next(waiting, None)
                if change is not None:
                    await write(db, change, touched)

        stayed = [key for key in met if key not in touched]
        assert sorted(stayed) == sorted(set(range(12)) - touched)
        assert len(met) <= 12 + 2 * len(changes)
        assert len(held) == (12 if holds else 0)

    async def test_a_change_that_is_not_written_moves_no_cursor(self, every_driver: Database) -> None:
        """An object that was changed and not flushed stands where its row stands."""
        async with every_driver.transaction() as session:
            session.add_all(Entry(id=n, rank=n, word="a") for n in range(6))

        async with every_driver.session() as session:
            entries = Repository(session, Entry)
            held = await entries.get_all()
            held[1].rank = 100
            with session.no_autoflush:
                first = await entries.page(order_by=Entry.rank, size=2)
                second = await entries.page(order_by=Entry.rank, size=2, after=first.next)

        assert [entry.id for entry in (*first, *second)] == [0, 1, 2, 3]

    async def test_expired_objects_are_read_anew(self, every_driver: Database) -> None:
        """After a rollback by hand a walk goes on with the rows."""
        async with every_driver.transaction() as session:
            session.add_all(Entry(id=n, rank=n, word="a") for n in range(6))

        async with every_driver.session() as session:
            entries = Repository(session, Entry)
            first = await entries.page(order_by=Entry.rank, size=2)
            await session.rollback()
            second = await entries.page(order_by=Entry.rank, size=2, after=first.next)
            again = await entries.page(order_by=Entry.rank, size=2)

            assert [entry.rank for entry in (*again, *second)] == [0, 1, 2, 3]
            assert again.next == first.next
