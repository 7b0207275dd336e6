"""What goes in and out over HTTP."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Generic, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from sqlkeel.models import uuid7

__all__ = [
    "AccountIn",
    "AccountOut",
    "Amount",
    "BatchOut",
    "FileOut",
    "HealthOut",
    "PageOut",
    "ProjectEdit",
    "ProjectIn",
    "ProjectOut",
    "ProjectWithReleaseOut",
    "RefusedLine",
    "ReleaseIn",
    "ReleaseOut",
    "ReleaseWithProjectOut",
    "TransferIn",
    "TransferOut",
]

Item = TypeVar("Item")
Amount = Annotated[Decimal, Field(ge=0, max_digits=18, decimal_places=2)]


class Out(BaseModel):
    """Read from the attributes of a model."""

    model_config = ConfigDict(from_attributes=True)


class PageOut(Out, Generic[Item]):
    """A page of a list; send ``next`` as ``after`` to get the next page."""

    items: list[Item]
    next: str | None
    previous: str | None


class ReleaseIn(BaseModel):
    """A release to publish with its project."""

    number: str = Field(min_length=1, max_length=100)


class ProjectIn(BaseModel):
    """A project to publish."""

    name: str = Field(min_length=1, max_length=200)
    description: str = ""
    releases: list[ReleaseIn] = []


class ProjectEdit(BaseModel):
    """The changes of a project that a client can send."""

    description: str


class ReleaseOut(Out):
    """A release."""

    public_id: UUID
    number: str
    requires_python: str
    size: int | None
    created_at: datetime


class ProjectOut(Out):
    """A project; ``version`` goes back as ``If-Match``."""

    public_id: UUID
    name: str
    description: str
    version: int
    created_at: datetime
    updated_at: datetime


class ProjectWithReleaseOut(ProjectOut):
    """A project with its newest release."""

    latest_release: ReleaseOut | None


class ProjectName(Out):
    """A project, in short."""

    public_id: UUID
    name: str


class ReleaseWithProjectOut(ReleaseOut):
    """A release and whose it is."""

    project: ProjectName


class FileOut(Out):
    """A file."""

    path: str
    size: int | None
    hash: str | None


class AccountIn(BaseModel):
    """An account to open."""

    holder: str = Field(min_length=1, max_length=200)
    balance: Amount = Decimal(0)
    project: UUID | None = None


class AccountOut(Out):
    """An account."""

    public_id: UUID
    holder: str
    balance: Decimal


class TransferIn(BaseModel):
    """A transfer to make; send the same ``id`` again when you do not know whether it was made."""

    id: UUID = Field(default_factory=uuid7)
    sender: UUID
    recipient: UUID
    amount: Amount


class TransferOut(Out):
    """A transfer that was made."""

    id: UUID
    amount: Decimal
    created_at: datetime


class RefusedLine(BaseModel):
    """A line of a batch that was not made, and the code of the reason."""

    line: int
    reason: str


class BatchOut(BaseModel):
    """What became of a batch."""

    made: int
    refused: list[RefusedLine]


class HealthOut(BaseModel):
    """The kind of the database that has answered."""

    database: str
