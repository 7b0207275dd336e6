"""Writing over HTTP: all or nothing, no lost update, the server's clock."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select

from ..models import Project
from .step import Tour, step

__all__ = ["commit", "duplicate", "not_modified", "optimistic_locking", "roll_back", "timestamps"]

MAX_SKEW = 60


@step("Commit/Rollback")
async def commit(tour: Tour) -> str:
    """Publish a project with a release."""
    body = {"name": "keel-demo", "releases": [{"number": "1.0"}]}
    async with tour.counted():
        made = (await tour.call("POST", "/projects", json=body, status=201)).json()
    tour.expect(await _count(tour, "keel-demo") == 1, "nobody else sees it")
    tour.expect(made["latest_release"]["number"] == "1.0", "without its release")
    return "201, and committed before the answer is sent"


@step("Commit/Rollback")
async def roll_back(tour: Tour) -> str:
    """Publish a project whose second release is refused."""
    body = {"name": "keel-broken", "releases": [{"number": "1.0"}, {"number": "1.0"}]}
    async with tour.counted():
        answer = await tour.call("POST", "/projects", json=body, status=409)
    tour.expect(await _count(tour, "keel-broken") == 0, "half of it was kept")
    return f"409 {answer.json()['columns']}; the project is rolled back with it"


@step("Commit/Rollback")
async def duplicate(tour: Tour) -> str:
    """Publish a project whose name is taken."""
    async with tour.counted():
        problem = (await tour.call("POST", "/projects", json={"name": "keel-demo"}, status=409)).json()
    tour.expect(problem["columns"] == ["name"], f"blames {problem}")
    tour.expect(await _count(tour, "keel-demo") == 1, "two projects have the name")
    return f"409 by {problem['constraint']}, columns {problem['columns']}"


@step("Optimistic Locking")
async def optimistic_locking(tour: Tour) -> str:
    """Let two editors change one description, both from the version that they read."""
    path = f"/projects/{await _public_id(tour, 'keel-demo')}"
    tag = (await tour.call("GET", path)).headers["ETag"]
    edits = [{"description": "by Ada"}, {"description": "by Grace"}]
    async with tour.counted():
        answers = await asyncio.gather(*(tour.http.patch(path, json=edit, headers={"If-Match": tag}) for edit in edits))
    refused, kept = sorted(answers, key=lambda answer: answer.status_code, reverse=True)
    tour.expect((kept.status_code, refused.status_code) == (200, 412), f"{kept.status_code} and {refused.status_code}")
    stored = await tour.see_one(select(Project.description).where(Project.name == "keel-demo"))
    tour.expect(stored == kept.json()["description"], f"stored is {stored!r}")
    problem = refused.json()
    return f"one 200; the other 412: made on version {problem['expected']}, now at {problem['current']}"


@step("Optimistic Locking")
async def not_modified(tour: Tour) -> str:
    """Read a project again with the ETag of the first time, before and after an edit."""
    path = f"/projects/{await _public_id(tour, 'keel-demo')}"
    tag = (await tour.call("GET", path)).headers["ETag"]
    async with tour.counted():
        same = await tour.call("GET", path, headers={"If-None-Match": tag}, status=304)
        await tour.call("PATCH", path, json={"description": "read again"}, headers={"If-Match": tag})
        other = await tour.call("GET", path, headers={"If-None-Match": tag})
    tour.expect(same.content == b"", "a 304 with a body")
    return f"304 without a body for {tag}; after the edit 200 and {other.headers['ETag']}"


@step("Timestamp Mixin")
async def timestamps(tour: Tour) -> str:
    """Edit a project, and compare its times with the clock."""
    path = f"/projects/{await _public_id(tour, 'keel-demo')}"
    before = await tour.call("GET", path)
    headers = {"If-Match": before.headers["ETag"]}
    async with tour.counted():
        after = (await tour.call("PATCH", path, json={"description": "edited"}, headers=headers)).json()
    tour.expect(after["created_at"] == before.json()["created_at"], "created_at moved")
    earlier, later = (datetime.fromisoformat(each["updated_at"]) for each in (before.json(), after))
    tour.expect(later > earlier, "updated_at did not move")
    tour.expect(later.utcoffset() == timedelta(0), f"{later} is not in UTC")
    seconds = abs((datetime.now(UTC) - later).total_seconds())
    tour.expect(seconds < MAX_SKEW, f"the server's clock is {seconds:.0f} s from ours")
    return f"updated_at moved, created_at did not; aware, UTC, {seconds:.2f} s from our clock"


async def _count(tour: Tour, name: str) -> int:
    found = await tour.see_one(select(func.count()).select_from(Project).where(Project.name == name))
    return int(found)


async def _public_id(tour: Tour, name: str) -> str:
    return str(await tour.see_one(select(Project.public_id).where(Project.name == name)))
