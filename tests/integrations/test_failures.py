"""Exceptions that are answered with a success: by handlers, above and below, and seen through the scope."""

import asyncio
import copy
from collections.abc import Callable
from typing import Any, cast

import pytest
from fastapi import FastAPI
from sqlalchemy import event
from sqlalchemy.exc import InvalidRequestError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sqlkeel import Database
from sqlkeel.errors import ConfigurationError, NoTransaction
from sqlkeel.integrations._failures import WatchedScope, are_watched
from sqlkeel.integrations.asgi import UnitOfWork, UnitOfWorkMiddleware
from sqlkeel.integrations.fastapi import SessionDep, install
from sqlkeel.integrations.starlette import database_of, session_of
from tests.fixtures.databases import OpenDatabase
from tests.integrations.failing import (
    Copying,
    Elsewhere,
    FormError,
    Passing,
    TimingOut,
    above,
    back,
    half,
    half_by_hand,
    service,
    site,
    write,
)
from tests.integrations.tables import Base, Note, stored
from tests.integrations.wire import ANSWER, Exchange, client

pytestmark = pytest.mark.tables(Base.metadata)


def _writing_in_both(outer: Database) -> Any:
    async def endpoint(session: SessionDep) -> None:
        await write(session)
        async with outer.transaction():
            pass
        raise FormError

    return endpoint


class TestHandler:
    async def test_its_own_transaction_is_its_own(self, every_driver: Database) -> None:
        """What a handler writes in a transaction of its own stays, and waits for nothing of the failed request's."""

        async def note(request: Request, error: Exception) -> Response:
            async with database_of(request).transaction() as session:
                session.add(Note(text="half"))
            return await back(request, error)

        async with client(service(every_driver, handler=note)) as http:
            response = await http.post("/")

        assert response.status_code == 303
        assert await stored(every_driver) == ["half"]

    async def test_it_has_no_session_of_the_request(self, db: Database) -> None:
        """A handler that asks for the session is told what was raised."""
        raised: list[str] = []

        async def ask(request: Request, error: Exception) -> Response:
            with pytest.raises(NoTransaction) as refusal:
                await session_of(request)
            raised.append(str(refusal.value))
            return await back(request, error)

        async with client(service(db, handler=ask)) as http:
            await http.post("/")

        assert raised[0].startswith("The unit of work of this request was rolled back: FormError was raised.")
        assert "db.transaction()" in raised[0]

    async def test_a_session_that_it_kept_is_closed(self, db: Database) -> None:
        """A handler that finds the session elsewhere cannot write with it."""

        async def endpoint(request: Request, session: SessionDep) -> None:
            request.state.session = session
            raise FormError

        async def keep(request: Request, error: Exception) -> Response:
            with pytest.raises(InvalidRequestError, match="closed"):
                await write(request.state.session)
            return await back(request, error)

        async with client(service(db, endpoint, keep)) as http:
            response = await http.post("/")

        assert response.status_code == 303
        assert await stored(db) == []

    async def test_one_that_fails_is_the_failure(self, sqlite: Database) -> None:
        """What a handler raises is answered as if it were not one."""

        async def fail(request: Request, error: Exception) -> Response:
            raise ZeroDivisionError

        async with client(service(sqlite, handler=fail)) as http:
            response = await http.post("/")

        assert response.status_code == 500
        assert await stored(sqlite) == []

    async def test_the_exception_is_the_one_that_was_raised(self, sqlite: Database) -> None:
        """Without a handler, the exception arrives outside of the application as itself."""
        app = FastAPI()
        install(app, sqlite)
        app.post("/")(half)

        with pytest.raises(FormError) as raised:
            await Exchange(app, method="POST").run()

        assert raised.value.__cause__ is None
        assert raised.value.__context__ is None

    async def test_it_does_not_hide_what_a_stream_raises(self, sqlite: Database) -> None:
        """An exception of a body arrives as itself, though a middleware still holds the start of the response back."""
        failed = asyncio.Event()

        class Failing(Response):
            async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
                await send(ANSWER[0])
                failed.set()
                raise FormError

        async def endpoint(request: Request) -> Response:
            return Failing()

        class Late(Passing):
            async def dispatch(self, request: Request, call_next: Any) -> Response:
                response = await super().dispatch(request, call_next)
                await failed.wait()
                return response

        app = above(sqlite, Starlette(routes=[Route("/", endpoint)], middleware=[Middleware(Late)]))

        with pytest.raises(FormError):
            await Exchange(app).run()


class TestTimeout:
    """A timeout of a mounted application that is over while the unit of work ends."""

    @staticmethod
    def _answering(db: Database, status: int) -> Any:
        async def endpoint(request: Request) -> Response:
            session = await session_of(request)
            limit = request.scope["limit"]
            event.listen(session.sync_session, "before_flush", lambda *_: limit.reschedule(0))
            session.add(Note(text="half"))
            return Response(status_code=201)

        class Answering(TimingOut):
            async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
                async def answer(message: Any) -> None:
                    await send({**message, "status": status} if message.get("status") == 303 else message)

                await super().__call__(scope, receive, answer)

        route = Route("/", endpoint, methods=["POST"])
        return above(db, Starlette(routes=[route], middleware=[Middleware(Answering)]))

    @pytest.mark.parametrize("status", [303, 504])
    async def test_its_answer_is_sent(self, every_driver: Database, status: int) -> None:
        """What the timeout answers reaches the client, who is told of no cancellation, and nothing is kept."""
        async with client(self._answering(every_driver, status)) as http:
            response = await http.post("/")

        assert response.status_code == status
        assert await stored(every_driver) == []


class TestMountedDatabases:
    """An application with a database of its own, mounted below one that has another."""

    async def test_both_are_rolled_back(self, sqlite: Database, open_database: OpenDatabase) -> None:
        """An exception that the mounted application answers with a success keeps nothing in either."""
        inner, outer = sqlite, open_database(sqlite)
        below = service(inner, _writing_in_both(outer))

        async with client(above(outer, below)) as http:
            response = await http.post("/")

        assert response.status_code == 303
        assert await stored(inner) == []

    @pytest.mark.parametrize("build", [service, lambda db, endpoint: site(db, Route("/", endpoint, methods=["POST"]))])
    async def test_a_timeout_between_them_keeps_nothing_above(
        self, sqlite: Database, open_database: OpenDatabase, build: Callable[..., Starlette]
    ) -> None:
        """What a middleware of the mounted application wrote into the outer database goes with what it cancels."""

        class Writing(TimingOut):
            async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
                await write(await session_of(Request(scope)))
                await super().__call__(scope, receive, send)

        async def endpoint(request: Request) -> None:
            request.scope["limit"].reschedule(0)
            await asyncio.Event().wait()

        below = build(open_database(sqlite), endpoint)
        below.add_middleware(Writing)

        async with client(above(sqlite, below)) as http:
            response = await http.post("/")

        assert response.status_code == 303
        assert await stored(sqlite) == []

    async def test_the_handlers_above_have_the_database_above(
        self, sqlite: Database, open_database: OpenDatabase
    ) -> None:
        """A handler of the outer application finds its own database, though the request was for the other one."""
        inner, outer = sqlite, open_database(sqlite)
        found: list[Database] = []

        async def below(scope: Any, receive: Any, send: Any) -> None:
            await half_by_hand(Request(scope))

        async def look(request: Request, error: Exception) -> Response:
            found.append(database_of(request))
            return await back(request, error)

        app = FastAPI(exception_handlers={FormError: look})
        install(app, outer)
        app.mount("/", UnitOfWorkMiddleware(below, inner))

        async with client(app) as http:
            await http.post("/")

        assert found == [outer]


class TestCopiedScope:
    async def test_handlers_that_are_not_seen_are_refused(self, db: Database) -> None:
        """Before anything is written, a mounted application whose handlers cannot be seen is refused a session."""
        refused: list[str] = []

        async def endpoint(request: Request) -> Response:
            with pytest.raises(ConfigurationError) as refusal:
                await session_of(request)
            refused.append(str(refusal.value))
            return Response()

        route = Route("/", endpoint, methods=["POST"])
        below = Starlette(routes=[route], exception_handlers={FormError: back}, middleware=[Middleware(Copying)])

        async with client(above(db, below)) as http:
            await http.post("/")

        assert refused[0].startswith("A middleware of the mounted application copies the scope")
        assert "install(app, db) on the mounted application" in refused[0]

    async def test_with_a_unit_of_work_of_its_own_it_works(self, db: Database) -> None:
        """What the hint says: `install` on the mounted application."""
        below = FastAPI(exception_handlers={FormError: back}, middleware=[Middleware(Copying)])
        install(below, db)
        below.post("/")(half)

        async with client(above(db, below)) as http:
            response = await http.post("/")

        assert response.status_code == 303
        assert await stored(db) == []

    async def test_a_middleware_of_the_outermost_application_may_copy(self, db: Database) -> None:
        """Outside of the unit of work a copy hides nothing."""
        app = service(db)
        app.add_middleware(Copying)

        async with client(app) as http:
            response = await http.post("/")

        assert response.status_code == 303
        assert await stored(db) == []


class TestWatchedScope:
    def test_what_is_set_is_set_in_the_original(self) -> None:
        """A middleware outside finds the route that the application has set."""
        original: dict[str, Any] = {"type": "http", "gone": 1, "popped": 2}
        scope = WatchedScope(original, UnitOfWork(cast("Database", None)))

        scope["route"] = "set"
        scope.update({"endpoint": "updated"}, path="given")
        scope |= {"app": "merged"}
        scope.setdefault("state", "default")
        scope.setdefault("type", "kept")
        del scope["gone"]
        popped = scope.pop("popped"), scope.pop("nothing", "default")

        assert popped == (2, "default")
        assert original == dict(scope)
        assert original == {
            "type": "http",
            "route": "set",
            "endpoint": "updated",
            "path": "given",
            "app": "merged",
            "state": "default",
        }

    @pytest.mark.parametrize("make", [WatchedScope.copy, copy.copy])
    def test_a_copy_is_watched_and_apart(self, make: Callable[[WatchedScope], Any]) -> None:
        """What is set in a copy is set nowhere else; its exception handlers roll back all the same."""
        original: dict[str, Any] = {"type": "http"}
        copied = make(WatchedScope(original, UnitOfWork(cast("Database", None))))

        copied["starlette.exception_handlers"] = {}, {}

        assert original == {"type": "http"}
        assert are_watched(copied)
        assert Exception in copied["starlette.exception_handlers"][0]

    async def test_a_middleware_that_hides_the_endpoint_is_left_alone(self, sqlite: Database) -> None:
        """What a route has for its application may be anything, and is replaced only where it is the endpoint."""
        route = Route("/", half_by_hand, methods=["POST"], middleware=[Middleware(Elsewhere)])
        hiding: Any = route.app

        async with client(site(sqlite, route)) as http:
            response = await http.post("/")

        assert response.status_code == 303
        assert await stored(sqlite) == []
        assert route.app is hiding
        assert hiding.app is hiding

    async def test_an_endpoint_is_wrapped_once(self, sqlite: Database) -> None:
        """However many requests there are; without a unit of work it runs as before."""

        async def endpoint(request: Request) -> Response:
            return Response(status_code=204)

        route = Route("/", endpoint)
        app = site(sqlite, route)

        await Exchange(app).run()
        wrapped = route.app
        await Exchange(app).run()
        alone = await Exchange(Starlette(routes=[route])).run()

        assert route.app is wrapped
        assert alone.status == 204

    async def test_the_applications_own_handlers_stay_outside(self, sqlite: Database) -> None:
        """When the unit of work is over, its handlers are the application's and no more."""
        unit = UnitOfWork(sqlite)
        scope = WatchedScope({"starlette.exception_handlers": ({FormError: back}, {404: back})}, unit)
        by_class, by_status = scope["starlette.exception_handlers"]

        await unit.commit()

        assert dict(by_class) == {FormError: back}
        assert dict(by_status) == {404: back}
        assert Exception not in by_class
