"""Models with everything that a migration has to write and to recognise again."""

from __future__ import annotations

import uuid
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, LargeBinary, String, Table, UniqueConstraint, true
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

import sqlkeel
from sqlkeel.models import DualIDMixin, IntKeyMixin, UUIDKeyMixin, association, children, parent, unique_live
from sqlkeel.soft_delete import SoftDeleteMixin
from sqlkeel.timestamps import TimestampMixin
from sqlkeel.types import Money
from sqlkeel.versions import VersionMixin


class Base(sqlkeel.Base):
    """The base of the models of these tests."""


class Email(TypeDecorator[str]):
    """A type of the project's own."""

    impl = String
    cache_ok = True


class Team(DualIDMixin, TimestampMixin, SoftDeleteMixin, VersionMixin, Base):
    """A model with every mixin."""

    __tablename__ = "team"
    __table_args__ = (unique_live("name"),)
    name: Mapped[str] = mapped_column(String(100))
    members: Mapped[list[Member]] = children(back_populates="team")


class Member(IntKeyMixin, TimestampMixin, SoftDeleteMixin, Base):
    """A model with every type, constraint and server default."""

    __tablename__ = "member"
    __table_args__ = (
        unique_live("team_id", "email"),
        UniqueConstraint("team_id", "badge"),
        CheckConstraint("balance >= 0", name="balance"),
        Index(None, "email", "badge"),
    )
    team_id: Mapped[int] = mapped_column(ForeignKey("team.id"), index=True)
    team: Mapped[Team] = parent(back_populates="members")
    email: Mapped[str] = mapped_column(Email(320))
    badge: Mapped[int]
    balance: Mapped[Decimal] = mapped_column(server_default="0")
    fee: Mapped[Decimal] = mapped_column(Money(10, 4), server_default="1.5000")
    note: Mapped[str | None]
    settings: Mapped[dict[str, Any]]
    seen_at: Mapped[datetime | None]
    active: Mapped[bool] = mapped_column(server_default=true())
    token: Mapped[uuid.UUID | None]
    size: Mapped[float | None]
    kind: Mapped[str] = mapped_column(String(10), server_default="guest")
    data: Mapped[bytes | None] = mapped_column(LargeBinary())


member_tag = Table(
    "member_tag",
    Base.metadata,
    Column("member_id", ForeignKey("member.id"), primary_key=True),
    Column("tag_id", ForeignKey("tag.id"), primary_key=True, index=True),
)


class Tag(UUIDKeyMixin, Base):
    """A model on the other side of a many-to-many."""

    __tablename__ = "tag"
    name: Mapped[str] = mapped_column(String(50), unique=True)
    members: Mapped[list[Member]] = association(member_tag)
