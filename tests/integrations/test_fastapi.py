"""FastAPI applications: dependencies, the document, answers; what holds for each framework is in contract/."""

import logging
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from fastapi import (
    APIRouter,
    BackgroundTasks,
    Depends,
    FastAPI,
    WebSocket,
)
from pydantic import BaseModel, ConfigDict

from sqlkeel import Database, Session
from sqlkeel.errors import NoTransaction
from sqlkeel.integrations.fastapi import DatabaseDep, ReadSessionDep, SessionDep, get_session, install
from tests.integrations.tables import Base, Deferred, Item, Note, stored, write
from tests.integrations.wire import Exchange, client

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


class TestOutcome:
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


class TestBackgroundTasks:
    """A task that is added to the parameter of the endpoint."""

    async def test_it_sees_the_row(self, db: Database) -> None:
        """It runs after the commit."""
        seen: list[str] = []

        async def look() -> None:
            seen.extend(await stored(db))

        async def endpoint(session: SessionDep, tasks: BackgroundTasks) -> None:
            await write(session)
            tasks.add_task(look)

        async with client(service(db, endpoint)) as http:
            await http.post("/")

        assert seen == ["kept"]

    @deferred
    async def test_after_a_failed_commit_it_does_not_run(self, deferring: Database) -> None:
        """No mail is sent for what is not there, nor is it said to be saved."""
        sent: list[str] = []

        async def endpoint(session: SessionDep, tasks: BackgroundTasks) -> dict[str, bool]:
            session.add(Item(owner_id=404))
            await session.flush()
            tasks.add_task(sent.append, "mail")
            return {"saved": True}

        async with client(service(deferring, endpoint, status_code=201)) as http:
            response = await http.post("/")

        assert response.status_code == 409
        assert sent == []


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
