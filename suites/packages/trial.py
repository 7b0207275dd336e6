"""Try the models of one package on one database, in a process of its own; the outcome is printed as JSON.

``python -m suites.packages.trial module:Base NEEDS FOLDER [URL OTHER_URL]``; the two databases are empty.
"""

from __future__ import annotations

import asyncio
import json
import pkgutil
import site
import sys
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from sqlalchemy import MetaData
from sqlalchemy.ext.asyncio import AsyncEngine

from sqlkeel import Database
from sqlkeel.errors import ModelsDiffer
from sqlkeel.lint import check
from sqlkeel.migrations import Migrations
from suites.packages.schema import Schema, differences, read_schema

__all__ = ["lint", "main", "try_on"]

_VERSIONS = ("alembic_version",)


def lint(models: Any) -> list[dict[str, Any]]:
    """Return what the rules find."""
    return [{"rule": one.code, "where": one.where, "says": f"{one.message} {one.fix}"} for one in check(models)]


async def try_on(models: Any, urls: tuple[str, str], folder: Path) -> list[str]:
    """Make the tables twice, by create_all() and by a revision, and return what is not as it should be."""
    trial = _Trial(models, folder)
    async with Database(urls[0]) as created, Database(urls[1]) as migrated:
        await trial.step("create_all()", lambda: trial.create(created))
        await trial.step("compare with what create_all() has made", lambda: trial.compare(created))
        await trial.step("migrate", lambda: trial.migrate(migrated))
        await trial.step("tell the two databases apart", lambda: trial.tell_apart(created, migrated))
        await trial.step("take it back", lambda: trial.take_back(migrated))
    return trial.wrong


class _Trial:
    """The steps; what goes wrong in one does not hide the next."""

    def __init__(self, models: Any, folder: Path) -> None:
        self.models, self.folder = models, folder
        self.metadata: MetaData = getattr(models, "metadata", models)
        self.schemas = {None, *(table.schema for table in self.metadata.tables.values())}
        self.wrong: list[str] = []

    async def step(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do one, and note what it raises."""
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the outcome
            place = traceback.extract_tb(error.__traceback__)[-1]
            self.wrong.append(f"{name}: {type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})")

    async def create(self, database: Database) -> None:
        """Make the tables as SQLAlchemy does."""
        async with database.engine.begin() as connection:
            await connection.run_sync(self.metadata.create_all)

    async def compare(self, database: Database) -> None:
        """See that nothing differs where SQLAlchemy has made the tables of these models."""
        migrations = Migrations(database, self.models, self.folder / "compared")
        await migrations.new("nothing", autogenerate=False)
        await migrations.up()
        await self._check(migrations, "after create_all()")

    async def migrate(self, database: Database) -> None:
        """Write a revision, apply it, and see that nothing is left to write."""
        migrations = Migrations(database, self.models, self.folder / "migrations")
        if await migrations.new("first") is None:
            self.wrong.append("the first revision is empty")
        await migrations.up()
        await self._check(migrations, "after the first revision")
        if (second := await migrations.new("second")) is not None:
            self.wrong.append(f"a second revision is written: {second.read_text()}")

    async def tell_apart(self, created: Database, migrated: Database) -> None:
        """See that both ways have led to the same tables, whatever our own comparison says."""
        found = differences(await self._read(created.engine), await self._read(migrated.engine))
        self.wrong += [f"the revision makes another table: {one}" for one in found]

    async def take_back(self, database: Database) -> None:
        """See that nothing is left, so that it can be applied again."""
        migrations = Migrations(database, self.models, self.folder / "migrations")
        await migrations.down("base")
        self.wrong += [f"down() leaves {one}" for one in await self._read(database.engine)]
        await migrations.up()
        await migrations.down("base")

    async def _check(self, migrations: Migrations, when: str) -> None:
        try:
            await migrations.check()
        except ModelsDiffer as error:
            self.wrong += [f"differs {when}: {one}" for one in error.differences]

    async def _read(self, engine: AsyncEngine) -> Schema:
        async with engine.connect() as connection:
            return await connection.run_sync(read_schema, self.schemas, without=_VERSIONS)


def main(path: str, needs: str, folder: str = "", *urls: str) -> None:
    """Import the models and try them; without a database, lint them."""
    site.addsitedir(needs)
    out, sys.stdout = sys.stdout, sys.stderr  # what the package prints when it is imported
    models = pkgutil.resolve_name(path)
    found = asyncio.run(try_on(models, (urls[0], urls[1]), Path(folder))) if urls else lint(models)
    json.dump(found, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
