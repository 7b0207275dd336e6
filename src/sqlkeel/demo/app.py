"""The service: a FastAPI application over one database."""

from __future__ import annotations

from fastapi import FastAPI

from sqlkeel import Database
from sqlkeel.integrations.fastapi import install

from .routes import payments, projects, releases, service

__all__ = ["create_app"]


def create_app(db: Database) -> FastAPI:
    """Return the service on *db*; its tables must exist."""
    # Without FastAPI's own pages for the API, which load scripts from another host.
    app = FastAPI(
        title="Package index", description="What is installed on this machine.", docs_url=None, redoc_url=None
    )
    install(app, db)
    for routes in (service, projects, releases, payments):
        app.include_router(routes.router)
    return app
