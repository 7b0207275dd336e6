"""What the types of Repository promise; read by mypy and pyright, never run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_type

from sqlalchemy import inspect, select
from sqlalchemy.orm import Mapped

import sqlkeel
from sqlkeel import DualIDMixin, Repository, Session, SyncSession


class Base(sqlkeel.Base):
    """A project's base."""


class User(DualIDMixin, Base):
    """Somebody."""

    __tablename__ = "user"
    email: Mapped[str]
    active: Mapped[bool]


class UserRepository(Repository[User]):
    """Has a question of its own."""

    async def get_by_email(self, email: str) -> User | None:
        """Return the user with this address."""
        assert_type(self.session, Session)
        return await self.one_or_none(User.email == email)


async def rows(session: Session) -> None:
    """Every method gives rows of the model."""
    users = UserRepository(session)
    assert_type(await users.get(1), User | None)
    assert_type(await users.get_one(1), User)
    assert_type(await users.get_by_email("a"), User | None)
    assert_type(await users.count(), int)
    assert_type(await users.exists(User.email == "a"), bool)
    assert_type(await users.create(email="a"), User)
    assert_type(await users.insert_many_returning([{"email": "a"}]), list[User])


async def without_a_class(session: Session) -> None:
    """A repository made in place knows its model as well."""
    users = Repository(session, User)
    assert_type(users, Repository[User])
    found = await users.get_all(User.email == "a")
    rows: Sequence[User] = found
    assert_type(rows[0], User)


async def a_column_alone(session: Session) -> None:
    """A column that is true or false is a condition, as in ``select().where()``."""
    users = Repository(session, User)
    assert_type(await users.get_all(User.active, ~User.active), list[User])
    assert_type(await users.one_or_none(User.active), User | None)
    assert_type(await users.count(User.active), int)
    assert_type(await users.exists(User.active), bool)
    assert_type((await users.page(User.active, order_by=User.email)).items, list[User])


def of_the_synchronous_session(session: SyncSession) -> None:
    """What is overridden has the types of SQLAlchemy's."""
    assert_type(session.get(User, 1), User | None)
    assert_type(session.get(inspect(User), 1, populate_existing=True), User | None)
    assert_type(session.get_one(User, 1), User)
    assert_type(session.merge(User(), load=False), User)
    assert_type(session.merge_all([User()]), Sequence[User])
    assert_type(session.scalar(select(User.email)), str | None)  # type: ignore[assert-type]  # its overloads overlap
    assert_type(session.scalars(select(User)).all(), Sequence[User])
