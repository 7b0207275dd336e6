"""Models whose deleted rows come back."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey, String, select
from sqlalchemy.orm import Mapped, mapped_column

import sqlkeel
from sqlkeel import IntKeyMixin, SoftDeleteMixin, TimestampMixin, VersionMixin, children, parent, unique_live
from sqlkeel.bulk import insert_many_returning
from sqlkeel.sessions import Session


class Base(sqlkeel.Base):
    pass


class Club(IntKeyMixin, SoftDeleteMixin, Base):
    __tablename__ = "club"

    name: Mapped[str] = mapped_column(String(50), unique=True)
    members: Mapped[list[Member]] = children(back_populates="club")


class Member(IntKeyMixin, TimestampMixin, SoftDeleteMixin, VersionMixin, Base):
    """Many deleted rows may have one address; a number stays taken."""

    __tablename__ = "member"
    __table_args__ = (unique_live("email"),)

    email: Mapped[str] = mapped_column(String(50))
    name: Mapped[str | None] = mapped_column(String(50))
    number: Mapped[int | None] = mapped_column(unique=True)
    club_id: Mapped[int | None] = mapped_column(ForeignKey("club.id"), index=True)
    club: Mapped[Club | None] = parent(back_populates="members")


class Plain(IntKeyMixin, Base):
    __tablename__ = "plain"

    name: Mapped[str] = mapped_column(String(50), unique=True)


class Rack(IntKeyMixin, SoftDeleteMixin, Base):
    __tablename__ = "rack"

    tools: Mapped[list[Tool]] = children(back_populates="rack", on_delete="restrict")


class Tool(IntKeyMixin, SoftDeleteMixin, Base):
    """Keeps its rack from being deleted."""

    __tablename__ = "tool"
    __table_args__ = (unique_live("name"),)

    name: Mapped[str] = mapped_column(String(20))
    rack_id: Mapped[int] = mapped_column(ForeignKey("rack.id"), index=True)
    rack: Mapped[Rack] = parent(back_populates="tools")


class Creature(IntKeyMixin, SoftDeleteMixin, Base):
    """One table for two classes."""

    __tablename__ = "creature"
    __table_args__ = (unique_live("name"),)
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "creature"}

    kind: Mapped[str] = mapped_column(String(20))
    name: Mapped[str] = mapped_column(String(20))


class Cat(Creature):
    __mapper_args__ = {"polymorphic_identity": "cat"}


EMAIL = [Member.email]
TABLE = Base.metadata.tables["member"]
SHOWN = {"include_deleted": True}


async def deleted(session: Session, **values: Any) -> int:
    """Make a member and delete it; return its key."""
    (member,) = await insert_many_returning(session, Member, [{"email": "a", **values}])
    await session.delete(member)
    return member.id


async def names(session: Session, **options: Any) -> list[tuple[Any, ...]]:
    """Return key, address and name of the members."""
    statement = select(Member.id, Member.email, Member.name).order_by(Member.id)
    return [tuple(row) for row in await session.execute(statement, execution_options=options)]
