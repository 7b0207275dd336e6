"""What the types of public ids and of columns promise; read by mypy and pyright, never run."""

from __future__ import annotations

import enum
import uuid
from datetime import date, time, timedelta
from typing import Literal, assert_type

from sqlalchemy.orm import Mapped

import sqlkeel
from sqlkeel import DualIDMixin, Repository, Session
from sqlkeel.integrations.fastapi import PathID
from sqlkeel.models import PublicID


class Base(sqlkeel.Base):
    """A project's base."""


class Status(enum.StrEnum):
    """A choice."""

    LIVE = "live"


class User(DualIDMixin, Base):
    """Somebody."""

    __tablename__ = "user"
    __public_prefix__ = "usr"
    status: Mapped[Status]
    kind: Mapped[Literal["a", "b"]]
    born: Mapped[date | None]
    wakes: Mapped[time]
    sleeps: Mapped[timedelta]


class Order(DualIDMixin, Base):
    """Something else."""

    __tablename__ = "order"


def of_a_row(user: User) -> None:
    """The id of a row knows its model."""
    assert_type(user.public_ref, PublicID[User])
    assert_type(user.public_ref.uuid, uuid.UUID)
    assert_type(PublicID[User].parse("usr_…"), PublicID[User])
    assert_type(PublicID[User](user.public_id), PublicID[User])


async def in_a_repository(session: Session, user_id: PublicID[User], order_id: PublicID[Order]) -> None:
    """An id of another model is an error of the type checker."""
    users = Repository(session, User)
    assert_type(await users.get_one_by_public_id(user_id), User)
    assert_type(await users.get_one_by_public_id("usr_…"), User)
    assert_type(await users.get_one_by_public_id(uuid.uuid4()), User)
    await users.get_one_by_public_id(order_id)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def in_a_path(session: Session, user_id: PathID[User]) -> User:
    """The parameter of a path is a public id."""
    assert_type(user_id, PublicID[User])
    return await Repository(session, User).get_one_by_public_id(user_id)


def of_columns(user: User) -> None:
    """A column has the type of its annotation."""
    assert_type(user.status, Status)
    assert_type(user.kind, Literal["a", "b"])
    assert_type(user.born, date | None)
    assert_type(user.wakes, time)
    assert_type(user.sleeps, timedelta)
