"""The database of the tour: a temporary file, or an empty database that the user names."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy import inspect

from sqlkeel import Database
from sqlkeel.errors import ConfigurationError

from .database import migrations
from .models import Base

__all__ = ["empty_database"]

ALEMBIC = "alembic_version"


@asynccontextmanager
async def empty_database(url: str | None, *, keep: bool) -> AsyncIterator[Database]:
    """Open the database for the tour, without tables; drop the tables at the end.

    Args:
        url: The URL of the database; ``None`` for an SQLite file in a new directory.
        keep: Keep the tables, or the file.

    Raises:
        ConfigurationError: When the database has tables that are not those of the demo.
        DatabaseUnavailable: When the database cannot be reached.
    """
    directory = Path(tempfile.mkdtemp(prefix="sqlkeel-demo-")) if url is None else None
    try:
        async with Database(url or f"sqlite+aiosqlite:///{directory}/demo.db") as db:
            await _refuse_strangers(db)
            await migrations(db).down("base")
            try:
                yield db
            finally:
                if not keep:
                    await migrations(db).down("base")
    finally:
        if directory is not None and not keep:
            shutil.rmtree(directory)


async def _refuse_strangers(db: Database) -> None:
    """Refuse a database with other tables, because the tour drops tables."""
    async with db.engine.connect() as connection:
        tables = set(await connection.run_sync(lambda sync: inspect(sync).get_table_names()))
    ours = {ALEMBIC, *Base.metadata.tables} if ALEMBIC in tables else set()
    strangers = sorted(tables - ours)
    if strangers:
        raise ConfigurationError(
            f"The database is not empty: it holds {', '.join(strangers[:5])}{' …' if len(strangers) > 5 else ''}.",
            hint="Make an empty database for the demo, and give its URL.",
        )
