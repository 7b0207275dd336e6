"""How the tests of PgBouncer reach it, and how many they are."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

CLIENTS = 30

NO_PREPARED = {
    "asyncpg": {"statement_cache_size": 0, "prepared_statement_cache_size": 0},
    "psycopg": {"prepare_threshold": None},
}


async def show(engine: AsyncEngine, *settings: str) -> tuple[str, ...]:
    """Read settings in a transaction of one's own."""
    reads = ", ".join(f"current_setting('{name}')" for name in settings)
    async with engine.connect() as connection:
        return tuple((await connection.execute(text(f"select {reads}"))).one())
