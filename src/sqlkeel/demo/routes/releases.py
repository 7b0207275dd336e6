"""Releases and their files: list, withdraw, bring back."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from sqlkeel import Page
from sqlkeel.integrations.fastapi import PathID, ReadSessionDep, SessionDep

from ..models import Release, ReleaseFile
from ..repositories import ReleaseFileRepository, ReleaseRepository
from ..schemas import FileOut, PageOut, ReleaseWithProjectOut

__all__ = ["router"]

router = APIRouter(prefix="/releases", tags=["releases"])
PageSize = Annotated[int, Query(ge=1, le=200)]


@router.get("", response_model=list[ReleaseWithProjectOut])
async def list_releases(
    session: ReadSessionDep, skip: Annotated[int, Query(ge=0)] = 0, limit: PageSize = 50
) -> list[Release]:
    """List the releases, the newest first, each with its project."""
    return await ReleaseRepository(session).get_all(
        order_by=Release.created_at.desc(), skip=skip, limit=limit, load=[Release.project]
    )


@router.get("/withdrawn", response_model=list[ReleaseWithProjectOut])
async def list_withdrawn(session: ReadSessionDep, limit: PageSize = 50) -> list[Release]:
    """List the releases that were withdrawn and can be brought back, the last one first."""
    return await ReleaseRepository(session).get_all(
        Release.deleted_at.is_not(None),
        order_by=Release.deleted_at.desc(),
        limit=limit,
        load=[Release.project],
        include_deleted=True,
    )


@router.get("/{public_id}", response_model=ReleaseWithProjectOut)
async def read_release(public_id: PathID[Release], session: ReadSessionDep) -> Release:
    """Return a release with its project."""
    return await ReleaseRepository(session).get_one_by_public_id(public_id, load=[Release.project])


@router.get("/{public_id}/files", response_model=PageOut[FileOut])
async def list_files(
    public_id: PathID[Release], session: ReadSessionDep, size: PageSize = 100, after: str | None = None
) -> Page[ReleaseFile]:
    """List the files of a release by path."""
    release = await ReleaseRepository(session).get_one_by_public_id(public_id)
    return await ReleaseFileRepository(session).page(
        ReleaseFile.release_id == release.id, order_by=ReleaseFile.path, size=size, after=after
    )


@router.delete("/{public_id}", status_code=204)
async def withdraw_release(public_id: PathID[Release], session: SessionDep) -> None:
    """Withdraw a release with its files."""
    releases = ReleaseRepository(session)
    await releases.delete(await releases.get_one_by_public_id(public_id))


@router.delete("/{public_id}/files", status_code=204)
async def withdraw_file(public_id: PathID[Release], path: Annotated[str, Query()], session: SessionDep) -> None:
    """Withdraw one file of a release."""
    release = await ReleaseRepository(session).get_one_by_public_id(public_id)
    files = ReleaseFileRepository(session)
    await files.delete(await files.get_by_path(release, path))


@router.post("/{public_id}/restore", response_model=ReleaseWithProjectOut)
async def restore_release(public_id: PathID[Release], session: SessionDep) -> Release:
    """Bring a withdrawn release back, with the files that were withdrawn together with it."""
    releases = ReleaseRepository(session)
    release = await releases.get_one_by_public_id(public_id, load=[Release.project], include_deleted=True)
    return await releases.restore(release)
