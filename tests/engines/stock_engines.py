"""Engines of SQLAlchemy's own, on each driver, and the tables that are written through them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import (
    CheckConstraint,
    Column,
    Connection,
    Engine,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    create_engine,
    select,
)
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped

from sqlkeel import translate_errors
from sqlkeel.sessions import Database

T = TypeVar("T")

metadata = MetaData()
person = Table(
    "person",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("email", String(50), nullable=False),
    Column("age", Integer),
    UniqueConstraint("email", name="person_email_key"),
)
person.append_constraint(CheckConstraint(person.c.age > 0, name="person_age_check"))
deferring = MetaData()
person.to_metadata(deferring)
pet = Table(
    "pet",
    deferring,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("owner_id", ForeignKey("person.id", deferrable=True, initially="DEFERRED")),
)


class Base(DeclarativeBase):
    """The project's own."""

    metadata = metadata


class Person(Base):
    """Somebody with an address."""

    __table__ = person
    id: Mapped[int]
    email: Mapped[str]


DRIVERS = {
    "pysqlite": ("sqlite", "sqlite+pysqlite"),
    "aiosqlite": ("sqlite", "sqlite+aiosqlite"),
    "asyncpg": ("postgres", "postgresql+asyncpg"),
    "psycopg": ("psycopg", "postgresql+psycopg"),
    "psycopg, synchronous": ("psycopg", "postgresql+psycopg"),
    "asyncmy": ("mariadb", "mariadb+asyncmy"),
    "asyncmy as mysql": ("mariadb", "mysql+asyncmy"),
}
SYNCHRONOUS = {"pysqlite", "psycopg, synchronous"}


class Stock:
    """An engine of SQLAlchemy's own, of either kind, and what one would do with it."""

    def __init__(self, database: Database, name: str, **options: Any) -> None:
        self.database = database
        self.url = database.url.set(drivername=DRIVERS[name][1])
        self.options = options
        self.is_synchronous = name in SYNCHRONOUS
        self.engine = self.make()

    def make(self, **changes: Any) -> Engine | AsyncEngine:
        """Make an engine whose errors are ours; *changes* are parts of the URL, or options of the engine."""
        url = self.url.set(**{key: changes.pop(key) for key in [*changes] if key in {"host", "port", "database"}})
        make = create_engine if self.is_synchronous else create_async_engine
        return translate_errors(make(url, **self.options, **changes))  # type: ignore[type-var]  # one or the other

    async def run(self, work: Callable[[Connection], T], engine: Any = None) -> T:
        """Call *work* with a connection, which is given back afterwards."""
        engine = engine or self.engine
        if self.is_synchronous:
            return await asyncio.to_thread(with_connection, engine, work)
        async with engine.connect() as connection:
            return await connection.run_sync(work)  # type: ignore[no-any-return]

    async def dispose(self, engine: Any = None) -> None:
        """Close the connections."""
        engine = engine or self.engine
        engine.dispose() if self.is_synchronous else await engine.dispose()

    async def people(self) -> list[int]:
        """Return the committed rows."""
        async with self.database.read() as session:
            return list(await session.scalars(select(person.c.id).order_by(person.c.id)))


def with_connection(engine: Engine, work: Callable[[Connection], T]) -> T:
    with engine.connect() as connection:
        return work(connection)
