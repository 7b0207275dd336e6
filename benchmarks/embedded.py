"""Many rows written to SQLite, in a thread of the driver's own as aiosqlite has it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sqlalchemy import create_engine, insert
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from sqlkeel import Database
from sqlkeel.bulk import insert_many

from .measure import Case
from .models import Base, Note

__all__ = ["cases"]

COLUMNS = ["id", "name", "place", "value", "weight"]


def cases(directory: Path, count: int) -> Iterator[Case]:
    """Yield the cases of this file."""
    path = directory / "benchmark.db"
    records = [(n, f"note {n}", f"place {n % 97}", n, n % 89) for n in range(1, count + 1)]
    rows = [dict(zip(COLUMNS, record, strict=True)) for record in records]
    thread = ThreadPoolExecutor(1)
    driver = thread.submit(_connect, path).result()
    database = Database(f"sqlite+aiosqlite:///{path}")
    engine = create_async_engine(f"sqlite+aiosqlite:///{path}")
    sessions = async_sessionmaker(engine)

    async def before() -> None:
        await asyncio.get_running_loop().run_in_executor(thread, _empty, driver)

    async def limit() -> None:
        await asyncio.get_running_loop().run_in_executor(thread, _insert, driver, records)

    async def ours() -> None:
        async with database.transaction() as session:
            await insert_many(session, Note, rows)

    async def core() -> None:
        async with engine.begin() as connection:
            await connection.execute(insert(Note.__table__), rows)

    async def orm() -> None:
        async with sessions.begin() as session:
            await session.execute(insert(Note), rows)

    contenders = {"sqlkeel insert_many": ours, "Core executemany": core, "ORM bulk": orm}
    yield Case("SQLite: insert many dicts", limit, contenders, 0.70, before=before)


def _connect(path: Path) -> sqlite3.Connection:
    engine = create_engine(f"sqlite:///{path}")
    Base.metadata.create_all(engine)
    engine.dispose()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    return connection


def _empty(connection: sqlite3.Connection) -> None:
    connection.execute(f"DELETE FROM {Note.__tablename__}")


def _insert(connection: sqlite3.Connection, records: list[tuple[object, ...]]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(f"INSERT INTO {Note.__tablename__} VALUES (?, ?, ?, ?, ?)", records)
    connection.execute("COMMIT")
