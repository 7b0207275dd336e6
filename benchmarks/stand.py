"""The stand on which everything is measured: one database, our way into it, the plain way, and the bare driver."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import asyncpg
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from sqlkeel import Database

from .models import Base, Reading, Signal

__all__ = ["Stand", "open_stand"]

T = TypeVar("T")


@dataclass
class Stand:
    """One PostgreSQL database, and all ways into it."""

    database: Database
    engine: AsyncEngine
    sessions: async_sessionmaker[AsyncSession]
    driver: asyncpg.Connection[Any]
    pool: asyncpg.Pool[Any]
    rows: int

    async def empty(self) -> None:
        """Empty the tables, and take the server's own work out of the way."""
        await self.driver.execute(f"TRUNCATE {Reading.__tablename__}, {Signal.__tablename__} RESTART IDENTITY")
        await asyncio.sleep(0.01)

    async def fill(self, records: list[tuple[Any, ...]], columns: list[str]) -> None:
        """Put rows there, as a table has them that is in use: analysed."""
        await self.empty()
        await self.driver.copy_records_to_table(Reading.__tablename__, records=records, columns=columns)
        await self.driver.execute(f"ANALYZE {Reading.__tablename__}")


@asynccontextmanager
async def open_stand(url: str, rows: int) -> AsyncIterator[Stand]:
    """Make the tables, and drop them at the end."""
    address = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    engine = create_async_engine(make_url(url).set(drivername="postgresql+asyncpg"))
    async with Database(url, statement_timeout=None) as database, engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)
        await connection.run_sync(Base.metadata.create_all)
    driver = await asyncpg.connect(address)
    try:
        async with asyncpg.create_pool(address, min_size=1, max_size=4) as pool:
            sessions = async_sessionmaker(engine, expire_on_commit=False)
            yield Stand(database, engine, sessions, driver, pool, rows)
    finally:
        await driver.close()
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.drop_all)
        await engine.dispose()
        await database.dispose()
