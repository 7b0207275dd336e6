"""Cursors: what a page is asked for, and what is refused as one."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from sqlalchemy import delete, select

from sqlkeel.errors import ConfigurationError, InvalidCursor, NotSupported, ValueRefused
from sqlkeel.reading import Page
from sqlkeel.reading._pagination import Keyset
from sqlkeel.sessions import Database
from tests.reading.page_models import Base, Event, Point, Sample, Spot, add, fetch

pytestmark = pytest.mark.tables(Base.metadata)


LONGEST_WORDS = 2**20 // 4 * 3 - len("signature 12") - len('["",1]')
"""How many letters fit into the longest cursor, beside what else is in it."""


async def cursor_of(db: Database, keyset: Keyset, statement: Any = None) -> str:
    """Make a list of two rows, and return the cursor behind the first."""
    await add(db, 2)
    async with db.session() as session:
        page = await fetch(session, keyset, select(Event) if statement is None else statement, size=1)
    assert page.next is not None
    return page.next


class TestCursor:
    @pytest.mark.parametrize(
        "cursor", ["", "x", "!!!", "ä", "e30", "a" * 200, base64.urlsafe_b64encode(b"{}").decode()]
    )
    def test_what_is_no_cursor_is_refused(self, cursor: str) -> None:
        """Whatever a client sends instead of a cursor is one error."""
        with pytest.raises(InvalidCursor):
            Keyset(Event).select(select(Event), size=1, after=cursor)

    async def test_a_changed_cursor_is_refused(self, sqlite: Database) -> None:
        """A cursor with another value in it does not pass for one."""
        cursor = await cursor_of(sqlite, Keyset(Event))
        raw = bytearray(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        raw[-2] ^= 1

        with pytest.raises(InvalidCursor):
            Keyset(Event).select(select(Event), size=1, after=base64.urlsafe_b64encode(raw).decode())

    @pytest.mark.parametrize("order", [[Event.happened], [Event.happened.desc()], [Event.rank], []])
    async def test_a_cursor_of_another_order_is_refused(self, sqlite: Database, order: Any) -> None:
        """A position in one order says nothing in another."""
        cursor = await cursor_of(sqlite, Keyset(Event, [Event.rank.desc(), Event.happened]))

        with pytest.raises(InvalidCursor):
            Keyset(Event, order).select(select(Event), size=1, after=cursor)

    @pytest.mark.parametrize("condition", [Event.rank == 1, Event.rank >= 1, Event.id > 0, Event.rank.in_([0, 1, 2])])
    async def test_a_cursor_of_another_filter_is_refused(self, sqlite: Database, condition: Any) -> None:
        """A position in one list says nothing in another, be it the same condition with another value."""
        cursor = await cursor_of(sqlite, Keyset(Event), select(Event).where(Event.rank >= 0))

        with pytest.raises(InvalidCursor):
            Keyset(Event).select(select(Event).where(condition), size=1, after=cursor)

    async def test_the_same_filter_made_anew_is_accepted(self, sqlite: Database) -> None:
        """The next request makes its statement anew, and the cursor still fits."""
        cursor = await cursor_of(sqlite, Keyset(Event), select(Event).where(Event.rank.in_([0, 1])))

        statement = Keyset(Event).select(select(Event).where(Event.rank.in_([0, 1])), size=1, after=cursor)

        assert "LIMIT" in str(statement)

    async def test_the_order_of_a_set_does_not_count(self, sqlite: Database) -> None:
        """A set has another order in each process, and the list is the same."""
        cursor = await cursor_of(sqlite, Keyset(Event), select(Event).where(Event.rank.in_([0, 1, 2])))

        statement = Keyset(Event).select(select(Event).where(Event.rank.in_([2, 0, 1])), size=1, after=cursor)

        assert "LIMIT" in str(statement)

    async def test_a_value_is_known_by_what_is_sent(self, db: Database) -> None:
        """An object that has no text of its own is told from another one by what its type sends of it."""
        async with db.transaction() as session:
            session.add_all(Spot(point=Point(1)) for _ in range(3))
        keyset = Keyset(Spot, dialect=db.engine.dialect)

        async with db.session() as session:
            first = await fetch(session, keyset, select(Spot).where(Spot.point == Point(1)), size=2)
            second = await fetch(session, keyset, select(Spot).where(Spot.point == Point(1)), size=2, after=first.next)
            among = await fetch(session, keyset, select(Spot).where(Spot.point.in_([Point(1)])), size=2)
            rest = await fetch(
                session, keyset, select(Spot).where(Spot.point.in_([Point(1)])), size=2, after=among.next
            )
            with pytest.raises(InvalidCursor):
                await fetch(session, keyset, select(Spot).where(Spot.point == Point(2)), size=2, after=first.next)

        assert [spot.id for spot in second] == [spot.id for spot in rest]
        assert len(second) == 1

    async def test_a_secret_signs(self, sqlite: Database) -> None:
        """A cursor that was signed with another secret, or with none, is refused."""
        cursor = await cursor_of(sqlite, Keyset(Event, secret=b"one"))

        with pytest.raises(InvalidCursor):
            Keyset(Event, secret=b"two").select(select(Event), size=1, after=cursor)
        with pytest.raises(InvalidCursor):
            Keyset(Event).select(select(Event), size=1, after=cursor)
        Keyset(Event, secret=b"one").select(select(Event), size=1, after=cursor)

    @pytest.mark.parametrize(
        ("secret", "wrong"), [(b"", "is empty"), ("", "a str"), ("s3cret", "a str"), ([b"old", b"new"], "a list")]
    )
    def test_a_secret_that_signs_nothing(self, secret: Any, wrong: str) -> None:
        """With an empty one, as of a setting that is not there, a client signs for itself; it is not repeated."""
        with pytest.raises(ConfigurationError, match=wrong) as caught:
            Keyset(Event, secret=secret)

        assert "s3cret" not in str(caught.value)

    async def test_a_filter_by_what_python_does_not_write(self, every_driver: Database) -> None:
        """The number goes to the database, which says of which column it is, with a cursor as without."""
        cursor = await cursor_of(every_driver, Keyset(Event))
        too_long = select(Event).where(Event.id > 10**5000)

        async with every_driver.read() as session:
            with pytest.raises(ValueRefused, match=r"\.id"):
                await fetch(session, Keyset(Event), too_long, size=1)
            with pytest.raises(InvalidCursor):
                await fetch(session, Keyset(Event), too_long, size=1, after=cursor)

    @pytest.mark.parametrize("db", ["sqlite"], indirect=True)
    async def test_the_longest_leads_on(self, db: Database) -> None:
        """A cursor of a mebibyte, in which the base64 of the texts has its place, is accepted."""
        page = await self.page_behind_a_text_of(LONGEST_WORDS, db)

        assert len(page.next or "") == 2**20
        assert len(await self.page_behind_a_text_of(LONGEST_WORDS, db, after=page.next)) == 1

    async def test_a_longer_one_is_refused(self) -> None:
        """What no page has made is not sent to the database, which may break the connection over it."""
        with pytest.raises(InvalidCursor, match="too long"):
            Keyset(Event).select(select(Event), size=1, after="A" * (2**20 + 1))

    @pytest.mark.parametrize("db", ["sqlite"], indirect=True)
    async def test_a_longer_one_is_not_made(self, db: Database) -> None:
        """A page that ends at such a text would lead nowhere."""
        with pytest.raises(NotSupported, match="A page of Sample by words, id"):
            await self.page_behind_a_text_of(LONGEST_WORDS + 1, db)

    async def page_behind_a_text_of(self, length: int, db: Database, *, after: str | None = None) -> Page[Any]:
        """Return a page of one row of two, of which the first has a text of that length."""
        keyset, statement = Keyset(Sample, [Sample.words]), select(Sample)
        async with db.transaction() as session:
            await session.execute(delete(Sample))
            session.add_all([Sample(id=1, words="a" * length), Sample(id=2, words="b")])
            await session.flush()
            return await fetch(session, keyset, statement, size=1, after=after)

    async def test_it_fits_in_an_address(self, sqlite: Database) -> None:
        """A cursor needs no escaping in a URL."""
        cursor = await cursor_of(sqlite, Keyset(Event, [Event.happened.desc()]))

        assert cursor.replace("-", "").replace("_", "").isalnum()
