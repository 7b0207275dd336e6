"""Models, and every way to use a session and to be in a block of one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from sqlalchemy import ForeignKey, String, select, text
from sqlalchemy.ext.asyncio import async_sessionmaker
from sqlalchemy.orm import Mapped, mapped_column

import sqlkeel
from sqlkeel import IntKeyMixin, Repository
from sqlkeel.models import children, parent
from sqlkeel.sessions import Database, Session
from sqlkeel.sessions._session import SyncSession
from tests.engines.peers import SLOW


class Base(sqlkeel.Base):
    """The models of this file."""


class User(IntKeyMixin, Base):
    """Somebody with notes."""

    __tablename__ = "sharing_user"
    name: Mapped[str] = mapped_column(String(20))
    notes: Mapped[list[Note]] = children(back_populates="user")


class Note(IntKeyMixin, Base):
    """What belongs to somebody."""

    __tablename__ = "sharing_note"
    user_id: Mapped[int] = mapped_column(ForeignKey("sharing_user.id", ondelete="CASCADE"), index=True)
    user: Mapped[User] = parent(back_populates="notes")


class Failure(Exception):
    """What goes wrong in a test."""


def checked_out(database: Database) -> int:
    """Count the connections that are missing in the pools, now."""
    return sum(engine.pool.checkedout() for engine in database.engines)  # type: ignore[attr-defined]


async def query_slowly(session: Session, dialect: str) -> None:
    """Be the first who uses the session."""
    await session.execute(text(SLOW[dialect]))


async def query(session: Session, method: str) -> None:
    """Be the second who uses the session."""
    await USES[method](session)


async def begin_nested(session: Session) -> None:
    """Open a savepoint."""
    async with session.begin_nested():
        pass


async def advance(session: Session) -> None:
    """Read the rows of a stream."""
    async for _ in await session.stream(select(User)):
        pass


USES: dict[str, Callable[[Session], Coroutine[Any, Any, Any]]] = {
    "execute": lambda session: session.execute(select(1)),
    "scalar": lambda session: session.scalar(select(1)),
    "scalars": lambda session: session.scalars(select(1)),
    "stream": advance,
    "get": lambda session: session.get(User, 1),
    "merge": lambda session: session.merge(User(id=1, name="merged")),
    "connection": lambda session: session.connection(),
    "run_sync": lambda session: session.run_sync(lambda _: None),
    "begin_nested": begin_nested,
    "lock_rows": lambda session: session.lock_rows(User, [1]),
    "count": lambda session: Repository(session, User).count(),
    "insert_many": lambda session: Repository(session, User).insert_many([{"name": "bulk"}]),
    "flush": lambda session: session.flush(),
    "commit": lambda session: session.commit(),
    "rollback": lambda session: session.rollback(),
}


@asynccontextmanager
async def stock(database: Database) -> AsyncIterator[Any]:
    """Open SQLAlchemy's own session over ours."""
    async with async_sessionmaker(database.engine, sync_session_class=SyncSession)() as session:
        yield session


@asynccontextmanager
async def stock_begin(database: Database) -> AsyncIterator[Any]:
    """Open SQLAlchemy's own session over ours, with a transaction around the block."""
    async with async_sessionmaker(database.engine, sync_session_class=SyncSession).begin() as session:
        yield session


@asynccontextmanager
async def begin(database: Database) -> AsyncIterator[Any]:
    """Open a session and a transaction by hand."""
    async with database.session() as session, session.begin():
        yield session


@asynccontextmanager
async def savepoint(database: Database) -> AsyncIterator[Any]:
    """Open a savepoint inside of a unit of work."""
    async with database.transaction() as session, session.savepoint():
        yield session


@asynccontextmanager
async def joined(database: Database) -> AsyncIterator[Any]:
    """Join a unit of work."""
    async with database.transaction(), database.transaction() as session:
        yield session


BLOCKS: dict[str, Callable[[Database], AbstractAsyncContextManager[Any]]] = {
    "transaction": lambda database: database.transaction(),
    "read only": lambda database: database.transaction(read_only=True),
    "read": lambda database: database.read(),
    "session": lambda database: database.session(),
    "begin": begin,
    "savepoint": savepoint,
    "joined": joined,
    "stock": stock,
    "stock begin": stock_begin,
}
