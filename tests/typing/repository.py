"""What the types of Repository promise; read by mypy and pyright, never run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_type

from sqlalchemy.orm import Mapped

import sqlkeel
from sqlkeel import DualIDMixin, Repository, Session


class Base(sqlkeel.Base):
    """A project's base."""


class User(DualIDMixin, Base):
    """Somebody."""

    __tablename__ = "user"
    email: Mapped[str]


class UserRepository(Repository[User]):
    """Has a question of its own."""

    async def get_by_email(self, email: str) -> User | None:
        """Return the user with this address."""
        assert_type(self.session, Session)
        return await self.find_one(User.email == email)


async def rows(session: Session) -> None:
    """Every method gives rows of the model."""
    users = UserRepository(session)
    assert_type(await users.get(1), User | None)
    assert_type(await users.get_one(1), User)
    assert_type(await users.get_by_email("a"), User | None)
    assert_type(await users.count(), int)
    assert_type(await users.exists(User.email == "a"), bool)
    assert_type(await users.create(email="a"), User)


async def without_a_class(session: Session) -> None:
    """A repository made in place knows its model as well."""
    users = Repository(session, User)
    assert_type(users, Repository[User])
    found = await users.get_all(User.email == "a")
    rows: Sequence[User] = found
    assert_type(rows[0], User)
