"""Projects: list, read, publish, edit, remove."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from sqlkeel import Page
from sqlkeel.integrations.fastapi import (
    CONDITIONAL_READ,
    CONDITIONAL_WRITE,
    ETagDep,
    IfMatch,
    PathID,
    ReadSessionDep,
    SessionDep,
)

from ..models import Project
from ..repositories import ProjectRepository, ReleaseRepository
from ..schemas import PageOut, ProjectEdit, ProjectIn, ProjectOut, ProjectWithReleaseOut

__all__ = ["router"]

router = APIRouter(prefix="/projects", tags=["projects"])
PageSize = Annotated[int, Query(ge=1, le=200)]


@router.get("", response_model=PageOut[ProjectWithReleaseOut])
async def list_projects(
    session: ReadSessionDep, size: PageSize = 50, after: str | None = None, before: str | None = None
) -> Page[Project]:
    """List the projects by name, each with its newest release."""
    return await ProjectRepository(session).page(
        order_by=Project.name, size=size, after=after, before=before, load=[Project.releases]
    )


@router.get("/{public_id}", response_model=ProjectOut, responses=CONDITIONAL_READ)
async def read_project(public_id: PathID[Project], session: ReadSessionDep, tag: ETagDep) -> Project:
    """Return a project without its releases: its ETag is the version, and this is all that the version counts."""
    project = await ProjectRepository(session).get_one_by_public_id(public_id)
    tag(project.version)
    return project


@router.post("", response_model=ProjectWithReleaseOut, status_code=201)
async def publish_project(body: ProjectIn, session: SessionDep) -> Project:
    """Publish a project with its releases: all of it, or nothing."""
    project = await ProjectRepository(session).create(name=body.name, description=body.description)
    for release in body.releases:
        await ReleaseRepository(session).create(project=project, number=release.number)
    return project


@router.patch("/{public_id}", response_model=ProjectOut, responses=CONDITIONAL_WRITE)
async def edit_project(
    public_id: PathID[Project], body: ProjectEdit, version: IfMatch, session: SessionDep, tag: ETagDep
) -> Project:
    """Edit a project, unless somebody else did so since it was read."""
    projects = ProjectRepository(session)
    project = await projects.get_one_by_public_id(public_id)
    await projects.update(project, body.model_dump(), expected_version=version)
    tag(project.version)
    return project


@router.delete("/{public_id}", status_code=204)
async def remove_project(public_id: PathID[Project], session: SessionDep) -> None:
    """Remove a project for good, with all that belongs to it."""
    projects = ProjectRepository(session)
    await projects.delete(await projects.get_one_by_public_id(public_id))
