"""Exceptions that are answered with a success, wherever they are raised and whoever answers them."""

import asyncio
import copy
import functools
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, cast

import anyio
import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException
from fastapi.exceptions import RequestValidationError, ResponseValidationError
from litestar import Litestar, post
from litestar import Request as LitestarRequest
from litestar.response import Redirect
from sqlalchemy import event
from sqlalchemy.exc import InvalidRequestError
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Host, Mount, Route, Router

from sqlkeel import Database, Session
from sqlkeel.errors import ConfigurationError, NoTransaction
from sqlkeel.integrations._failures import WatchedScope, are_watched
from sqlkeel.integrations.asgi import UnitOfWork, UnitOfWorkMiddleware
from sqlkeel.integrations.fastapi import ETagDep, SessionDep, install
from sqlkeel.integrations.litestar import session_of as session_of_litestar
from sqlkeel.integrations.starlette import database_of, session_of
from tests.fixtures.databases import OpenDatabase
from tests.integrations.tables import Base, Note, stored
from tests.integrations.wire import ANSWER, Exchange, client

pytestmark = pytest.mark.tables(Base.metadata)


class FormError(Exception):
    """What a form is shown again for."""


async def write(session: Session) -> None:
    """Write half of what there is to write."""
    session.add(Note(text="half"))
    await session.flush()


async def back(request: Request, error: Exception) -> Response:
    """Send the client back to the form."""
    return RedirectResponse("/form", 303)


def back_in_a_thread(request: Request, error: Exception) -> Response:
    """Send the client back to the form, in synchronous code."""
    return RedirectResponse("/form", 303)


class Back:
    """A handler that is an object."""

    async def __call__(self, request: Request, error: Exception) -> Response:
        """Send the client back to the form."""
        return await back(request, error)


async def half(session: SessionDep) -> None:
    """Write half, and fail."""
    await write(session)
    raise FormError


async def write_in_a_dependency(session: SessionDep) -> None:
    """Write half, before the endpoint."""
    await write(session)


async def half_by_hand(request: Request) -> Response:
    """Write half, and fail, as an endpoint of Starlette."""
    await write(await session_of(request))
    raise FormError


async def writing_by_hand(request: Request) -> Response:
    """Write, and answer, as an endpoint of Starlette."""
    await write(await session_of(request))
    return Response()


async def never_ready(request: Request) -> Response:
    """Write half, and let the time be over."""
    await write(await session_of(request))
    request.scope["limit"].reschedule(0)
    await asyncio.Event().wait()
    return Response()


async def never_ready_anyio(request: Request) -> Response:
    """Write half, and let the cancel scope be cancelled."""
    await write(await session_of(request))
    request.scope["cancel scope"].cancel()
    await asyncio.Event().wait()
    return Response()


async def never_ready_dependency(request: Request, session: SessionDep) -> None:
    """Write half in a service, and let the time be over."""
    await never_ready(request)


class NeverReady(HTTPEndpoint):
    """An endpoint that is a class, and takes too long."""

    async def post(self, request: Request) -> Response:
        """Write half, and let the time be over."""
        return await never_ready(request)


class HalfEndpoint(HTTPEndpoint):
    """An endpoint that is a class."""

    async def post(self, request: Request) -> Response:
        """Write half, and fail."""
        return await half_by_hand(request)


class CatchingLate:
    """A middleware that answers an exception when it has left the `except` block."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection."""
        failed = False
        try:
            await self.app(scope, receive, send)
        except FormError:
            failed = True
        if failed:
            await RedirectResponse("/form", 303)(scope, receive, send)


class Catching(BaseHTTPMiddleware):
    """A middleware of Starlette's kind that answers an exception, in another task than the endpoint's."""

    async def dispatch(self, request: Request, call_next: Any) -> Response:
        """Serve one request."""
        try:
            return await call_next(request)  # type: ignore[no-any-return]
        except FormError:
            return RedirectResponse("/form", 303)


class TimingOut:
    """A middleware that sends the client back to the form when it has waited for too long."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection."""
        try:
            async with asyncio.timeout(None) as scope["limit"]:
                await self.app(scope, receive, send)
        except TimeoutError:
            await RedirectResponse("/form", 303)(scope, receive, send)


class TimingOutAnyio:
    """The same with a cancel scope of anyio, which leaves no exception behind."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection."""
        with anyio.CancelScope() as scope["cancel scope"]:
            await self.app(scope, receive, send)
        if scope["cancel scope"].cancelled_caught:
            await RedirectResponse("/form", 303)(scope, receive, send)


class Passing(BaseHTTPMiddleware):
    """A middleware of Starlette's kind that does nothing, in another task than the endpoint's."""

    async def dispatch(self, request: Request, call_next: Any) -> Response:
        """Serve one request."""
        return await call_next(request)  # type: ignore[no-any-return]


class FailingLate(BaseHTTPMiddleware):
    """A middleware of Starlette's kind that fails when the endpoint has answered."""

    async def dispatch(self, request: Request, call_next: Any) -> Response:
        """Serve one request."""
        await call_next(request)
        raise FormError


class FailingAtTheEnd:
    """A middleware that holds the answer back to the end, and fails then."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection."""

        async def keep(message: Any) -> None:
            return None

        await self.app(scope, receive, keep)
        raise FormError


class Elsewhere:
    """A middleware whose ``app`` is not what it runs, and leads in a circle."""

    def __init__(self, app: Any) -> None:
        self.inner = app
        self.app = self

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection."""
        await self.inner(scope, receive, send)


@dataclass(frozen=True)
class Frozen:
    """A middleware that cannot be changed."""

    app: Any

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection."""
        await self.app(scope, receive, send)


class Copying:
    """A middleware that gives what is below a scope of its own."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection."""
        await self.app({**scope}, receive, send)


def service(db: Database, endpoint: Any = half, handler: Any = back, **options: Any) -> FastAPI:
    """Return a service of one endpoint that answers a `FormError` with a redirection."""
    app = FastAPI(exception_handlers={FormError: handler})
    install(app, db)
    app.post("/", **options)(endpoint)
    return app


def site(db: Database, *routes: BaseRoute) -> Starlette:
    """Return a site of Starlette's that answers a `FormError` with a redirection."""
    app = Starlette(routes=routes, exception_handlers={FormError: back})
    install(app, db)
    return app


def above(db: Database, below: Any) -> FastAPI:
    """Return a service that answers nothing in its own way, with *below* in it."""
    app = FastAPI()
    install(app, db)
    app.mount("/", below)
    return app


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


def _writing_in_both(outer: Database) -> Any:
    async def endpoint(session: SessionDep) -> None:
        await write(session)
        async with outer.transaction():
            pass
        raise FormError

    return endpoint


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
