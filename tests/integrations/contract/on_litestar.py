"""Applications of Litestar."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import litestar
from litestar.background_tasks import BackgroundTask
from litestar.di import NamedDependency, Provide
from litestar.exceptions import HTTPException, LitestarException
from litestar.params import FromPath, FromQuery
from litestar.response import Stream

from sqlkeel.integrations import litestar as ours
from sqlkeel.integrations.asgi import UnitOfWork, unit_of_work
from tests.integrations.contract.framework import App, Injecting, Route, Task, declared

__all__ = ["OnLitestar"]

Request = litestar.Request[Any, Any, Any]
NAMES: dict[str, Any] = {
    "request": Request,
    "socket": litestar.WebSocket[Any, Any, Any],
    "unit": NamedDependency[UnitOfWork],
    "session": ours.SessionDep,
    "read_session": ours.ReadSessionDep,
    "database": ours.DatabaseDep,
    "if_match": ours.IfMatch,
    "optional_if_match": ours.OptionalIfMatch,
    "etag": ours.ETagDep,
}


async def _unit(request: Request) -> UnitOfWork:
    scope: Any = request.scope
    return unit_of_work(scope)


class OnLitestar(Injecting):
    http_error = HTTPException
    broken_stream = LitestarException
    integration = ours
    conditional_read = ours.CONDITIONAL_READ
    conditional_write = ours.CONDITIONAL_WRITE
    malformed = 400

    def _made(self, wanted: App) -> Any:
        def handle(request: Request, error: Exception) -> litestar.Response[None]:
            wanted.seen()
            return litestar.Response(None, status_code=wanted.status)

        names = NAMES | dict.fromkeys(wanted.provided, NamedDependency[Any])  # type: ignore[misc]
        below = [] if wanted.below is None else [litestar.asgi("/below", is_mount=True, copy_scope=True)(wanted.below)]
        provided = {name: Provide(declared(one, names)) for name, one in wanted.provided.items()}
        return litestar.Litestar(
            [*(_handler(one, names) for one in wanted.routes), *below],
            plugins=[] if wanted.database is None else [ours.SQLKeelPlugin(wanted.database, **wanted.installed)],
            dependencies={"unit": Provide(_unit), **provided},
            exception_handlers={wanted.kind: handle},
            lifespan=[] if wanted.lifespan is None else [wanted.lifespan],
            logging_config=None,
        )

    def running(self, app: Any) -> AbstractAsyncContextManager[Any]:
        """Run its lifespan."""
        return app.lifespan()  # type: ignore[no-any-return]

    def answer(self, content: Any = None, *, status: int = 201, task: Task | None = None) -> Any:
        """Answer with JSON."""
        return litestar.Response(content, status_code=status, background=BackgroundTask(task) if task else None)

    def stream(self, chunks: AsyncIterator[str]) -> Any:
        """Answer with a stream."""
        return Stream(chunks)

    def document(self, app: Any) -> Mapping[str, Any]:
        """Describe the application."""
        return app.openapi_schema.to_schema()  # type: ignore[no-any-return]


def _handler(route: Route, names: Mapping[str, Any]) -> Any:
    def parameter(name: str, kind: Any) -> Any:
        return FromPath[kind] if f"{{{name}:" in route.path else FromQuery[kind]  # type: ignore[misc]

    endpoint = declared(route.endpoint, names, otherwise=parameter)
    return getattr(litestar, route.method.lower())(route.path, **route.options)(endpoint)
