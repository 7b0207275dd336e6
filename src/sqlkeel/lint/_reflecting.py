"""Reflect the tables of a live database as their models would describe them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Final, Protocol

from sqlalchemy import Connection, MetaData, inspect
from sqlalchemy.exc import SAWarning
from sqlalchemy.ext.asyncio import AsyncEngine

from ..engines._backend import backend_for
from ..errors import ConfigurationError
from ._databases.renamer import Renamer, renamer_for
from ._finding import Schema

__all__ = ["HasEngine", "engine_of", "reading_options", "reflect"]

_NEVER: Final = ("alembic_version", "*.alembic_version")


class _Database(Protocol):
    @property
    def engine(self) -> AsyncEngine: ...


HasEngine = _Database | AsyncEngine


async def reflect(
    database: HasEngine, *, schemas: Iterable[str] = (), exclude: Iterable[str] = (), singular: Iterable[str] = ()
) -> Schema:
    """Return the tables of a database; see `check_database` for the arguments."""
    engine = engine_of(database)
    backend = renamer_for(engine.dialect.name)
    backend.require(engine.url)
    places: list[str | None] = [*schemas] or [None]
    patterns = [*exclude, *_NEVER]
    async with engine.connect() as connection:
        connection = await connection.execution_options(**reading_options(engine))
        metadata = await connection.run_sync(_read, backend, places, patterns)
    return Schema(metadata, singular=frozenset(singular), database=backend.name)


def engine_of(database: HasEngine) -> AsyncEngine:
    """Return the engine of a `Database`, or the engine itself."""
    return database if isinstance(database, AsyncEngine) else database.engine


def reading_options(engine: AsyncEngine) -> dict[str, object]:
    """Return the options of a read-only transaction, which never waits for a transaction that writes."""
    return backend_for(engine.url).begin_options(read_only=True)


def _read(connection: Connection, backend: Renamer, schemas: Sequence[str | None], exclude: Sequence[str]) -> MetaData:
    _require_schemas(connection, [schema for schema in schemas if schema is not None])
    metadata = MetaData()
    for schema in schemas:
        parts = backend.parts(connection, schema)

        def wanted(name: str, _: MetaData, schema: str | None = schema, parts: set[str] = parts) -> bool:
            place = f"{schema}.{name}" if schema else name
            return name not in parts and not any(fnmatchcase(place, pattern) for pattern in exclude)

        with warnings.catch_warnings():
            # The warnings are about types and indexes that SQLAlchemy cannot describe; no rule needs them.
            warnings.simplefilter("ignore", SAWarning)
            metadata.reflect(connection, schema=schema, only=wanted, resolve_fks=False)
    backend.adapt(metadata, connection)
    return metadata


def _require_schemas(connection: Connection, wanted: Sequence[str]) -> None:
    present = inspect(connection).get_schema_names() if wanted else []
    for schema in wanted:
        if schema not in present:
            raise ConfigurationError(f"There is no schema {schema!r}.", hint=f"There are {', '.join(present)}.")
