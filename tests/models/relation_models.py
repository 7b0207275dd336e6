"""Models with a relation of each kind, and pairs of classes that are declared for one test."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Column, ForeignKey, Integer, String, Table
from sqlalchemy.orm import Mapped, WriteOnlyMapped, mapped_column

import sqlkeel
from sqlkeel.errors import CascadeMismatch
from sqlkeel.models import association, children, parent
from sqlkeel.models._relations import KeepsRows


class Base(sqlkeel.Base):
    pass


user_role = Table(
    "user_role",
    Base.metadata,
    Column("user_id", ForeignKey("user.id"), primary_key=True),
    Column("role_id", ForeignKey("role.id"), primary_key=True),
)


class User(Base):
    __tablename__ = "user"
    id: Mapped[int] = mapped_column(primary_key=True)
    articles: Mapped[list[Article]] = children(back_populates="author", order_by="Article.id")
    comments: Mapped[list[Comment]] = children(back_populates="author", on_delete="set null")
    invoices: Mapped[list[Invoice]] = children(back_populates="user", on_delete="restrict")
    devices: Mapped[list[Device]] = children(back_populates="owner", delete_orphan=True)
    visits: WriteOnlyMapped[Visit] = children(lazy="write_only")
    roles: Mapped[list[Role]] = association(user_role, back_populates="users")


class Article(Base):
    __tablename__ = "article"
    id: Mapped[int] = mapped_column(primary_key=True)
    author_id: Mapped[int] = mapped_column(ForeignKey("user.id"), index=True)
    author: Mapped[User] = parent(back_populates="articles")


class Comment(Base):
    __tablename__ = "comment"
    id: Mapped[int] = mapped_column(primary_key=True)
    author_id: Mapped[int | None] = mapped_column(ForeignKey("user.id"), index=True)
    author: Mapped[User | None] = parent(back_populates="comments")


class Invoice(Base):
    __tablename__ = "invoice"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int | None] = mapped_column(ForeignKey("user.id"), index=True)
    user: Mapped[User | None] = parent(back_populates="invoices")


class Device(Base):
    __tablename__ = "device"
    id: Mapped[int] = mapped_column(primary_key=True)
    owner_id: Mapped[int] = mapped_column(ForeignKey("user.id"), index=True)
    owner: Mapped[User] = parent(back_populates="devices")


class Visit(Base):
    __tablename__ = "visit"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id"), index=True)


class Role(Base):
    __tablename__ = "role"
    id: Mapped[int] = mapped_column(primary_key=True)
    users: Mapped[list[User]] = association("user_role", back_populates="roles")


class Node(Base):
    __tablename__ = "node"
    id: Mapped[int] = mapped_column(primary_key=True)
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("node.id"), index=True)
    above: Mapped[Node | None] = parent(back_populates="below", remote_side="Node.id")
    below: Mapped[list[Node]] = children(back_populates="above")
    notes: Mapped[list[Note]] = children(back_populates="node", on_delete="set null")


class Note(Base):
    __tablename__ = "note"
    id: Mapped[int] = mapped_column(primary_key=True)
    node_id: Mapped[int | None] = mapped_column(ForeignKey("node.id"), index=True)
    node: Mapped[Node | None] = parent(back_populates="notes")


class Animal(Base):
    __tablename__ = "animal"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(10))
    zoo_id: Mapped[int] = mapped_column(ForeignKey("zoo.id"), index=True)
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "animal"}


class Lion(Animal):
    __tablename__ = "lion"
    id: Mapped[int] = mapped_column(ForeignKey("animal.id"), primary_key=True)
    __mapper_args__ = {"polymorphic_identity": "lion"}


class Zoo(Base):
    __tablename__ = "zoo"
    id: Mapped[int] = mapped_column(primary_key=True)
    animals: Mapped[list[Animal]] = children()


def pair(
    *,
    key: ForeignKey,
    down: Any = None,
    up: Any = None,
    base: Any = sqlkeel.Base,
    nullable: bool = True,
    soft: bool = False,
) -> Any:
    """Return a base with a team and its players, related as told; nothing is configured yet."""

    class Base(base):
        pass

    team: dict[str, Any] = {"__tablename__": "team", "id": mapped_column(Integer, primary_key=True)}
    player: dict[str, Any] = {
        "__tablename__": "player",
        "id": mapped_column(Integer, primary_key=True),
        "team_id": mapped_column(key, nullable=nullable),
    }
    # The registry holds its classes weakly.
    Base.models = (
        type("Team", (Base,), team | ({"players": down} if down is not None else {})),
        type("Player", (KeepsRows, Base) if soft else (Base,), player | ({"team": up} if up is not None else {})),
    )
    return Base


def refusal(base: Any) -> CascadeMismatch:
    """Configure the mappers and return the error that this raises."""
    with pytest.raises(CascadeMismatch) as caught:
        base.registry.configure()
    return caught.value
