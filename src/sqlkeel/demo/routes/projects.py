"""Projects: list, read, publish, edit, remove."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from sqlkeel import Page
from sqlkeel.integrations.fastapi import IfMatch, ReadSessionDep, SessionDep

from ..models import Project
from ..repositories import ProjectRepository, ReleaseRepository
from ..schemas import PageOut, ProjectEdit, ProjectIn, ProjectOut

__all__ = ["router"]

router = APIRouter(prefix="/projects", tags=["projects"])
PageSize = Annotated[int, Query(ge=1, le=200)]


@router.get("", response_model=PageOut[ProjectOut])
async def list_projects(
    session: ReadSessionDep, size: PageSize = 50, after: str | None = None, before: str | None = None
) -> Page[Project]:
    """List the projects by name, each with its newest release."""
    return await ProjectRepository(session).page(
        order_by=Project.name, size=size, after=after, before=before, load=[Project.releases]
    )


@router.get("/{public_id}", response_model=ProjectOut)
async def read_project(public_id: UUID, session: ReadSessionDep, response: Response) -> Project:
    """Return a project; its ETag is the version that an edit has to name."""
    project = await ProjectRepository(session).get_by_public_id(public_id, load=[Project.releases])
    response.headers["ETag"] = f'"{project.version}"'
    return project


@router.post("", response_model=ProjectOut, status_code=201)
async def publish_project(body: ProjectIn, session: SessionDep) -> Project:
    """Publish a project with its releases: all of it, or nothing."""
    project = await ProjectRepository(session).create(name=body.name, description=body.description)
    for release in body.releases:
        await ReleaseRepository(session).create(project=project, number=release.number)
    return project


@router.patch("/{public_id}", response_model=ProjectOut)
async def edit_project(
    public_id: UUID, body: ProjectEdit, version: IfMatch, session: SessionDep, response: Response
) -> Project:
    """Edit a project, unless somebody else did so since it was read."""
    projects = ProjectRepository(session)
    project = await projects.get_by_public_id(public_id, load=[Project.releases])
    await projects.update(project, body.model_dump(), expected_version=version)
    response.headers["ETag"] = f'"{project.version}"'
    return project


@router.delete("/{public_id}", status_code=204)
async def remove_project(public_id: UUID, session: SessionDep) -> None:
    """Remove a project for good, with all that belongs to it."""
    projects = ProjectRepository(session)
    await projects.delete(await projects.get_by_public_id(public_id))
