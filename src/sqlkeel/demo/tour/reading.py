"""Reading over HTTP: a session per request, relations loaded with the query, keys for inside and outside."""

from __future__ import annotations

import asyncio
from typing import Any

from sqlalchemy import QueuePool, func, select

from sqlkeel import queries
from sqlkeel.errors import UnloadedAttribute

from ..models import Project, Release
from ..repositories import PersonRepository, ProjectRepository
from .step import Tour, Unexpected, step

__all__ = ["dual_id", "joined", "not_loaded", "repository", "selected", "sessions"]

AT_ONCE = 40


@step("Async Engine + Session")
async def sessions(tour: Tour) -> str:
    """Send 40 requests at once, each with a session of its own."""
    ids = [row.public_id for row in await tour.see(select(Project.public_id).order_by(Project.id))]
    wanted = [str(ids[number % len(ids)]) for number in range(AT_ONCE)]
    async with tour.counted():
        answers = await asyncio.gather(*(tour.call("GET", f"/projects/{public_id}") for public_id in wanted))
    tour.expect([answer.json()["public_id"] for answer in answers] == wanted, "answers were mixed up")
    pools = [engine.pool for engine in tour.db.engines]
    held = sum(pool.checkedout() for pool in pools if isinstance(pool, QueuePool))
    tour.expect(held == 0, f"{held} connections are still held")
    return f"{AT_ONCE} answers; every connection is back in the pool"


@step("Eager Loading: selectinload for collections")
async def selected(tour: Tour) -> str:
    """List projects with their newest release, page by page."""
    async with tour.counted(exactly=2):
        await tour.call("GET", "/projects", params={"size": 5})
    async with queries(tour.db) as walk:
        names, pages = await _walk(tour)
    tour.expect(len(walk) == 2 * pages, f"{len(walk)} statements for {pages} pages")
    listed = await tour.see_one(select(func.count()).select_from(Project))
    tour.expect(len(names) == len(set(names)) == listed, f"{len(set(names))} projects seen of {listed}")
    return f"{listed} projects on {pages} pages, each once; 2 statements a page, of 5 rows or of 20"


async def _walk(tour: Tour) -> tuple[list[str], int]:
    """Follow the cursors from the first page to the last."""
    names: list[str] = []
    pages, cursor = 0, ""
    while cursor is not None:
        options = {"size": 20, **({"after": cursor} if cursor else {})}
        page: dict[str, Any] = (await tour.call("GET", "/projects", params=options)).json()
        names += [item["name"] for item in page["items"] if item["latest_release"]]
        pages, cursor = pages + 1, page["next"]
    return names, pages


@step("Eager Loading: joinedload for single relationships")
async def joined(tour: Tour) -> str:
    """List releases by offset, each with its project."""
    async with tour.counted(exactly=1) as log:
        page = (await tour.call("GET", "/releases", params={"skip": 5, "limit": 20})).json()
    tour.expect(" JOIN " in next(iter(log)), "no JOIN was sent")
    tour.expect(all(item["project"]["name"] for item in page), "a release without its project")
    return f"{len(page)} releases with their projects in one statement with a JOIN"


@step("Eager Loading: raiseload to detect N+1")
async def not_loaded(tour: Tour) -> str:
    """Touch a relationship that the query did not load."""
    async with tour.counted(exactly=1), tour.db.read() as session:
        (project,) = await ProjectRepository(session).get_all(limit=1)
        try:
            found = project.releases
        except UnloadedAttribute as error:
            return f"UnloadedAttribute: {error.message}"
    raise Unexpected(f"it was loaded behind the scenes: {found}")


@step("Dual ID Pattern")
async def dual_id(tour: Tour) -> str:
    """Read a project by its public id, and try its internal one."""
    key, public_id = (await tour.see(select(Project.id, Project.public_id).limit(1)))[0]
    async with tour.counted():
        shown = (await tour.call("GET", f"/projects/{public_id}")).json()
        await tour.call("GET", f"/projects/{key}", status=404)
    tour.expect("id" not in shown, "the internal id is shown")
    joins = await tour.see_one(select(func.count()).select_from(Release).where(Release.project_id == key))
    tour.expect(joins > 0, "no release joins by the internal id")
    return f"the UUID finds it, {key} does not, though releases join by it"


@step("Repository Pattern")
async def repository(tour: Tour) -> str:
    """Ask for many keys in order, and let 20 callers get or create one person."""
    keys = [row.id for row in await tour.see(select(Project.id).order_by(Project.name.desc()).limit(10))]
    async with tour.counted():
        async with tour.db.read() as session:
            projects = await ProjectRepository(session).get_many(keys)
        found = await asyncio.gather(*(tour.db.run_transaction(_get_or_create) for _ in range(20)))
    tour.expect([project.id for project in projects] == keys, "not in the order of the keys")
    made = [created for _, created in found].count(True)
    tour.expect(made == 1 and len({key for key, _ in found}) == 1, f"{made} people were made")
    return f"{len(keys)} projects in the order asked for; 20 callers share one new person"


async def _get_or_create(session: Any) -> tuple[int, bool]:
    person, created = await PersonRepository(session).get_or_create({"name": "Ada Lovelace", "email": "ada@x.org"})
    return person.id, created
