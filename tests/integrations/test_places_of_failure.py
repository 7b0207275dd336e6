"""Where an exception can be raised and answered with a success: nothing is kept in any of these places."""

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException
from fastapi.exceptions import RequestValidationError, ResponseValidationError
from litestar import Litestar, post
from litestar import Request as LitestarRequest
from litestar.response import Redirect
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Host, Mount, Route, Router

from sqlkeel import Database
from sqlkeel.integrations.asgi import UnitOfWorkMiddleware
from sqlkeel.integrations.fastapi import ETagDep, SessionDep, install
from sqlkeel.integrations.litestar import session_of as session_of_litestar
from sqlkeel.integrations.starlette import database_of, session_of
from tests.integrations.failing import (
    Back,
    Catching,
    CatchingLate,
    FailingAtTheEnd,
    FailingLate,
    FormError,
    Frozen,
    HalfEndpoint,
    NeverReady,
    Passing,
    TimingOut,
    TimingOutAnyio,
    above,
    back,
    back_in_a_thread,
    half,
    half_by_hand,
    never_ready,
    never_ready_anyio,
    never_ready_dependency,
    service,
    site,
    write,
    write_in_a_dependency,
    writing_by_hand,
)
from tests.integrations.tables import Base, Note, stored
from tests.integrations.wire import client

pytestmark = pytest.mark.tables(Base.metadata)


def _sync_endpoint(db: Database) -> Any:
    def endpoint(session: SessionDep) -> None:
        session.add(Note(text="half"))
        raise FormError

    return service(db, endpoint)


def _dependency(db: Database) -> Any:
    async def endpoint(nothing: Annotated[None, Depends(half)]) -> None:
        return None

    return service(db, endpoint)


def _sync_dependency(db: Database) -> Any:
    def fail(session: SessionDep) -> None:
        session.add(Note(text="half"))
        raise FormError

    async def endpoint(nothing: Annotated[None, Depends(fail)]) -> None:
        return None

    return service(db, endpoint)


def _enter_of_a_yield(db: Database) -> Any:
    async def enter(session: SessionDep) -> AsyncIterator[None]:
        await half(session)
        yield

    async def endpoint(nothing: Annotated[None, Depends(enter)]) -> None:
        return None

    return service(db, endpoint)


def _exit_of_a_yield(db: Database) -> Any:
    async def leave(session: SessionDep) -> AsyncIterator[None]:
        yield
        await half(session)

    async def endpoint(nothing: Annotated[None, Depends(leave, scope="function")]) -> None:
        return None

    return service(db, endpoint)


def _sync_exit_of_a_yield(db: Database) -> Any:
    def leave(session: SessionDep) -> Iterator[None]:
        yield
        raise FormError

    async def endpoint(session: SessionDep, nothing: Annotated[None, Depends(leave, scope="function")]) -> None:
        await write(session)

    return service(db, endpoint)


def _turned_by_a_yield(db: Database) -> Any:
    async def turn() -> AsyncIterator[None]:
        try:
            yield
        except ZeroDivisionError as error:
            raise HTTPException(303, headers={"Location": "/form"}) from error

    async def endpoint(session: SessionDep, nothing: Annotated[None, Depends(turn)]) -> None:
        await write(session)
        raise ZeroDivisionError

    return service(db, endpoint)


def _dependency_of_a_router(db: Database) -> Any:
    router = APIRouter(dependencies=[Depends(half)])

    @router.post("/")
    async def endpoint() -> None:
        return None

    app = FastAPI(exception_handlers={FormError: back})
    install(app, db)
    app.include_router(router)
    return app


def _http_exception(db: Database) -> Any:
    async def endpoint(session: SessionDep) -> None:
        await write(session)
        raise HTTPException(303, headers={"Location": "/form"})

    return service(db, endpoint)


def _handler_of_a_status(db: Database) -> Any:
    async def endpoint(session: SessionDep) -> None:
        await write(session)
        raise HTTPException(409)

    app = service(db, endpoint)
    app.add_exception_handler(409, back)
    return app


def _answer_of_the_wrong_form(db: Database) -> Any:
    async def endpoint(session: SessionDep) -> Any:
        await write(session)
        return "no number"

    app = service(db, endpoint, response_model=int)
    app.add_exception_handler(ResponseValidationError, back)
    return app


def _request_of_the_wrong_form(db: Database) -> Any:
    async def endpoint(nothing: Annotated[None, Depends(write_in_a_dependency)], size: int) -> None:
        return None

    app = service(db, endpoint)
    app.add_exception_handler(RequestValidationError, back)
    return app


def _group(db: Database) -> Any:
    async def endpoint(session: SessionDep) -> None:
        await write(session)
        raise ExceptionGroup("several", [FormError()])

    app = service(db, endpoint)
    app.add_exception_handler(ExceptionGroup, back)
    return app


def _below(**options: Any) -> Callable[[Database], Any]:
    def build(db: Database) -> Any:
        below = FastAPI(**{"exception_handlers": {FormError: back}, **options})
        below.post("/")(half)
        return above(db, below)

    return build


def _below_starlette(*routes: BaseRoute, **options: Any) -> Callable[[Database], Any]:
    def build(db: Database) -> Any:
        return above(db, Starlette(routes=routes, **{"exception_handlers": {FormError: back}, **options}))

    return build


def _joined_in_another_task(db: Database) -> Any:
    async def endpoint(request: Request) -> Response:
        await session_of(request)
        async with database_of(request).transaction() as session:
            session.add(Note(text="half"))
        raise FormError

    return site(db, Route("/", endpoint, methods=["POST"], middleware=[Middleware(Passing)]))


def _around_the_route(*middleware: Any, endpoint: Any = half_by_hand) -> Callable[[Database], Any]:
    def build(db: Database) -> Any:
        return site(db, Route("/", endpoint, methods=["POST"], middleware=[Middleware(one) for one in middleware]))

    return build


def _cancelled_in_a_mounted_service(*middleware: Any, prefix: str = "") -> Callable[[Database], Any]:
    def build(db: Database) -> Any:
        router = APIRouter()
        router.post("/")(never_ready_dependency)
        below = FastAPI(middleware=[Middleware(one) for one in middleware])
        below.include_router(router, prefix=prefix)
        return above(db, below)

    return build


def _cancelled_in_a_mounted_site(route: BaseRoute, *middleware: Any) -> Callable[[Database], Any]:
    return _below_starlette(route, middleware=[Middleware(one) for one in middleware])


def _cancelled_in_a_dependency(db: Database) -> Any:
    async def endpoint(nothing: Annotated[None, Depends(never_ready_dependency)]) -> None:
        return None

    below = FastAPI(middleware=[Middleware(TimingOut)])
    below.post("/")(endpoint)
    return above(db, below)


def _below_litestar(db: Database) -> Any:
    @post("/")
    async def endpoint(request: LitestarRequest[Any, Any, Any]) -> None:
        await write(await session_of_litestar(request))
        raise FormError

    def handle(request: LitestarRequest[Any, Any, Any], error: Exception) -> Redirect:
        return Redirect("/form", status_code=303)

    return above(db, Litestar([endpoint], exception_handlers={FormError: handle}, logging_config=None))


ROUTE = Route("/", half_by_hand, methods=["POST"])

PLACES: dict[str, Callable[[Database], Any]] = {
    "endpoint": service,
    "sync endpoint": _sync_endpoint,
    "dependency": _dependency,
    "sync dependency": _sync_dependency,
    "enter of a dependency with yield": _enter_of_a_yield,
    "exit of a dependency with yield": _exit_of_a_yield,
    "exit of a sync dependency with yield": _sync_exit_of_a_yield,
    "turned into another by a dependency": _turned_by_a_yield,
    "dependency of a router": _dependency_of_a_router,
    "HTTPException": _http_exception,
    "handler of a status": _handler_of_a_status,
    "answer of the wrong form": _answer_of_the_wrong_form,
    "request of the wrong form": _request_of_the_wrong_form,
    "exception group": _group,
    "sync handler": lambda db: service(db, handler=back_in_a_thread),
    "partial handler": lambda db: service(db, handler=functools.partial(back)),
    "object as a handler": lambda db: service(db, handler=Back()),
    "Starlette endpoint": lambda db: site(db, ROUTE),
    "class endpoint": lambda db: site(db, Route("/", HalfEndpoint)),
    "mounted router": lambda db: site(db, Mount("/", Router([ROUTE]))),
    "host": lambda db: site(db, Host("test", Router([ROUTE]))),
    "caught around the route": _around_the_route(Catching),
    "around the route is what cannot be changed": _around_the_route(Frozen),
    "caught late around the route": _around_the_route(CatchingLate),
    "in another task than the response": _around_the_route(Passing),
    "in a block that joins in another task": _joined_in_another_task,
    "mounted FastAPI": _below(),
    "mounted FastAPI, middleware": _below(middleware=[Middleware(Passing)]),
    "mounted FastAPI, caught by a middleware": _below(exception_handlers={}, middleware=[Middleware(Catching)]),
    "mounted FastAPI, handler of everything": _below(exception_handlers={Exception: back}),
    "mounted Starlette": _below_starlette(ROUTE),
    "mounted Starlette, class endpoint": _below_starlette(Route("/", HalfEndpoint)),
    "mounted Starlette, caught late": _below_starlette(
        ROUTE, exception_handlers={}, middleware=[Middleware(CatchingLate)]
    ),
    "mounted Starlette, middleware that fails": _below_starlette(
        Route("/", writing_by_hand, methods=["POST"]),
        exception_handlers={Exception: back},
        middleware=[Middleware(FailingLate)],
    ),
    "mounted Starlette, middleware that fails at the end": _below_starlette(
        Route("/", writing_by_hand, methods=["POST"]),
        exception_handlers={Exception: back},
        middleware=[Middleware(FailingAtTheEnd)],
    ),
    "mounted twice": _below_starlette(
        Mount("/", Starlette(routes=[ROUTE], exception_handlers={FormError: back})), middleware=[Middleware(Passing)]
    ),
    "mounted Litestar": _below_litestar,
    "class endpoint, caught around the route": _around_the_route(Catching, endpoint=HalfEndpoint),
    "class endpoint, caught late around the route": _around_the_route(Passing, CatchingLate, endpoint=HalfEndpoint),
    "timeout around the route": _around_the_route(TimingOut, endpoint=never_ready),
    "timeout around the route, class endpoint": _around_the_route(TimingOut, Passing, endpoint=NeverReady),
    "cancel scope around the route": _around_the_route(TimingOutAnyio, endpoint=never_ready_anyio),
    "mounted Starlette, timeout": _cancelled_in_a_mounted_site(Route("/", never_ready, methods=["POST"]), TimingOut),
    "mounted Starlette, timeout, class endpoint": _cancelled_in_a_mounted_site(
        Route("/", NeverReady), TimingOut, Passing
    ),
    "mounted FastAPI, timeout": _cancelled_in_a_mounted_service(TimingOut),
    "mounted FastAPI, timeout in another task": _cancelled_in_a_mounted_service(TimingOut, Passing),
    "mounted FastAPI, timeout in a dependency": _cancelled_in_a_dependency,
}


class TestPlaces:
    @pytest.mark.parametrize("place", PLACES)
    async def test_what_was_half_done_is_not_kept(self, sqlite: Database, place: str) -> None:
        """An exception rolls back wherever it is raised and handled, though the client reads a redirection."""
        async with client(PLACES[place](sqlite)) as http:
            response = await http.post("/")

        assert response.status_code == 303
        assert await stored(sqlite) == []

    @pytest.mark.parametrize("place", ["endpoint", "mounted FastAPI, caught by a middleware", "mounted Starlette"])
    async def test_on_every_database(self, every_driver: Database, place: str) -> None:
        """It is rolled back on the server, and the connection goes home."""
        async with client(PLACES[place](every_driver)) as http:
            response = await http.post("/")

        assert response.status_code == 303
        assert await stored(every_driver) == []

    async def test_around_the_whole_application(self, sqlite: Database) -> None:
        """Where the unit of work is a middleware outside of the exception handlers, it sees them all the same."""
        app = FastAPI(exception_handlers={FormError: back})
        app.add_middleware(UnitOfWorkMiddleware, database=sqlite)
        app.post("/")(half)

        async with client(app) as http:
            response = await http.post("/")

        assert response.status_code == 303
        assert await stored(sqlite) == []

    async def test_a_success_in_the_same_places_is_kept(self, sqlite: Database) -> None:
        """What is not raised is committed, below a mounted application and its middleware, too."""
        route = Route("/", writing_by_hand, methods=["POST"], middleware=[Middleware(Passing)])
        app = above(sqlite, Starlette(routes=[route], middleware=[Middleware(Catching)]))

        async with client(app) as http:
            await http.post("/")

        assert await stored(sqlite) == ["half"]


class TestCaughtInTheApplication:
    """An exception that somebody catches on the way is an answer only when a framework answers it."""

    async def test_an_endpoint_that_answers_in_its_except_block(self, db: Database) -> None:
        """Who looks for a row, and makes it where there is none, succeeds."""

        async def endpoint(scope: Any, receive: Any, send: Any) -> None:
            try:
                raise KeyError("nothing found")
            except KeyError:
                await (await writing_by_hand(Request(scope)))(scope, receive, send)

        async with client(site(db, Mount("/", endpoint))) as http:
            response = await http.post("/")

        assert response.status_code == 200
        assert await stored(db) == ["half"]

    async def test_an_exception_that_is_the_answer(self, db: Database) -> None:
        """A 304 is raised, and nothing has failed."""

        async def endpoint(session: SessionDep, tag: ETagDep) -> None:
            await write(session)
            tag(3)

        app = FastAPI()
        install(app, db)
        app.get("/")(endpoint)

        async with client(app) as http:
            response = await http.get("/", headers={"If-None-Match": '"3"'})

        assert response.status_code == 304
        assert await stored(db) == ["half"]

    async def test_a_middleware_that_goes_on_in_its_except_block(self, db: Database) -> None:
        """Who finds nothing in a cache, and asks the application, succeeds."""

        class Cached(Passing):
            async def dispatch(self, request: Request, call_next: Any) -> Response:
                try:
                    raise KeyError("not in the cache")
                except KeyError:
                    return await super().dispatch(request, call_next)

        app = above(
            db, Starlette(routes=[Route("/", writing_by_hand, methods=["POST"])], middleware=[Middleware(Cached)])
        )
        app.add_middleware(Cached)

        async with client(app) as http:
            await http.post("/")

        assert await stored(db) == ["half"]
