"""The tables of the tests of endings, and what is written to them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from sqlalchemy import Column, ForeignKey, Integer, MetaData, Table, insert, select

from sqlkeel.sessions import Database
from tests.engines.peers import own_id

metadata = MetaData()
entry = Table("entry", metadata, Column("id", Integer, primary_key=True, autoincrement=False))
deferring = MetaData()
entry.to_metadata(deferring)
remark = Table(
    "remark",
    deferring,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("entry_id", ForeignKey("entry.id", deferrable=True, initially="DEFERRED")),
)

Way = Callable[[Database], Awaitable[None]]

one, two = insert(entry).values(id=1), insert(entry).values(id=2)


class Change(Exception):
    """The caller's own: what was written is not wanted."""


async def entries(database: Database) -> list[int]:
    """Return the committed rows."""
    async with database.read() as session:
        return list(await session.scalars(select(entry.c.id).order_by(entry.c.id)))


async def connection_of(database: Database) -> int:
    """Return the server's number of the pooled connection."""
    async with database.engine.connect() as connection:
        return await own_id(connection, database)
