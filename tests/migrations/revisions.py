"""Revisions written by hand, for tests of how revisions are run."""

from __future__ import annotations

import ast
from pathlib import Path

from sqlalchemy import MetaData
from sqlalchemy import inspect as sa_inspect

from sqlkeel.migrations import Migrations
from sqlkeel.sessions import Database

__all__ = ["MAKE_A", "MAKE_B", "code", "empty_migrations", "revision", "round_trip", "tables"]

MAKE_A = 'op.create_table("a", sa.Column("id", sa.Integer, primary_key=True))'
MAKE_B = MAKE_A.replace('"a"', '"b"')


def empty_migrations(database: Database, directory: Path, **options: float) -> Migrations:
    """Return migrations without models, for a directory below *directory*."""
    return Migrations(database, MetaData(), directory / "migrations", **options)


async def revision(migrations: Migrations, message: str, upgrade: str, downgrade: str = "pass") -> Path:
    """Write a revision that does what the Python text says."""
    path = await migrations.new(message, autogenerate=False)
    assert path is not None
    text = path.read_text()
    for function, body in (("upgrade", upgrade), ("downgrade", downgrade)):
        indented = body.replace("\n", "\n    ")
        text = text.replace(f"def {function}() -> None:\n    pass", f"def {function}() -> None:\n    {indented}")
    path.write_text(text)
    return path


def code(path: Path) -> str:
    """Return what a revision says, however it is laid out: each call on a line, texts in single quotes."""
    return ast.unparse(ast.parse(path.read_text()))


async def tables(database: Database) -> set[str]:
    """Return the names of the tables in the database."""
    async with database.engine.connect() as connection:
        return set(await connection.run_sync(lambda sync: sa_inspect(sync).get_table_names()))


async def round_trip(database: Database, directory: Path, before: MetaData, after: MetaData) -> str:
    """Migrate from one state of the models to another, back, and there again; return the revision.

    The models are compared after each step, and a second revision finds nothing to do.
    """
    first, second = (Migrations(database, models, directory / "migrations") for models in (before, after))
    await first.new("first")
    await first.up()
    path = await second.new("change")
    assert path is not None
    await second.up()
    await second.check()
    assert await second.new("again") is None
    await second.down()
    aside = path.rename(path.with_suffix(".aside"))
    await first.check()
    aside.rename(path)
    await second.up()
    await second.check()
    return code(path)
