"""What the types of Database and Session promise; read by mypy and pyright, never run."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, assert_type

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import Mapped, mapped_column

import sqlkeel
from sqlkeel import Database, DualIDMixin, Session, queries
from sqlkeel.engines._tasks import finish
from sqlkeel.errors import ForeignKeyViolation, UniqueViolation, VersionConflict
from sqlkeel.sessions import retry_on_conflict


class Base(sqlkeel.Base):
    """A project's base."""


class Account(DualIDMixin, Base):
    """Has a column of each kind."""

    __tablename__ = "account"
    name: Mapped[str]
    balance: Mapped[Decimal]
    opened_at: Mapped[datetime | None] = mapped_column()


async def transfer(session: Session, source: int, target: int, amount: Decimal, *, note: str = "") -> datetime:
    """Be a unit of work with arguments of its own."""
    raise NotImplementedError


async def blocks(db: Database) -> None:
    """Every block gives a Session."""
    async with db.transaction(isolation="serializable", statement_timeout=5) as session:
        assert_type(session, Session)
        async with session.savepoint():
            session.on_commit(print, "done", sep="")
    async with db.read() as session:
        assert_type(session, Session)
    async with db.session() as session:
        assert_type(session, Session)
    async with Database("sqlite://") as opened:
        assert_type(opened, Database)


async def returns(db: Database) -> int:
    """A block swallows nothing, so that nothing need follow one that returns."""
    async with db.transaction(), db.read():
        return 3


async def decorated(db: Database) -> None:
    """A function keeps its arguments and what it returns."""

    @db.transaction(savepoint=True)
    async def add(number: int, *, name: str = "") -> str:
        return name * number

    assert_type(await add(3, name="a"), str)


async def rows(session: Session) -> None:
    """What a model declares is what a query gives."""
    account = await session.get_one(Account, 1)
    assert_type(account, Account)
    assert_type(account.id, int)
    assert_type(account.public_id, uuid.UUID)
    assert_type(account.balance, Decimal)
    assert_type(account.opened_at, datetime | None)
    assert_type((await session.scalars(select(Account.name))).all(), Sequence[str])
    assert_type((await session.scalars(select(Account.balance))).one(), Decimal)


async def retries(db: Database) -> None:
    """run_transaction knows the arguments and the result of its function."""
    assert_type(await db.run_transaction(transfer, 1, 2, Decimal(1), note="x"), datetime)
    assert_type(await db.run_transaction(transfer, 1, 2, Decimal(1), attempts=3), datetime)
    assert_type(await db.run_transaction(transfer, 1, 2, Decimal(1), isolation="serializable"), datetime)
    await db.run_transaction(transfer, 1, "2", Decimal(1))  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    await db.run_transaction(transfer, 1)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]


async def log(db: Database) -> None:
    """A log of queries lists texts."""
    assert_type(db.engine, AsyncEngine)
    assert_type(db.engines, tuple[AsyncEngine, ...])
    async with queries(db, at_most=3) as seen:
        assert_type(seen.statements, list[str])
        assert_type(len(seen), int)


async def work() -> int:
    """Return a number."""
    return 1


async def repeated(db: Database) -> None:
    """A function that is run again after a conflict keeps its parameters, but for the session."""
    again = retry_on_conflict(db, attempts=10)(count)
    assert_type(await again(1, name="a"), int)


async def count(session: Session, key: int, *, name: str) -> int:
    """Read something and write it."""
    return key


async def helpers() -> None:
    """Finishing work gives its result."""
    assert_type(await finish(work()), int)


def attributes(error: UniqueViolation | ForeignKeyViolation, conflict: VersionConflict) -> None:
    """Errors carry what they know as attributes."""
    assert_type(error.table, str | None)
    assert_type(error.columns, tuple[str, ...])
    assert_type(error.constraint, str | None)
    assert_type(conflict.expected, int | frozenset[int] | None)
    assert_type(conflict.current_row, Mapping[str, Any] | None)
    assert_type(conflict.others, tuple[VersionConflict, ...])
