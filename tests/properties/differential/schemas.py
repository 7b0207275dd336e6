"""The schemas of a database beside its own, with the tables of the models: made before the cases, gone afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, MetaData, event
from sqlalchemy.ext.asyncio import AsyncConnection

from sqlkeel import Database

__all__ = ["MOVED", "PARTITIONED", "schema_names", "tables_of"]

SCHEMAS: Final = ("other", "tenant", "tenant_a")
MOVED: Final = "moved"
"""Where the ``info`` of a MetaData names the tables that there are once more, where those of a tenant are."""
PARTITIONED: Final = "partitioned"
"""Where it names those that are divided."""

EXTENSIONS: Final = (
    "CREATE EXTENSION IF NOT EXISTS citext SCHEMA public",
    "CREATE EXTENSION IF NOT EXISTS hstore SCHEMA public",
    "DROP TYPE IF EXISTS differential_pair",
    "CREATE TYPE differential_pair AS (n int, t text)",
)


def schema_names(database: Database) -> dict[str, str]:
    """Return what the schemas are called on this database: MariaDB's are databases, which all of a server share."""
    prefix = f"{database.url.database}_" if database.dialect == "mariadb" else ""
    return {name: f"{prefix}{name}" for name in SCHEMAS}


@asynccontextmanager
async def tables_of(database: Database, metadata: MetaData) -> AsyncIterator[None]:
    """Have the tables there, on a new database, which is not left as it was but for the schemas outside of it."""
    names = schema_names(database)
    files = {name: Path(f"{database.url.database}.{name}") for name in names} if database.dialect == "sqlite" else {}
    for name, file in files.items():
        file.unlink(missing_ok=True)
        _attach(database, name, file)
    async with database.engine.begin() as connection:
        await _make_schemas(connection, names)
    try:
        async with database.engine.begin() as connection:
            await connection.run_sync(metadata.create_all)
            await connection.run_sync(_make_further, metadata, names)
        # Drivers look for the types that are there when they connect for the first time.
        await database.engine.dispose()
        yield
    finally:
        await database.engine.dispose()
        for file in files.values():
            file.unlink(missing_ok=True)
        if database.dialect == "mariadb":
            async with database.engine.begin() as connection:
                for name in names.values():
                    await connection.exec_driver_sql(f"DROP DATABASE `{name}`")


def _attach(database: Database, name: str, file: Path) -> None:
    @event.listens_for(database.engine.sync_engine, "connect")
    def attach(connection: Any, record: Any) -> None:
        connection.execute(f"ATTACH DATABASE '{file}' AS {name}")


async def _make_schemas(connection: AsyncConnection, names: Mapping[str, str]) -> None:
    statements: list[str] = []
    if connection.dialect.name == "postgresql":
        statements = [*(f"CREATE SCHEMA {name}" for name in names.values()), *EXTENSIONS]
    if connection.dialect.name in {"mysql", "mariadb"}:
        statements = [f"CREATE OR REPLACE DATABASE `{name}` CHARACTER SET utf8mb4" for name in names.values()]
    for statement in statements:
        await connection.exec_driver_sql(statement)


def _make_further(connection: Connection, metadata: MetaData, names: Mapping[str, str]) -> None:
    """Make the partitions, and the same tables once more where those of a tenant are."""
    for name in sorted(metadata.info.get(PARTITIONED, ())):
        connection.exec_driver_sql(
            f"CREATE TABLE {name}_all PARTITION OF {name} FOR VALUES WITH (MODULUS 1, REMAINDER 0)"
        )
    for table in metadata.sorted_tables:
        if table.schema == names["tenant"] or table.name.partition("_")[0] in metadata.info.get(MOVED, ()):
            moved = {table.schema: names["tenant_a"]}
            table.create(connection.execution_options(schema_translate_map=moved), checkfirst=True)
    connection.execution_options(schema_translate_map={})
