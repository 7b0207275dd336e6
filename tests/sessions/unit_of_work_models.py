"""The model of the tests of a unit of work, and what a database does at its COMMIT."""

from __future__ import annotations

from sqlalchemy import String, select, text
from sqlalchemy.orm import Mapped, mapped_column

import sqlkeel
from sqlkeel.sessions import Database, Session


class Base(sqlkeel.Base):
    """The tables of these tests."""


class User(Base):
    """Somebody with an address."""

    __tablename__ = "user"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    email: Mapped[str] = mapped_column(String(50), unique=True)


async def emails(database: Database) -> list[str]:
    """Read what is committed, over a connection that takes no lock."""
    async with database.read() as session:
        return list(await session.scalars(select(User.email).order_by(User.id)))


async def add(database: Database, number: int) -> Session:
    """Be a function that needs a transaction, whoever calls it."""
    async with database.transaction() as session:
        session.add(User(id=number, email=f"{number}"))
        return session


# A trigger that makes COMMIT itself slow: a deferred one, that waits for a lock which the test lets go.
DEFERRED = """
create function {name}() returns trigger language plpgsql as $$ begin {body} return null; end $$;
create constraint trigger {name} after insert on "user" deferrable initially deferred
 for each row execute function {name}();
"""


async def at_commit(database: Database, body: str) -> None:
    """Let the server do something when it commits a new user."""
    async with database.engine.begin() as connection:
        for statement in DEFERRED.format(name="at_commit", body=body).split(";\n"):
            await connection.execute(text(statement))
