"""What a client sends and no column takes is a 422 that names the column, and of many rows the row; never a 500."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import String, delete, func, insert, select, text, update
from sqlalchemy.orm import Mapped, mapped_column

import sqlkeel
from sqlkeel import Database, DualIDMixin, Repository
from sqlkeel.bulk import insert_many_returning
from sqlkeel.integrations.asgi import UnitOfWork
from tests.integrations.contract.framework import Framework
from tests.integrations.contract.frameworks import FRAMEWORKS
from tests.integrations.wire import client


class Base(sqlkeel.Base):
    pass


class Colour(enum.StrEnum):
    RED = "red"


class Sent(DualIDMixin, Base):
    """What a client may send."""

    __tablename__ = "sent"
    code: Mapped[str | None] = mapped_column(String(5))
    number: Mapped[int | None]
    owner: Mapped[UUID | None]
    taken_at: Mapped[datetime | None]
    colour: Mapped[Colour | None]


pytestmark = pytest.mark.tables(Base.metadata)

Sents = Repository[Sent]
Verb = Callable[[Sents, str, Any], Awaitable[Any]]
FIRST = UUID(int=1)


async def change(sents: Sents, field: str, value: Any) -> None:
    """Write the value to a row that is there."""
    await sents.update(await sents.create(), {field: value})


async def change_all(sents: Sents, field: str, value: Any) -> None:
    """Write the value to all rows, of which there is one."""
    await sents.create()
    await sents.session.execute(update(Sent).values({field: value}))


def column(field: str) -> Any:
    """Return the column."""
    return getattr(Sent, field)


WRITING: dict[str, Verb] = {
    "create": lambda sents, field, value: sents.create(**{field: value}),
    "update": change,
    "upsert": lambda sents, field, value: sents.upsert({"public_id": FIRST, field: value}, on=[Sent.public_id]),
    "get_or_create": lambda sents, field, value: sents.get_or_create({"public_id": FIRST}, {field: value}),
    "insert_many": lambda sents, field, value: sents.insert_many([{field: None}, {field: value}]),
    "insert_many_returning": lambda sents, field, value: insert_many_returning(
        sents.session, Sent, [{field: None}, {field: value}]
    ),
    "update_many": lambda sents, field, value: sents.update_many([{"id": 2, field: None}, {"id": 1, field: value}]),
    "upsert_many": lambda sents, field, value: sents.upsert_many(
        [{"public_id": UUID(int=2), field: None}, {"public_id": FIRST, field: value}], on=[Sent.public_id]
    ),
    "insert()": lambda sents, field, value: sents.session.execute(insert(Sent).values({field: value})),
    "update()": change_all,
}
COMPARING: dict[str, Verb] = {
    "get_all": lambda sents, field, value: sents.get_all(column(field) == value),
    "one_or_none": lambda sents, field, value: sents.one_or_none(column(field).in_([value])),
    "page": lambda sents, field, value: sents.page(column(field) != value),
    "count": lambda sents, field, value: sents.count(column(field) == value),
    "exists": lambda sents, field, value: sents.exists(column(field) == value),
    "select()": lambda sents, field, value: sents.session.execute(select(Sent.id).where(column(field) == value)),
    "where of update()": lambda sents, field, value: sents.session.execute(
        update(Sent).where(column(field) == value).values(code="a")
    ),
    "delete()": lambda sents, field, value: sents.session.execute(delete(Sent).where(column(field) == value)),
}
ROWS = dict.fromkeys(("insert_many", "insert_many_returning", "update_many", "upsert_many"), 2)

BY_TYPES: dict[str, tuple[str, Any]] = {"a text for a moment": ("taken_at", "soon"), "no member": ("colour", "green")}
BY_DRIVERS: dict[str, tuple[str, Any]] = {
    "a document for a text": ("code", {"a": 1}),
    "a document for a number": ("number", {"a": 1}),
    "no number of any width": ("number", 2**70),
    "half a character": ("code", "\ud800"),
}
BY_SERVERS: dict[str, tuple[str, Any]] = {
    "too wide for its column": ("number", 2**40),
    "a number for a UUID": ("owner", 5),
    "a text for a number": ("number", "x"),
}
COMPARED_BY_POSTGRESQL: dict[str, tuple[str, Any]] = {
    "a number for a text": ("code", 5),
    "a truth for a text": ("code", True),
    "a truth for a number": ("number", True),
    "a text for a number": ("number", "3"),
    "a number for a UUID": ("owner", 5),
    "bytes for a UUID": ("owner", b"x" * 16),
    "a UUID for a text": ("code", FIRST),
}


@pytest.fixture
def starlette() -> Framework:
    """One framework, where what is told of an error does not depend on it."""
    return FRAMEWORKS["starlette"]


async def answers(framework: Framework, db: Database, calls: Mapping[str, Callable[[Sents], Awaitable[Any]]]) -> Any:
    """Return what a client is told of each call: the status, the columns and the number of the row."""
    asked = iter(calls.values())

    async def endpoint(unit: UnitOfWork) -> None:
        await next(asked)(Repository(await unit.session(), Sent))

    async with client(framework.serve(db, endpoint)) as http:
        told = {name: await http.post("/") for name in calls}
    return {name: (one.status_code, one.json().get("columns"), one.json().get("row")) for name, one in told.items()}


def given(verbs: Mapping[str, Verb], field: str, value: Any) -> dict[str, Callable[[Sents], Awaitable[Any]]]:
    """Return the calls of *verbs* with this value."""
    return {name: lambda sents, verb=verb: verb(sents, field, value) for name, verb in verbs.items()}


def refused(verbs: Mapping[str, Verb], field: str) -> dict[str, Any]:
    """Return what is to be told."""
    return {name: (422, [field], ROWS.get(name)) for name in verbs}


class TestFramework:
    async def test_each_tells_the_same(self, framework: Framework, every_driver: Database) -> None:
        """In each framework, each way to write a value that is refused, and to compare a column with it, is a 422."""
        told = await answers(framework, every_driver, given(WRITING | COMPARING, "taken_at", "soon"))

        assert told == refused(WRITING | COMPARING, "taken_at")


class TestValue:
    @pytest.mark.parametrize(("field", "value"), BY_TYPES.values(), ids=BY_TYPES)
    async def test_what_a_type_refuses(self, starlette: Framework, sqlite: Database, field: str, value: Any) -> None:
        """A value that our types refuse is refused by each verb."""
        told = await answers(starlette, sqlite, given(WRITING | COMPARING, field, value))

        assert told == refused(WRITING | COMPARING, field)

    @pytest.mark.parametrize(("field", "value"), BY_DRIVERS.values(), ids=BY_DRIVERS)
    async def test_what_no_driver_sends(
        self, starlette: Framework, every_driver: Database, field: str, value: Any
    ) -> None:
        """So is one that no driver can send."""
        told = await answers(starlette, every_driver, given(WRITING, field, value))

        assert told == refused(WRITING, field)

    @pytest.mark.parametrize(("field", "value"), BY_SERVERS.values(), ids=BY_SERVERS)
    async def test_what_servers_refuse(self, starlette: Framework, server: Database, field: str, value: Any) -> None:
        """And one that is out of range, or of another type."""
        told = await answers(starlette, server, given(WRITING, field, value))

        assert told == refused(WRITING, field)

    @pytest.mark.parametrize(("field", "value"), COMPARED_BY_POSTGRESQL.values(), ids=COMPARED_BY_POSTGRESQL)
    async def test_what_postgresql_does_not_compare(
        self, starlette: Framework, postgresql: Database, field: str, value: Any
    ) -> None:
        """A value of another type in a condition is one, too, though SQLAlchemy binds it as what it is."""
        told = await answers(starlette, postgresql, given(COMPARING, field, value))

        assert told == refused(COMPARING, field)


class TestWhatIsNoValue:
    async def test_keys_cursors_and_sizes(self, framework: Framework, every_driver: Database) -> None:
        """A key that no row can have is not found; one of another type, a cursor and a size are refused."""
        calls: dict[str, Callable[[Sents], Awaitable[Any]]] = {
            "no such number": lambda sents: sents.get_one(2**70),
            "no such id": lambda sents: sents.get_one_by_public_id("x"),
            "a text": lambda sents: sents.get_one("x"),
            "a cursor": lambda sents: sents.page(after="x"),
            "a size": lambda sents: sents.page(size=0),
            "a limit": lambda sents: sents.get_all(limit=-1),
            "a field": lambda sents: sents.create(nmae="x"),
            "a key to delete": lambda sents: sents.delete_many([1, {}]),
        }

        told = await answers(framework, every_driver, calls)

        assert {name: status for name, (status, _, _) in told.items()} == {
            "no such number": 404,
            "no such id": 404,
            "a text": 422,
            "a cursor": 422,
            "a size": 422,
            "a limit": 422,
            "a field": 422,
            "a key to delete": 422,
        }

    @pytest.mark.parametrize("statement", ["select nofunction(1)", "select * form sent", "select 1 +"])
    async def test_a_mistake_in_the_statement_is_the_services_own(
        self, starlette: Framework, every_driver: Database, statement: str
    ) -> None:
        """SQL that no database understands stays a 500, whatever values stand in it."""
        calls: dict[str, Callable[[Sents], Awaitable[Any]]] = {
            "text": lambda sents: sents.session.execute(text(statement)),
            "function": lambda sents: sents.get_all(Sent.code == "a", func.nofunction(Sent.number) == 1),
        }

        told = await answers(starlette, every_driver, calls)

        assert {status for status, _, _ in told.values()} == {500}
