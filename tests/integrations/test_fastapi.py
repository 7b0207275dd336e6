"""FastAPI applications: the session as a dependency, and every way in which a request can end."""

import asyncio
import logging
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from fastapi import (
    APIRouter,
    BackgroundTasks,
    Depends,
    FastAPI,
    Header,
    HTTPException,
    Request,
    WebSocket,
    WebSocketDisconnect,
)
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.sse import EventSourceResponse
from pydantic import BaseModel, ConfigDict
from sqlalchemy import text
from sqlalchemy.exc import InvalidRequestError

from sqlkeel import Database, Repository, Session
from sqlkeel.errors import NoTransaction, SessionClosed
from sqlkeel.integrations.asgi import unit_of_work
from sqlkeel.integrations.fastapi import DatabaseDep, ReadSessionDep, SessionDep, get_session, install
from tests.engines.peers import soon
from tests.integrations.tables import Answer, Base, Deferred, Item, Note, stored
from tests.integrations.wire import Exchange, Message, client, disconnecting, traffic

pytestmark = pytest.mark.tables(Base.metadata)
deferred = pytest.mark.tables(Deferred.metadata)


def service(db: Database, endpoint: Callable[..., Any], **options: Any) -> FastAPI:
    """Return a service of one endpoint."""
    app = FastAPI()
    install(app, db)
    app.post("/", **options)(endpoint)
    return app


class NoteOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    weight: int


async def write(session: Session) -> None:
    """Write a note."""
    session.add(Note(text="kept"))
    await session.flush()


async def who(session: SessionDep) -> int:
    """Return the identity of the session that a dependency gets."""
    return id(session)


class TestSessionDep:
    async def test_one_for_all_dependencies(self, sqlite: Database) -> None:
        """The endpoint and its dependencies, whatever their scope and cache, share one session."""

        async def endpoint(
            session: SessionDep,
            first: Annotated[int, Depends(who)],
            second: Annotated[int, Depends(who, use_cache=False)],
            direct: Annotated[Session, Depends(get_session, use_cache=False)],
        ) -> list[bool]:
            return [first == id(session), second == id(session), direct is session]

        async with client(service(sqlite, endpoint)) as http:
            response = await http.post("/")

        assert response.json() == [True, True, True]

    async def test_it_can_be_overridden(self, sqlite: Database) -> None:
        """A test gives the endpoints a session of its own."""

        async def endpoint(session: SessionDep) -> bool:
            return session is given

        async def give() -> Session:
            return given

        given = sqlite.session()
        app = service(sqlite, endpoint)
        app.dependency_overrides[get_session] = give

        async with client(app) as http:
            response = await http.post("/")

        assert response.json() is True

    async def test_the_openapi_document_does_not_know_it(self, sqlite: Database) -> None:
        """A session adds no parameter and no body to the description of the service."""

        async def endpoint(session: SessionDep, reader: ReadSessionDep, db: DatabaseDep) -> None:
            return None

        operation = service(sqlite, endpoint).openapi()["paths"]["/"]["post"]

        assert "parameters" not in operation
        assert "requestBody" not in operation


def shelf() -> FastAPI:
    """Return a service whose routes differ in what they do with the database, one of them behind a router."""
    app, router = FastAPI(), APIRouter(prefix="/items")

    async def loaded(session: ReadSessionDep) -> int:
        return id(session)

    @router.get("/{key}")
    async def read(key: int, item: Annotated[int, Depends(loaded)]) -> None:
        return None

    @router.post("/", responses={409: {"description": "Mine."}, 422: {"description": "Mine, too."}})
    async def add(session: SessionDep) -> None:
        return None

    @router.put("/{key}")
    async def change(key: int, db: DatabaseDep) -> None:
        return None

    @app.get("/health")
    async def health() -> str:
        return "well"

    install(app, Database("sqlite://"), statuses={"check-violation": 400})
    app.include_router(router, prefix="/v1")
    return app


class TestDocument:
    """The problems in the OpenAPI document."""

    @pytest.mark.parametrize(
        ("method", "path", "statuses"),
        [
            ("get", "/health", {"200"}),
            ("get", "/v1/items/{key}", {"200", "404", "422", "503"}),
            ("post", "/v1/items/", {"200", "400", "409", "422", "503"}),
            ("put", "/v1/items/{key}", {"200", "400", "404", "409", "422", "503"}),
        ],
    )
    def test_what_each_operation_may_be_answered(self, method: str, path: str, statuses: set[str]) -> None:
        """By its dependencies, its path, its method, and the statuses that the service has chosen."""
        operation = shelf().openapi()["paths"][path][method]

        assert set(operation["responses"]) == statuses

    def test_what_an_operation_says_itself_wins(self) -> None:
        """A response of one's own is left as it is."""
        responses = shelf().openapi()["paths"]["/v1/items/"]["post"]["responses"]

        assert responses["409"] == {"description": "Mine."}
        assert responses["422"] == {"description": "Mine, too."}

    def test_a_problem_has_a_schema(self) -> None:
        """Each names the same one, which the document has."""
        document = shelf().openapi()

        [problem] = document["paths"]["/v1/items/{key}"]["put"]["responses"]["404"]["content"].items()
        assert problem == ("application/problem+json", {"schema": {"$ref": "#/components/schemas/Problem"}})
        assert document["components"]["schemas"]["Problem"]["required"] == ["type", "title", "status"]

    def test_both_forms_of_a_422_are_there(self) -> None:
        """FastAPI's own, for what it cannot read, and ours, for what the database does not take."""
        refused = shelf().openapi()["paths"]["/v1/items/{key}"]["put"]["responses"]["422"]["content"]

        assert set(refused) == {"application/json", "application/problem+json"}

    def test_a_problem_of_ones_own_keeps_its_name(self, sqlite: Database) -> None:
        """A model that is called so, too, stands beside ours."""

        class Problem(BaseModel):
            puzzle: str

        async def endpoint(session: SessionDep) -> Problem:
            return Problem(puzzle="chess")

        app = service(sqlite, endpoint)

        schemas = app.openapi()["components"]["schemas"]

        assert set(schemas["Problem"]["properties"]) == {"puzzle"}
        assert "status" in schemas["SQLKeelProblem"]["properties"]
        assert app.openapi()["components"]["schemas"].keys() == schemas.keys()


class TestReadSessionDep:
    async def test_it_reads(self, db: Database) -> None:
        """What is committed is there to read."""

        async def endpoint(session: ReadSessionDep) -> int:
            return int(await session.scalar(text("SELECT count(*) FROM note")) or 0)

        async with db.transaction() as session:
            session.add(Note(text="kept"))

        async with client(service(db, endpoint)) as http:
            response = await http.post("/")

        assert response.json() == 1

    async def test_it_refuses_to_write(self, db: Database) -> None:
        """A flush is refused; the client learns no more than that it is our fault."""

        async def endpoint(session: ReadSessionDep) -> None:
            await write(session)

        async with client(service(db, endpoint)) as http:
            response = await http.post("/")

        assert response.json() == {"type": "about:blank", "title": "Internal Server Error", "status": 500}
        assert await stored(db) == []


class TestOutcome:
    async def test_a_background_task_sees_the_row(self, db: Database) -> None:
        """Background tasks run after the commit."""
        seen: list[str] = []

        async def look() -> None:
            seen.extend(await stored(db))

        async def endpoint(session: SessionDep, tasks: BackgroundTasks) -> None:
            await write(session)
            tasks.add_task(look)

        async with client(service(db, endpoint)) as http:
            await http.post("/")

        assert seen == ["kept"]

    async def test_a_returned_error_rolls_back(self, db: Database) -> None:
        """A response with status 400 keeps nothing, though nothing was raised."""

        async def endpoint(session: SessionDep) -> JSONResponse:
            await write(session)
            return JSONResponse({}, 400)

        async with client(service(db, endpoint)) as http:
            response = await http.post("/")

        assert response.status_code == 400
        assert await stored(db) == []

    async def test_a_raised_error_rolls_back(self, db: Database) -> None:
        """HTTPException keeps nothing."""

        async def endpoint(session: SessionDep) -> None:
            await write(session)
            raise HTTPException(409)

        async with client(service(db, endpoint)) as http:
            response = await http.post("/")

        assert response.status_code == 409
        assert await stored(db) == []

    async def test_an_answer_of_the_wrong_form_rolls_back(self, sqlite: Database) -> None:
        """An answer that does not fit its model is a 500 and keeps nothing."""

        async def endpoint(session: SessionDep) -> Any:
            await write(session)
            return "no number"

        async with client(service(sqlite, endpoint, response_model=int)) as http:
            response = await http.post("/")

        assert response.status_code == 500
        assert await stored(sqlite) == []

    @pytest.mark.parametrize("many", [False, True])
    async def test_an_answer_that_reads_what_is_not_loaded(
        self, db: Database, many: bool, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is a 500 as any of ours, keeps nothing, and the log says what to load."""

        async def endpoint(session: SessionDep) -> Any:
            note = Note(text="kept")
            session.add(note)
            await session.flush()
            session.expire(note, ["weight"])
            return [note] if many else note

        app = service(db, endpoint, response_model=list[NoteOut] if many else NoteOut)
        with caplog.at_level(logging.ERROR, "sqlkeel.integrations"):
            async with client(app) as http:
                response = await http.post("/")

        assert (response.status_code, response.headers["Content-Type"]) == (500, "application/problem+json")
        assert response.json() == {"type": "about:blank", "title": "Internal Server Error", "status": 500}
        assert "Note.weight is not loaded" in caplog.text
        assert await stored(db) == []

    async def test_an_endpoint_that_reads_what_is_not_loaded_by_its_model(
        self, db: Database, caplog: pytest.LogCaptureFixture
    ) -> None:
        """``model_validate()`` raises an error of pydantic's, in which ours is a text: the answer is the same."""

        async def endpoint(session: SessionDep) -> Any:
            note = Note(text="kept")
            session.add(note)
            await session.flush()
            session.expire(note, ["weight"])
            return NoteOut.model_validate(note)

        with caplog.at_level(logging.ERROR, "sqlkeel.integrations"):
            async with client(service(db, endpoint)) as http:
                response = await http.post("/")

        assert (response.status_code, response.headers["Content-Type"]) == (500, "application/problem+json")
        assert "Note.weight is not loaded" in caplog.text
        assert await stored(db) == []

    async def test_another_error_of_pydantic_is_raised_as_it_is(
        self, sqlite: Database, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is the endpoint's own, as before."""

        async def endpoint(session: SessionDep) -> Any:
            await write(session)
            return NoteOut.model_validate({"weight": "heavy"})

        with caplog.at_level(logging.ERROR, "sqlkeel.integrations"):
            async with client(service(sqlite, endpoint)) as http:
                response = await http.post("/")

        assert (response.status_code, response.text) == (500, "Internal Server Error")
        assert caplog.records == []
        assert await stored(sqlite) == []

    async def test_an_answer_of_the_wrong_form_is_raised_as_it_is(
        self, sqlite: Database, caplog: pytest.LogCaptureFixture
    ) -> None:
        """What is no error of ours is left to whoever handles it, the error of a property too."""

        class Odd:
            @property
            def weight(self) -> int:
                raise ValueError("UnloadedAttribute: of somebody else")

        async def endpoint(session: SessionDep) -> Any:
            return Odd()

        with caplog.at_level(logging.ERROR, "sqlkeel.integrations"):
            async with client(service(sqlite, endpoint, response_model=NoteOut)) as http:
                response = await http.post("/")

        assert (response.status_code, response.text) == (500, "Internal Server Error")
        assert caplog.records == []

    async def test_a_request_of_the_wrong_form_costs_nothing(self, db: Database) -> None:
        """A request that fails validation does not reach the database."""

        async def endpoint(session: SessionDep, size: int) -> None:
            await write(session)

        with traffic(db) as seen:
            async with client(service(db, endpoint)) as http:
                response = await http.post("/?size=many")

        assert response.status_code == 422
        assert seen == []

    async def test_an_unused_session_costs_nothing(self, db: Database) -> None:
        """A dependency on the session alone takes no connection."""

        async def endpoint(session: SessionDep) -> None:
            return None

        with traffic(db) as seen:
            async with client(service(db, endpoint)) as http:
                await http.post("/")

        assert seen == []

    @deferred
    async def test_a_failed_commit_is_no_success(self, deferring: Database) -> None:
        """A foreign key that fails in COMMIT is a 409, not the 201 that the endpoint returned; no task runs."""
        sent: list[str] = []

        async def endpoint(session: SessionDep, tasks: BackgroundTasks) -> dict[str, bool]:
            session.add(Item(owner_id=404))
            await session.flush()
            tasks.add_task(sent.append, "mail")
            return {"saved": True}

        async with client(service(deferring, endpoint, status_code=201)) as http:
            response = await http.post("/")

        assert response.status_code == 409
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["type"] == "errors#foreign-key-violation"
        assert sent == []


class TestYield:
    async def test_before_the_response_the_session_is_open(self, db: Database) -> None:
        """The exit of a dependency with scope "function" takes part in the unit of work."""

        async def after(session: SessionDep) -> AsyncIterator[None]:
            yield
            await write(session)

        async def endpoint(nothing: Annotated[None, Depends(after, scope="function")]) -> None:
            return None

        async with client(service(db, endpoint)) as http:
            await http.post("/")

        assert await stored(db) == ["kept"]

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


class TestStreaming:
    async def test_a_stream_reads_with_a_session_of_its_own(self, db: Database) -> None:
        """The body is made after the commit; the database opens what it needs."""

        async def endpoint(session: SessionDep, database: DatabaseDep) -> StreamingResponse:
            await write(session)

            async def chunks() -> AsyncIterator[str]:
                async with database.read() as reader:
                    yield str(await reader.scalar(text("SELECT text FROM note")))

            return StreamingResponse(chunks())

        async with client(service(db, endpoint)) as http:
            response = await http.post("/")

        assert response.text == "kept"

    async def test_a_stream_that_uses_the_session_fails(self, db: Database) -> None:
        """The session of the request is closed then: the stream breaks off, and no connection is leaked."""

        async def endpoint(session: SessionDep) -> StreamingResponse:
            await write(session)

            async def chunks() -> AsyncIterator[str]:
                yield str(await session.scalar(text("SELECT 1")))

            return StreamingResponse(chunks())

        exchange = Exchange(service(db, endpoint), method="POST")

        with pytest.raises(SessionClosed):
            await exchange.run()

        assert [message["type"] for message in exchange.messages] == ["http.response.start"]

    async def test_a_client_that_leaves_ends_the_stream(self, every_driver: Database) -> None:
        """The stream's own transaction is rolled back, and its connection goes home."""
        gone = asyncio.Event()

        async def endpoint(session: SessionDep, database: DatabaseDep) -> StreamingResponse:
            await write(session)

            async def chunks() -> AsyncIterator[str]:
                async with database.transaction() as own:
                    own.add(Note(text="half"))
                    await own.flush()
                    yield "first"
                    gone.set()
                    await asyncio.Event().wait()

            return StreamingResponse(chunks())

        await Exchange(service(every_driver, endpoint), method="POST", receive=disconnecting(gone)).run()

        assert await stored(every_driver) == ["kept"]


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
        assert f"{endpoint.__name__}() yields its answer" in caplog.text
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


async def _none_held(database: Database) -> bool:
    return database.engine.pool.checkedout() == 0  # type: ignore[attr-defined]  # a QueuePool


class TestBackgroundTask:
    async def test_it_cannot_use_the_session(self, db: Database) -> None:
        """A task that was given the session of the request gets an error, and takes no connection."""

        async def task(session: Session) -> None:
            await write(session)

        async def endpoint(session: SessionDep, tasks: BackgroundTasks) -> None:
            tasks.add_task(task, session)

        with pytest.raises(InvalidRequestError, match="closed"):
            await Exchange(service(db, endpoint), method="POST").run()

        assert await stored(db) == []

    async def test_it_cannot_leave_a_change_to_the_end(self, db: Database) -> None:
        """There is no end any more that would write what is only added."""

        async def task(session: Session) -> None:
            session.add(Note(text="kept"))

        async def endpoint(session: SessionDep, tasks: BackgroundTasks) -> None:
            await session.execute(text("SELECT 1"))
            tasks.add_task(task, session)

        with pytest.raises(InvalidRequestError, match="closed"):
            await Exchange(service(db, endpoint), method="POST").run()

        assert await stored(db) == []

    async def test_it_opens_its_own(self, db: Database) -> None:
        """A task that was given the database opens a transaction, which commits by itself."""

        async def task(database: Database) -> None:
            async with database.transaction() as session:
                await write(session)

        async def endpoint(session: SessionDep, database: DatabaseDep, tasks: BackgroundTasks) -> None:
            tasks.add_task(task, database)

        async with client(service(db, endpoint)) as http:
            await http.post("/")

        assert await stored(db) == ["kept"]


class TestByHand:
    async def test_a_handler_commits_before_it_calls_somebody(self, every_driver: Database) -> None:
        """Nothing is held while another service takes its time, and what that answers takes nothing back."""
        held: list[int] = []

        async def endpoint(request: Request, session: SessionDep) -> JSONResponse:
            await write(session)
            await unit_of_work(request.scope).commit()
            held.append(every_driver.engine.pool.checkedout())  # type: ignore[attr-defined]
            return JSONResponse({"paid": False}, 502)

        async with client(service(every_driver, endpoint)) as http:
            response = await http.post("/")

        assert (response.status_code, held) == (502, [0])
        assert await stored(every_driver) == ["kept"]

    async def test_a_handler_without_a_session_is_on_its_own(self, db: Database) -> None:
        """DatabaseDep alone: what it commits is committed, whatever the response says."""

        async def endpoint(database: DatabaseDep) -> JSONResponse:
            async with database.transaction() as session:
                await write(session)
            return JSONResponse({}, 502)

        async with client(service(db, endpoint)) as http:
            await http.post("/")

        assert await stored(db) == ["kept"]


async def note_once(
    note: str, key: Annotated[str, Header(alias="Idempotency-Key", max_length=80)], session: SessionDep
) -> dict[str, Any] | None:
    """Write a note for the first request with the key, and give its answer to all of them."""
    answer, first = await Repository(session, Answer).get_or_create({"key": key}, {"request": note})
    if answer.request != note:
        raise HTTPException(422, "Another request had this key.")
    if first:
        written = await Repository(session, Note).create(text=f"{note} {uuid.uuid4()}"[:50])
        answer.body = {"text": written.text}
    return answer.body


class TestSentAgain:
    """A client that got no answer sends its request again, with the same Idempotency-Key."""

    async def test_it_is_answered_as_before(self, every_driver: Database) -> None:
        """The work is done once, and the second answer is the first one."""
        async with client(service(every_driver, note_once)) as http:
            first = await http.post("/", params={"note": "a"}, headers={"Idempotency-Key": "k"})
            second = await http.post("/", params={"note": "a"}, headers={"Idempotency-Key": "k"})

        assert first.json() == second.json()
        assert await stored(every_driver) == [first.json()["text"]]

    async def test_all_at_once(self, every_driver: Database) -> None:
        """Of six requests that come together one does the work, and all get its answer."""
        here = asyncio.Barrier(6)

        async def endpoint(note: str, session: SessionDep) -> dict[str, Any] | None:
            await here.wait()
            return await note_once(note, "k", session)

        async with client(service(every_driver, endpoint)) as http:
            calls = [http.post("/", params={"note": "a"}) for _ in range(6)]
            responses = await asyncio.gather(*calls)

        assert [response.status_code for response in responses] == [200] * 6
        assert {response.json()["text"] for response in responses} == {*await stored(every_driver)}
        assert len(await stored(every_driver)) == 1

    async def test_a_key_is_for_one_request(self, db: Database) -> None:
        """Another request under the same key is refused: its answer would be that of something else."""
        async with client(service(db, note_once)) as http:
            await http.post("/", params={"note": "a"}, headers={"Idempotency-Key": "k"})
            response = await http.post("/", params={"note": "b"}, headers={"Idempotency-Key": "k"})

        assert response.status_code == 422
        assert len(await stored(db)) == 1

    async def test_a_failure_leaves_the_key_free(self, db: Database) -> None:
        """What was rolled back took the key along, so that the client may try again with it."""
        failures = [True, False]

        async def endpoint(note: str, session: SessionDep) -> dict[str, Any] | None:
            body = await note_once(note, "k", session)
            if failures.pop(0):
                raise HTTPException(503, "Not now.")
            return body

        async with client(service(db, endpoint)) as http:
            first = await http.post("/", params={"note": "a"})
            second = await http.post("/", params={"note": "a"})

        assert (first.status_code, second.status_code) == (503, 200)
        assert await stored(db) == [second.json()["text"]]


class TestWebSocket:
    async def test_it_gets_no_session(self, sqlite: Database) -> None:
        """SessionDep in a WebSocket route is refused before the route runs."""
        app = FastAPI()
        install(app, sqlite)

        @app.websocket("/")
        async def endpoint(websocket: WebSocket, session: SessionDep) -> None:
            await websocket.accept()

        exchange = Exchange(app, kind="websocket")

        with pytest.raises(NoTransaction, match="WebSocket"):
            await exchange.run()

        assert exchange.messages == []

    async def test_it_gets_the_database(self, db: Database) -> None:
        """DatabaseDep opens a transaction for each message."""
        app = FastAPI()
        install(app, db)

        @app.websocket("/")
        async def endpoint(websocket: WebSocket, database: DatabaseDep) -> None:
            await websocket.accept()
            async with database.transaction() as session:
                session.add(Note(text="kept"))
            await websocket.close()

        await Exchange(app, kind="websocket", receive=_connecting).run()

        assert await stored(db) == ["kept"]

    async def test_a_client_that_leaves_rolls_its_message_back(self, every_driver: Database) -> None:
        """A transaction that was open when the client went away is rolled back, and its connection goes home."""
        app = FastAPI()
        install(app, every_driver)

        @app.websocket("/")
        async def endpoint(websocket: WebSocket, database: DatabaseDep) -> None:
            await websocket.accept()
            async with database.transaction() as session:
                session.add(Note(text="half"))
                await session.flush()
                await websocket.receive_text()

        messages: Iterator[Message] = iter(
            [{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1001}]
        )

        async def receive() -> Message:
            return next(messages)

        exchange = Exchange(app, kind="websocket", receive=receive)

        with pytest.raises(WebSocketDisconnect):
            await exchange.run()

        assert await stored(every_driver) == []
        assert every_driver.engine.pool.checkedout() == 0  # type: ignore[attr-defined]


async def _connecting() -> Message:
    return {"type": "websocket.connect"}
