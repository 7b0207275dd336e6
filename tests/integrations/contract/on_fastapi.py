"""Applications of FastAPI."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request, WebSocket
from starlette.applications import Starlette

from sqlkeel.integrations import fastapi
from sqlkeel.integrations.asgi import UnitOfWork, unit_of_work
from tests.integrations.contract.framework import App, Injecting, declared
from tests.integrations.contract.on_starlette import SUCCESS, OnStarlette

__all__ = ["OnFastAPI"]


async def _unit(request: Request) -> UnitOfWork:
    return unit_of_work(request.scope)


NAMES: dict[str, Any] = {
    "request": Request,
    "socket": WebSocket,
    "unit": Annotated[UnitOfWork, Depends(_unit)],
    "session": fastapi.SessionDep,
    "read_session": fastapi.ReadSessionDep,
    "database": fastapi.DatabaseDep,
    "if_match": fastapi.IfMatch,
    "optional_if_match": fastapi.OptionalIfMatch,
    "etag": fastapi.ETagDep,
}


class OnFastAPI(OnStarlette, Injecting):
    conditional_read = fastapi.CONDITIONAL_READ
    conditional_write = fastapi.CONDITIONAL_WRITE
    malformed = 422

    def _with_routes(self, wanted: App) -> Starlette:
        app, names = FastAPI(lifespan=wanted.lifespan), dict(NAMES)
        for name, provider in wanted.provided.items():
            names[name] = Annotated[Any, Depends(declared(provider, names), scope="function")]
        for endpoint, method, path, options in wanted.routes:
            status = {} if method == "WEBSOCKET" else {"status_code": SUCCESS.get(method, 200)}
            getattr(app, method.lower())(path, **status, **options)(declared(endpoint, names))
        return app

    def _install(self, app: Any, wanted: App) -> None:
        assert wanted.database is not None
        fastapi.install(app, wanted.database, **wanted.installed)

    def document(self, app: Any) -> Mapping[str, Any]:
        """Describe the application."""
        return app.openapi()  # type: ignore[no-any-return]
