"""The service itself: its pages for people, and whether it can work."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from sqlkeel.integrations.fastapi import DatabaseDep

from ..pages import api_page, front_page
from ..schemas import HealthOut

__all__ = ["router"]

router = APIRouter(tags=["service"])


@router.get("/health")
async def read_health(db: DatabaseDep) -> HealthOut:
    """Ask the database for one value; 503 where it does not answer."""
    await db.check()
    return HealthOut(database=db.dialect)


@router.get("/", include_in_schema=False)
async def show_links(request: Request) -> HTMLResponse:
    """Show where to go."""
    return HTMLResponse(front_page(request.app.title, request.app.openapi()))


@router.get("/docs", include_in_schema=False)
async def show_api(request: Request) -> HTMLResponse:
    """Show what the API takes and answers."""
    return HTMLResponse(api_page(request.app.title, request.app.openapi()))
