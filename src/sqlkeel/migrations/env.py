"""The body of a project's ``migrations/env.py``, for runs by ``sqlkeel migrate``, ``alembic`` or a test."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from alembic import context
from alembic.ddl.impl import DefaultImpl
from alembic.runtime.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, MetaData
from sqlalchemy.exc import SAWarning
from sqlalchemy.ext.asyncio import AsyncEngine

from ..errors import ConfigurationError, DatabaseUnavailable, MigrationError, NotSupported
from ..models._constraints import register_live_option, understand_live_indexes
from . import _alembic as unpromised
from ._comparing import comparison
from ._databases import migrator_for
from ._databases.migrator import Migrator
from ._ownership import Ownership
from ._project import Project
from ._turn import turn
from ._written import PLAIN, plain

__all__ = ["TARGET", "Target", "run"]

TARGET: Final = "sqlkeel.target"
"""The attribute of Alembic's configuration under which `Migrations` passes the `Target`."""


_TENANTS: Final = (
    "Connect to the schema: Database(url, connect_args={'server_settings': {'search_path': 'tenant'}}) with asyncpg, "
    "{'options': '-c search_path=tenant'} with psycopg; on MariaDB the schema is the database in the URL."
)


@dataclass(frozen=True)
class Target:
    """The open connection on which the revisions run, and the models to compare with."""

    connection: Connection
    metadata: MetaData


def run(**options: Any) -> None:
    """Run what was requested; ``env.py`` consists of this call.

    If `Migrations` started the run, it provides the connection. If ``alembic`` started it, this reads
    ``[tool.sqlkeel]`` in the pyproject.toml above, connects, and follows the same rules: one migrator at a time, short
    lock timeouts, foreign keys of SQLite checked. An application that calls Alembic chooses the database:
    ``config.attributes["connection"]`` is used as it is; ``config.set_main_option("sqlalchemy.url", …)`` is connected
    to.

    Args:
        options: Options for Alembic's ``context.configure``: ``include_object``, ``version_table``, …. Yours win.

    Raises:
        MigrationError: When Alembic's Python functions are called inside a running event loop.
        ConfigurationError: When alembic.ini and the project name different databases.
        CommandError: Instead of these, and when the database cannot be reached, under the ``alembic`` command.
    """
    register_live_option()
    target = context.config.attributes.get(TARGET)
    if target is not None:
        _migrate(target, options)
        return
    try:
        _run_by_alembic(options)
    except (ConfigurationError, DatabaseUnavailable, MigrationError) as error:
        if not unpromised.is_command(context.config):
            raise
        raise CommandError(str(error)) from error  # alembic prints it without a traceback


def _run_by_alembic(options: dict[str, Any]) -> None:
    project = Project.find(Path(context.script.dir))
    lent = context.config.attributes.get("connection")
    if context.is_offline_mode():
        _write_sql(project, options, _dialect(project, lent))
    elif lent is None:
        _run_here(_connect_and_migrate(project, options))
    elif isinstance(lent, AsyncEngine):
        _run_here(_migrate_in_turn(lent, project, options))
    else:
        _run_on(lent, project, options)


def _run_on(lent: Any, project: Project, options: dict[str, Any]) -> None:
    """Run on the caller's connection or engine; the caller is responsible for transaction and limits."""
    if isinstance(lent, Engine):
        with lent.connect() as connection:
            _run_on(connection, project, options)
    elif isinstance(lent, Connection):
        with migrator_for(lent.dialect.name).borrow(lent):
            _migrate(Target(lent, project.metadata()), options)
    else:
        raise _unusable(lent)


def _unusable(lent: object) -> MigrationError:
    return MigrationError(
        f"config.attributes['connection'] is a {type(lent).__name__}, which Alembic cannot use.",
        hint="await connection.run_sync(lambda sync: …) gives the Connection of an AsyncConnection.",
    )


def _run_here(work: Coroutine[Any, Any, None]) -> None:
    if _is_in_loop():
        work.close()
        raise MigrationError(
            "Alembic's own functions cannot migrate inside a running event loop.",
            hint="await Migrations(db, Base, directory).up()",
        )
    asyncio.run(work)


def _is_in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def _connect_and_migrate(project: Project, options: dict[str, Any]) -> None:
    async with project.open_database(config=context.config) as database:
        await _migrate_in_turn(database.engine, project, options)


async def _migrate_in_turn(engine: AsyncEngine, project: Project, options: dict[str, Any]) -> None:
    async with turn(engine) as connection:
        await connection.run_sync(lambda sync: _migrate(Target(sync, project.metadata()), options))


def _migrate(target: Target, options: dict[str, Any]) -> None:
    if target.connection.get_execution_options().get("schema_translate_map"):
        raise NotSupported(
            "Alembic does not support schema_translate_map: it compares the schemas that the models name, and stores "
            "the applied revisions of all schemas in one of them.",
            hint=_TENANTS,
        )
    backend = migrator_for(target.connection.dialect.name)
    ownership = Ownership(target.metadata, context.script, backend=backend, connection=target.connection)
    context.configure(
        connection=target.connection,
        target_metadata=target.metadata,
        transaction_per_migration=True,
        **comparison(backend, ownership, options),
    )
    _put_before(context.get_context(), backend)
    with context.begin_transaction(), _without_warnings():
        context.run_migrations()


def _put_before(migration: MigrationContext, backend: Migrator) -> None:
    """Put our mixin before Alembic's implementation for the database, or before one that the project registered."""
    understand_live_indexes(migration.dialect)
    theirs = migration.impl
    derived: type[DefaultImpl] = type(type(theirs).__name__, (backend.implementation(), type(theirs)), {})
    migration.dialect = plain(migration.dialect)
    migration.impl = derived(
        migration.dialect,
        theirs.connection,
        theirs.as_sql,
        theirs.transactional_ddl,
        theirs.output_buffer,
        theirs.context_opts,
    )


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Suppress warnings about things that we handle: skipped indexes, unnamed CHECKs, cyclic tables."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Skipped unsupported reflection of expression-based index", SAWarning)
        warnings.filterwarnings("ignore", "Cannot correctly sort tables", SAWarning)
        warnings.filterwarnings("ignore", "Unnamed CHECK constraint on reflected table", UserWarning)
        yield


def _dialect(project: Project, lent: Any) -> str:
    """Return the dialect for offline mode: that of the caller's connection, else the project's."""
    if lent is None:
        return project.open_database(config=context.config).engine.dialect.name
    if isinstance(lent, (AsyncEngine, Connection, Engine)):
        return lent.dialect.name
    raise _unusable(lent)


def _write_sql(project: Project, options: dict[str, Any], dialect: str) -> None:
    """Print the statements instead of executing them: ``alembic upgrade head --sql``."""
    context.configure(
        dialect_name=dialect,
        target_metadata=project.metadata(),
        literal_binds=True,
        transaction_per_migration=True,
        **{"dialect_opts": {"paramstyle": PLAIN}, **options},
    )
    _put_before(context.get_context(), migrator_for(dialect))
    with context.begin_transaction():
        context.run_migrations()
