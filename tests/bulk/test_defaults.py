"""Tests of sqlkeel.bulk._defaults: what Python makes for a row is what SQLAlchemy would make for it."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from datetime import datetime
from itertools import count
from typing import Any

import pytest
from sqlalchemy import Computed, Sequence, String, func
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Mapped, mapped_column

import sqlkeel
from sqlkeel import IntKeyMixin, SoftDeleteMixin, VersionMixin, unique_live
from sqlkeel.bulk import get_or_create, insert_many, insert_many_returning, update_many, upsert, upsert_many
from sqlkeel.bulk._defaults import Constant, Context, Made
from sqlkeel.errors import DatabaseFault, InvalidValue, NotSupported
from sqlkeel.repository import Repository
from sqlkeel.sessions import Database, Session
from tests.bulk.models import values_of

NUMBERS = count(1)


class Base(sqlkeel.Base):
    pass


def full_name(context: Any) -> str:
    given = context.get_current_parameters()
    return f"{given['first_name']} {given['last_name']}"


def initials(context: Any) -> str:
    return "".join(word[0] for word in context.current_parameters["full_name"].split())


class Person(IntKeyMixin, VersionMixin, Base):
    """Columns under other names, and defaults that look at them and at each other."""

    __tablename__ = "defaults_person"

    first: Mapped[str] = mapped_column("first_name", String(20), unique=True)
    last: Mapped[str] = mapped_column("last_name", String(20), default="Doe")
    born: Mapped[int | None]
    full: Mapped[str] = mapped_column("full_name", String(50), default=full_name)
    short: Mapped[str] = mapped_column(String(5), default=initials)
    has_age: Mapped[bool] = mapped_column(default=lambda context: context.current_parameters["born"] is not None)


def _shout(context: Any) -> str:
    return str(context.get_current_parameters().get("text")).upper()


class Message(IntKeyMixin, SoftDeleteMixin, VersionMixin, Base):
    """A token for each change, and a column that follows another one."""

    __tablename__ = "defaults_message"
    __table_args__ = (unique_live("code"),)

    code: Mapped[str] = mapped_column(String(20))
    text: Mapped[str | None] = mapped_column("body", String(20), key="text")
    loud: Mapped[str | None] = mapped_column(String(20), onupdate=_shout)
    token: Mapped[uuid.UUID] = mapped_column(unique=True, default=uuid.uuid4, onupdate=uuid.uuid4)
    changes: Mapped[int] = mapped_column(default=0, onupdate=lambda: next(NUMBERS))


class Draft(IntKeyMixin, Base):
    """A column that tells which others an update has changed."""

    __tablename__ = "defaults_draft"

    title: Mapped[str] = mapped_column(String(20), unique=True)
    body: Mapped[str | None] = mapped_column(String(20))
    changed: Mapped[str | None] = mapped_column(
        String(20), onupdate=lambda context: "body" if "body" in context.get_current_parameters() else "not the body"
    )
    number: Mapped[int | None]


class Blank(IntKeyMixin, Base):
    """Nothing that has to be given."""

    __tablename__ = "defaults_blank"

    place: Mapped[int] = mapped_column(default=lambda context: len(context.get_current_parameters()))


pytestmark = pytest.mark.tables(Base.metadata)
PEOPLE = [{"first": "Ada", "last": "Byron"}, {"first": "Bob"}, {"first": "Cid", "born": 5}]
EXPECTED = [
    ("Ada", "Ada Byron", "AB", False),
    ("Bob", "Bob Doe", "BD", False),
    ("Cid", "Cid Doe", "CD", True),
]
Insert = Callable[[Session, list[dict[str, Any]]], Awaitable[Any]]


async def _create(session: Session, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        await Repository(session, Person).create(**row)


INSERTS: dict[str, Insert] = {
    "create": _create,
    "insert_many": lambda session, rows: insert_many(session, Person, rows),
    "insert_many_returning": lambda session, rows: insert_many_returning(session, Person, rows),
    "upsert_many": lambda session, rows: upsert_many(session, Person, rows, on=[Person.first]),
}


class TestNewRows:
    @pytest.mark.parametrize("insert", INSERTS.values(), ids=INSERTS)
    async def test_a_default_sees_its_row(self, every_driver: Database, insert: Insert) -> None:
        """A default with a parameter sees given values, other defaults and NULLs, by the keys of their columns."""
        async with every_driver.transaction() as session:
            await insert(session, PEOPLE)

            assert await values_of(session, Person.first, Person.full, Person.short, Person.has_age) == EXPECTED

    async def test_rows_that_give_nothing(self, every_driver: Database) -> None:
        """A row without any field gets its defaults all the same."""
        async with every_driver.transaction() as session:
            assert await insert_many(session, Blank, [{}, {}]) == 2

    async def test_a_default_left_out_by_some(self, every_driver: Database) -> None:
        """Rows of which some give a field that has a default, and some do not, are merged together."""
        rows = [{"first": "Ada", "has_age": True}, {"first": "Bob"}, {"has_age": False, "first": "Cid"}]

        async with every_driver.transaction() as session:
            done = await upsert_many(session, Person, rows, on=[Person.first])

            assert done[:2] == (3, 0)
            assert await values_of(session, Person.first, Person.has_age) == [
                ("Ada", True),
                ("Bob", False),
                ("Cid", False),
            ]


async def _two_messages(session: Session) -> list[Message]:
    rows = [{"code": "a", "text": "one"}, {"code": "b", "text": "two"}]
    return await insert_many_returning(session, Message, rows)


class TestUpdatedRows:
    @pytest.mark.parametrize("verb", ["update_many", "upsert_many", "upsert"])
    async def test_each_row_gets_its_own(self, every_driver: Database, verb: str) -> None:
        """A function is called for each row: a token stays unique, and a column that follows another one does."""
        async with every_driver.transaction() as session:
            first, second = await _two_messages(session)
            before = {first.token, second.token}
            calls: dict[str, Callable[[], list[Awaitable[Any]]]] = {
                "update_many": lambda: [
                    update_many(session, Message, [{"id": m.id, "text": m.code} for m in (first, second)])
                ],
                "upsert_many": lambda: [
                    upsert_many(
                        session, Message, [{"code": m.code, "text": m.code} for m in (first, second)], on=[Message.code]
                    )
                ],
                "upsert": lambda: [
                    upsert(session, Message, {"code": m.code, "text": m.code}, on=[Message.code])
                    for m in (first, second)
                ],
            }
            for call in calls[verb]():
                await call

            assert len(before | {first.token, second.token}) == 4
            assert [(m.text, m.loud, m.version) for m in (first, second)] == [("a", "A", 2), ("b", "B", 2)]
            assert first.changes != second.changes

    async def test_a_new_row_gets_the_default(self, every_driver: Database) -> None:
        """What an update would write is not written into a row that is inserted."""
        async with every_driver.transaction() as session:
            await upsert_many(session, Message, [{"code": "a", "text": "one"}], on=[Message.code])

            assert await values_of(session, Message.loud, Message.changes) == [(None, 0)]

    async def test_what_is_given_counts(self, every_driver: Database) -> None:
        """A row that gives the column itself gets that value."""
        async with every_driver.transaction() as session:
            first, second = await _two_messages(session)

            await update_many(session, Message, [{"id": first.id, "text": "x", "loud": "given"}])
            await upsert_many(session, Message, [{"code": "b", "text": "x", "loud": "given"}], on=[Message.code])

            assert (first.loud, second.loud) == ("given", "given")

    async def test_an_unchanged_row_keeps_its_token(self, every_driver: Database) -> None:
        """A row that `upsert_many` has nothing to change in is not touched by it."""
        async with every_driver.transaction() as session:
            first, _ = await _two_messages(session)
            before = first.token

            done = await upsert_many(session, Message, [{"code": "a", "text": "one"}], on=[Message.code])

            assert (done.unchanged, first.token) == (1, before)

    async def test_the_last_of_two_rows(self, every_driver: Database) -> None:
        """Of several rows with one key, what the update writes is that of the last."""
        rows = [{"code": "a", "text": "x"}, {"code": "b", "text": "y"}, {"code": "a", "text": "z"}]
        async with every_driver.transaction() as session:
            first, second = await _two_messages(session)

            await upsert_many(session, Message, rows, on=[Message.code])

            assert [(m.text, m.loud) for m in (first, second)] == [("z", "Z"), ("y", "Y")]

    async def test_a_revived_row(self, every_driver: Database) -> None:
        """A row that comes back gets a new token, and what follows its new values."""
        async with every_driver.transaction() as session:
            first, second = await _two_messages(session)
            before = {first.token, second.token}
            await Repository(session, Message).delete(first)
            await Repository(session, Message).delete(second)

            rows = [{"code": "a", "text": "back"}, {"code": "b", "text": "too"}]
            done = await upsert_many(session, Message, rows, on=[Message.code], revive=True)

            assert done.revived == 2
            assert await values_of(session, Message.code, Message.loud) == [("a", "BACK"), ("b", "TOO")]
            assert before.isdisjoint({token for (token,) in await values_of(session, Message.token)})


UPDATES: dict[str, Callable[[Session, Draft, dict[str, Any]], Awaitable[Any]]] = {
    "update": lambda session, draft, change: Repository(session, Draft).update(draft, change),
    "update_many": lambda session, draft, change: update_many(session, Draft, [{"id": draft.id, **change}]),
    "upsert_many": lambda session, draft, change: upsert_many(
        session, Draft, [{"title": draft.title, **change}], on=[Draft.title]
    ),
    "upsert": lambda session, draft, change: upsert(session, Draft, {"title": draft.title, **change}, on=[Draft.title]),
}


class TestWhatAnUpdateSees:
    @pytest.mark.parametrize("update", UPDATES.values(), ids=UPDATES)
    @pytest.mark.parametrize(("change", "told"), [({"number": 2}, "not the body"), ({"body": "b"}, "body")])
    async def test_only_what_changes(
        self, every_driver: Database, update: Any, change: dict[str, Any], told: str
    ) -> None:
        """A column that is left as it is does not look as if it became NULL."""
        async with every_driver.transaction() as session:
            draft = await Repository(session, Draft).create(title="t")

            await update(session, draft, change)

            assert await values_of(session, Draft.changed) == [(told,)]


class TestContext:
    def test_what_is_not_there_is_refused(self) -> None:
        """A default that asks for the connection is told that there is none."""
        with pytest.raises(NotSupported, match="connection"):
            Context({}).connection.execute(func.now())

    def test_earlier_defaults_are_seen(self) -> None:
        """A constant is one of the values, like those that are given."""
        table = Person.__table__
        defaults = {table.c.last_name: Constant("Roe"), table.c.full_name: table.c.full_name.default}

        made = Made([table.c.first_name], defaults).of_row({"first_name": "Jane"})

        assert made[table.c.full_name] == "Jane Roe"


def refuse() -> int:
    raise LookupError("no number is left")


class Raising(IntKeyMixin, Base):
    __tablename__ = "defaults_raising"

    name: Mapped[str] = mapped_column(String(20), unique=True)
    number: Mapped[int] = mapped_column(default=refuse)


class RaisingInContext(IntKeyMixin, Base):
    __tablename__ = "defaults_raising_in_context"

    name: Mapped[str] = mapped_column(String(20), unique=True)
    number: Mapped[int] = mapped_column(default=lambda context: refuse())


class RaisingLater(IntKeyMixin, Base):
    __tablename__ = "defaults_raising_later"

    name: Mapped[str] = mapped_column(String(20), unique=True)
    city: Mapped[str | None] = mapped_column(String(20))
    number: Mapped[int] = mapped_column(onupdate=refuse)


class Computing(IntKeyMixin, Base):
    __tablename__ = "defaults_computing"

    name: Mapped[str] = mapped_column(String(20), unique=True)
    number: Mapped[int] = mapped_column(default=func.no_such_function())


WRITES: dict[str, Callable[[Session, Any], Awaitable[Any]]] = {
    "insert_many": lambda session, model: insert_many(session, model, [{"name": "a"}]),
    "insert_many_returning": lambda session, model: insert_many_returning(session, model, [{"name": "a"}]),
    "insert_many_returning one by one": lambda session, model: insert_many_returning(
        session, model, [{"name": "a"}, {"name": "b", "id": 7}]
    ),
    "upsert": lambda session, model: upsert(session, model, {"name": "a"}, on=[model.name]),
    "get_or_create": lambda session, model: get_or_create(session, model, {"name": "a"}, {}),
    "upsert_many": lambda session, model: upsert_many(session, model, [{"name": "a"}], on=[model.name]),
}
CHANGES: dict[str, Callable[[Session], Awaitable[Any]]] = {
    "update_many": lambda session: update_many(session, RaisingLater, [{"id": 1, "city": "Rome"}]),
    "upsert": lambda session: upsert(
        session, RaisingLater, {"name": "a", "city": "Rome", "number": 1}, on=LATER, update=[RaisingLater.city]
    ),
    "upsert_many": lambda session: upsert_many(
        session, RaisingLater, [{"name": "a", "city": "Rome", "number": 1}], on=LATER, update=[RaisingLater.city]
    ),
}
LATER = [RaisingLater.name]


class Counted(Base):
    """A key from a sequence, where the database has them, and a column that it computes."""

    __tablename__ = "defaults_counted"

    id: Mapped[int] = mapped_column(Sequence("defaults_counted_seq"), primary_key=True)
    name: Mapped[str] = mapped_column(String(20), unique=True)
    length: Mapped[int | None] = mapped_column(Computed("length(name)", persisted=True))


@pytest.mark.tables(Base.metadata)
class TestDefaultsThatRaise:
    @pytest.mark.parametrize("model", [Raising, RaisingInContext])
    @pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
    async def test_the_error_is_the_caller_s_own(self, every_driver: Database, write: Any, model: type[Any]) -> None:
        """What a default raises is not told as a value that its type refuses; nothing is written."""
        async with every_driver.transaction() as session:
            with pytest.raises(LookupError, match="no number is left") as caught:
                await write(session, model)

            assert await Repository(session, model).count() == 0
        assert not isinstance(caught.value, SQLAlchemyError)

    @pytest.mark.parametrize("write", CHANGES.values(), ids=CHANGES)
    async def test_what_changes_with_an_update(self, every_driver: Database, write: Any) -> None:
        """It is the same for what ``onupdate`` calls."""
        async with every_driver.transaction() as session:
            await insert_many(session, RaisingLater, [{"id": 1, "name": "a", "number": 1}])
            with pytest.raises(LookupError, match="no number is left"):
                await write(session)

    async def test_a_default_in_sql_that_fails(self, sqlite: Database) -> None:
        """An error of the database, for a default that is a statement, stays what it is."""
        async with sqlite.transaction() as session:
            with pytest.raises(DatabaseFault, match="no_such_function"):
                await upsert(session, Computing, {"name": "a"}, on=[Computing.name])


@pytest.mark.tables(Base.metadata)
class TestSequences:
    async def test_a_database_without_sequences_counts_by_itself(self, sqlite: Database) -> None:
        """A Sequence is no expression there: the rows go through a temporary table like any."""
        async with sqlite.transaction() as session:
            result = await upsert_many(session, Counted, [{"name": "a"}, {"name": "b"}], on=[Counted.name])

        assert result.inserted == 2


class OnServers(sqlkeel.Base):
    pass


numbers = Sequence("defaults_numbers_seq", metadata=OnServers.metadata)


class Numbered(OnServers):
    """A number of a sequence, and a time, which the server makes as well."""

    __tablename__ = "defaults_numbered"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(20), unique=True)
    number: Mapped[int] = mapped_column(numbers, server_default=numbers.next_value())
    made_at: Mapped[datetime] = mapped_column(default=func.now(), server_default=func.now())


class Renumbered(OnServers):
    """A number of another sequence than the server's."""

    __tablename__ = "defaults_renumbered"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(20), unique=True)
    number: Mapped[int] = mapped_column(Sequence("defaults_others_seq"), server_default=numbers.next_value())


@pytest.mark.tables(OnServers.metadata)
class TestDefaultsOfTheServer:
    async def test_they_are_left_to_it(self, server: Database) -> None:
        """A default in SQL that the server has as well is made there, for rows of a temporary table, too."""
        async with server.transaction() as session:
            result = await upsert_many(session, Numbered, [{"name": "a"}, {"name": "b"}], on=[Numbered.name])
            made = await insert_many_returning(session, Numbered, [{"name": "c"}])

            assert result.inserted == 2
            assert made[0].made_at is not None
            assert len({number for (number,) in await values_of(session, Numbered.number)}) == 3

    async def test_another_is_refused(self, server: Database) -> None:
        """One that the server makes in another way is refused where it cannot be brought."""
        async with server.transaction() as session:
            with pytest.raises(NotSupported, match="SQL expression"):
                await upsert_many(session, Renumbered, [{"name": "a"}], on=[Renumbered.name])


@pytest.mark.tables(Base.metadata)
class TestGeneratedColumns:
    async def test_a_value_is_refused(self, db: Database) -> None:
        """It is not left to the database: MariaDB ignores the value, and counts the row as written."""
        async with db.transaction() as session:
            await insert_many(session, Counted, [{"name": "abc"}])
            (counted,) = await Repository(session, Counted).get_all(Counted.name == "abc")

            with pytest.raises(InvalidValue, match=r"Counted\.length is computed by the database"):
                await update_many(session, Counted, [{"id": counted.id, "length": 7}])
            with pytest.raises(InvalidValue, match=r"Counted\.length is computed by the database"):
                await upsert_many(session, Counted, [{"name": "abc", "length": 7}], on=[Counted.name])
            with pytest.raises(InvalidValue, match=r"Counted\.length is computed by the database"):
                await upsert(session, Counted, {"name": "abc", "length": 7}, on=[Counted.name])
