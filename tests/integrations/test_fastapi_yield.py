"""Endpoints and dependencies of FastAPI that yield: what of them is behind the start of the response."""

import logging
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from fastapi import (
    APIRouter,
    Depends,
    FastAPI,
)
from fastapi.sse import EventSourceResponse
from sqlalchemy import text
from sqlalchemy.exc import InvalidRequestError

from sqlkeel import Database, Repository
from sqlkeel.integrations.fastapi import DatabaseDep, ReadSessionDep, SessionDep, install
from tests.engines.peers import soon
from tests.integrations.tables import Base, Deferred, Item, Note, stored, write
from tests.integrations.wire import Exchange, client, traffic

pytestmark = pytest.mark.tables(Base.metadata)
deferred = pytest.mark.tables(Deferred.metadata)


def service(db: Database, endpoint: Callable[..., Any], **options: Any) -> FastAPI:
    """Return a service of one endpoint."""
    app = FastAPI()
    install(app, db)
    app.post("/", **options)(endpoint)
    return app


class TestYield:
    @pytest.mark.parametrize("scope", ["function", "request"])
    async def test_a_block_around_the_request_ends_before_it_is_committed(
        self, db: Database, scope: Literal["function", "request"]
    ) -> None:
        """One that ends after the response would only then say whether what it wrote is to be kept."""

        async def around(session: SessionDep) -> AsyncIterator[None]:
            async with db.transaction():
                yield

        async def endpoint(nothing: Annotated[None, Depends(around, scope=scope)], session: SessionDep) -> None:
            await write(session)

        async with client(service(db, endpoint)) as http:
            response = await http.post("/")

        assert (response.status_code, await stored(db)) == ((200, ["kept"]) if scope == "function" else (500, []))

    async def test_after_the_response_it_is_closed(self, db: Database) -> None:
        """The exit of any other dependency comes after the response: its session is closed for good."""
        raised: list[Exception] = []

        async def after(session: SessionDep) -> AsyncIterator[None]:
            yield
            with pytest.raises(InvalidRequestError, match="closed") as info:
                await write(session)
            raised.append(info.value)

        async def endpoint(nothing: Annotated[None, Depends(after)]) -> None:
            return None

        async with client(service(db, endpoint)) as http:
            await http.post("/")

        assert len(raised) == 1
        assert await stored(db) == []

    @deferred
    async def test_a_dependency_cannot_swallow_a_failed_commit(self, sqlite: Database) -> None:
        """A dependency that catches everything does not make a success of a failed COMMIT."""

        async def careless() -> AsyncIterator[None]:
            with pytest.raises(Exception):  # noqa: B017 - it is careless
                yield

        async def endpoint(session: SessionDep, nothing: Annotated[None, Depends(careless)]) -> None:
            session.add(Item(owner_id=404))

        async with client(service(sqlite, endpoint)) as http:
            response = await http.post("/")

        assert response.status_code == 409


async def async_lines(session: SessionDep) -> AsyncIterable[dict[str, int]]:
    """Write while the answer is sent."""
    await write(session)
    yield {"n": 1}


async def async_adding(session: SessionDep) -> AsyncIterable[dict[str, int]]:
    """Write while the answer is sent, at the end of the unit of work."""
    session.add(Note(text="kept"))
    yield {"n": 1}


def sync_lines(session: SessionDep) -> Iterable[dict[str, int]]:
    """Write while the answer is sent, in a thread."""
    session.add(Note(text="kept"))
    yield {"n": 1}


async def reading_lines(session: ReadSessionDep) -> AsyncIterable[dict[str, int]]:
    """Read while the answer is sent."""
    yield {"n": int(await session.scalar(text("SELECT 1")) or 0)}


class Lines:
    """An endpoint that is an object."""

    __name__ = "lines"

    async def __call__(self, session: SessionDep) -> AsyncIterable[dict[str, int]]:
        """Write while the answer is sent."""
        await write(session)
        yield {"n": 1}


@dataclass
class Storing:
    """An endpoint that is an object with an equality, and so without a hash."""

    note: str

    async def __call__(self, session: SessionDep) -> None:
        """Store its note."""
        session.add(Note(text=self.note))


@dataclass
class StoringLines:
    """The same, which yields."""

    note: str
    __name__ = "storing"

    async def __call__(self, session: SessionDep) -> AsyncIterable[str]:
        """Store its note while the answer is sent."""
        session.add(Note(text=self.note))
        yield self.note


MEDIA: dict[str, dict[str, Any]] = {"lines": {}, "events": {"response_class": EventSourceResponse}}
YIELDING = [async_lines, async_adding, sync_lines, reading_lines, Lines(), StoringLines("kept")]


class TestEndpointThatYields:
    """The body of such an endpoint is made while the response is sent, in another task or thread."""

    @pytest.mark.parametrize("media", MEDIA)
    @pytest.mark.parametrize("endpoint", YIELDING, ids=lambda endpoint: endpoint.__name__)
    async def test_it_gets_no_session(
        self, db: Database, endpoint: Any, media: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Before anything is sent it is told what to use; nothing is stored, and no connection is taken."""
        app = service(db, endpoint, **MEDIA[media])

        with traffic(db) as seen, caplog.at_level(logging.ERROR, "sqlkeel.integrations"):
            async with client(app) as http:
                response = await http.post("/")

        assert (response.status_code, response.headers["Content-Type"]) == (500, "application/problem+json")
        assert seen == []
        assert f"{endpoint.__name__}() is a generator" in caplog.text
        assert "database.read()" in caplog.text

    async def test_an_object_that_does_not_yield_gets_one(self, db: Database) -> None:
        """What an endpoint takes for equal does not matter."""
        async with client(service(db, Storing("kept"))) as http:
            response = await http.post("/")

        assert response.status_code == 200
        assert await stored(db) == ["kept"]

    async def test_of_a_router_it_gets_none_either(self, sqlite: Database) -> None:
        """Where the route comes from does not matter."""
        router = APIRouter()
        router.post("/")(async_lines)
        app = FastAPI()
        install(app, sqlite)
        app.include_router(router)

        async with client(app) as http:
            response = await http.post("/")

        assert response.status_code == 500
        assert await stored(sqlite) == []

    @pytest.mark.parametrize("media", MEDIA)
    async def test_its_dependencies_have_the_session(self, db: Database, media: str) -> None:
        """What a dependency wrote is committed before the first byte, and the connection is free while it is sent."""
        held: list[int] = []

        async def writing(session: SessionDep) -> None:
            await write(session)

        async def endpoint(nothing: Annotated[None, Depends(writing)], database: DatabaseDep) -> AsyncIterable[str]:
            await soon(lambda: _none_held(database))
            held.append(database.engine.pool.checkedout())  # type: ignore[attr-defined]
            yield "line"

        async with client(service(db, endpoint, **MEDIA[media])) as http:
            response = await http.post("/")

        assert (response.status_code, "line" in response.text) == (200, True)
        assert held == [0]
        assert await stored(db) == ["kept"]

    @pytest.mark.parametrize("media", MEDIA)
    async def test_it_opens_its_own(self, every_driver: Database, media: str) -> None:
        """With the database, the body reads and writes in blocks of its own."""

        async def endpoint(database: DatabaseDep) -> AsyncIterable[str]:
            async with database.transaction() as session:
                await write(session)
            async with database.read() as session:
                for note in await session.scalars(text("SELECT text FROM note")):
                    yield note

        async with client(service(every_driver, endpoint, **MEDIA[media])) as http:
            response = await http.post("/")

        assert (response.status_code, "kept" in response.text) == (200, True)
        assert await stored(every_driver) == ["kept"]

    async def test_a_session_that_a_dependency_handed_over_is_closed(self, db: Database) -> None:
        """What a dependency makes of the session cannot be used in the body, and nothing is stored."""

        async def hand_over(session: SessionDep) -> Repository[Note]:
            return Repository(session, Note)

        async def endpoint(notes: Annotated[Any, Depends(hand_over)]) -> AsyncIterable[str]:
            await notes.create(text="kept")
            yield "line"

        with pytest.raises(InvalidRequestError, match="closed"):
            await Exchange(service(db, endpoint), method="POST").run()

        assert await stored(db) == []


class TestHandedOverToABody:
    async def test_a_producer_of_events_stores_nothing(self, every_driver: Database) -> None:
        """A dependency that hands the session to a body, which runs in another task, has it refused there."""

        class Notes:
            def __init__(self, session: SessionDep) -> None:
                self.session = session

            async def add(self) -> None:
                self.session.add(Note(text="lost"))
                await self.session.flush()

        async def asking(session: SessionDep) -> None:
            await session.execute(text("SELECT 1"))

        app = FastAPI(dependencies=[Depends(asking)])
        install(app, every_driver)

        @app.post("/", response_class=EventSourceResponse)
        async def endpoint(notes: Annotated[Notes, Depends(Notes)]) -> AsyncIterable[str]:
            await notes.add()
            yield "stored"

        async with client(app) as http:
            response = await http.post("/")

        assert "stored" not in response.text
        assert await stored(every_driver) == []
        assert every_driver.engine.pool.checkedout() == 0  # type: ignore[attr-defined]


async def _none_held(database: Database) -> bool:
    return database.engine.pool.checkedout() == 0  # type: ignore[attr-defined]  # a QueuePool
