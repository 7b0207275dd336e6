"""Delete over HTTP: soft-delete and restore exactly the same rows, purge, or delete for good."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import DeclarativeBase

from sqlkeel.soft_delete import purge

from ..models import Project, Release, ReleaseClassifier, ReleaseFile, ReleasePerson, ReleaseRequirement
from .step import Tour, step

__all__ = ["cascade_delete", "purge_old", "soft_delete"]

PARTS = (Release, ReleaseFile, ReleasePerson, ReleaseClassifier, ReleaseRequirement)


@step("Soft Delete Pattern")
async def soft_delete(tour: Tour) -> str:
    """Withdraw a file, then its release with all files; restore the release."""
    release = await _largest(tour)
    path, files = f"/releases/{release.public_id}", release.files
    first = await tour.see_one(select(ReleaseFile.path).where(ReleaseFile.release_id == release.id).limit(1))
    await tour.call("DELETE", f"{path}/files", params={"path": first}, status=204)

    async with tour.counted():
        await tour.call("DELETE", path, status=204)
    await tour.call("GET", path, status=404)
    deletions = await tour.see(
        select(ReleaseFile.deletion_id, func.count())
        .where(ReleaseFile.release_id == release.id)
        .group_by(ReleaseFile.deletion_id)
    )
    sizes = sorted(count for _, count in deletions)
    tour.expect(sizes == sorted([1, files - 1]), f"deleted together: {sizes} of {files} files")
    tour.expect(
        await _rows(tour, ReleaseFile, ReleaseFile.release_id == release.id) == files, "files are gone for good"
    )

    async with tour.counted():
        await tour.call("POST", f"{path}/restore")
    await tour.call("GET", path)
    dead = await tour.see(
        select(ReleaseFile.path).where(ReleaseFile.release_id == release.id, ReleaseFile.deleted_at.is_not(None))
    )
    tour.expect([row.path for row in dead] == [first], f"still deleted: {len(dead)} files")
    return f"{files - 1:,} files went and came back with the release; the one withdrawn before stayed away"


@step("Soft Delete Pattern")
async def purge_old(tour: Tour) -> str:
    """Purge the files that were withdrawn; the others stay."""
    before, dead = await _rows(tour, ReleaseFile), await _rows(tour, ReleaseFile, ReleaseFile.deleted_at.is_not(None))
    async with tour.counted():
        done = [progress async for progress in purge(tour.db, ReleaseFile, older_than=timedelta(microseconds=1))]
    tour.expect(dead > 0 and done[-1].removed == dead, f"{done[-1].removed} of {dead} removed")
    tour.expect(await _rows(tour, ReleaseFile) == before - dead, "others went, too")
    return f"{dead} removed for good, {before - dead:,} live ones left"


@step("Cascade Delete")
async def cascade_delete(tour: Tour) -> str:
    """Remove the largest project for good; the database takes along what belongs to it."""
    release = await _largest(tour)
    path = f"/projects/{await tour.see_one(select(Project.public_id).where(Project.id == release.project_id))}"
    before = [await _rows(tour, part) for part in PARTS]
    async with tour.counted():
        await tour.call("DELETE", path, status=204)
    await tour.call("GET", path, status=404)
    left = await _rows(tour, ReleaseFile, ReleaseFile.release_id == release.id)
    tour.expect(left == 0, f"{left} files are left")
    gone = sum(before) - sum([await _rows(tour, part) for part in PARTS])
    tour.expect(gone > release.files, f"only {gone} rows went")
    return f"{gone:,} rows of {len(PARTS)} tables went with it"


async def _largest(tour: Tour) -> Any:
    """Return the release with the most files."""
    count = func.count(ReleaseFile.id).label("files")
    statement = (
        select(Release.id, Release.public_id, Release.project_id, count)
        .join(Release.files)
        .group_by(Release.id, Release.public_id, Release.project_id)
        .order_by(count.desc())
    )
    return (await tour.see(statement.limit(1)))[0]


async def _rows(tour: Tour, model: type[DeclarativeBase], *where: ColumnElement[bool]) -> int:
    return int(await tour.see_one(select(func.count()).select_from(model).where(*where)))
