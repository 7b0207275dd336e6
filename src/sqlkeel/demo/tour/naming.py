"""The tables: migrated up from nothing, and named by rule."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from sqlalchemy import Connection, Inspector, inspect

from sqlkeel import lint

from ..database import migrations
from ..models import Base
from .step import Tour, step

__all__ = ["constraint_naming", "migration_naming", "table_naming"]

T = TypeVar("T")


@step("Alembic Migration Naming")
async def migration_naming(tour: Tour) -> str:
    """Migrate the empty database up, and compare it with the models."""
    async with tour.counted():
        applied = await migrations(tour.db).up()
    names = [revision.path.name for revision in applied]
    wrong = [name for name in names if not re.fullmatch(r"\d{4}-\d\d-\d\d_[a-z0-9_]+\.py", name)]
    tour.expect(bool(names) and not wrong, f"not named by date and words: {wrong}")
    await migrations(tour.db).check()
    return f"{len(names)} applied, the last {names[-1]}; models and database agree"


@step("Naming Conventions")
async def table_naming(tour: Tour) -> str:
    """Check the names of the models, and read those of the database."""
    findings = lint.check(Base)
    tour.expect(not findings, "; ".join(f"{finding.where}: {finding.message}" for finding in findings))
    columns = await _inspect(tour, _columns)
    wrong = [name for name in columns if not re.fullmatch(r"[a-z][a-z0-9_]*", name)]
    tour.expect(bool(columns) and not wrong, f"not lower_snake_case: {wrong}")
    prefixes = sorted({table.partition("_")[0] for table in Base.metadata.tables if "_" in table})
    return f"{len(columns)} tables and columns follow the rules; grouped under {', '.join(prefixes)}"


@step("Constraint Naming")
async def constraint_naming(tour: Tour) -> str:
    """Read the names of all constraints from the database."""
    names = await _inspect(tour, _constraints)
    wrong = [f"{found}, not {wanted}" for found, wanted in names if found != wanted]
    tour.expect(bool(names) and not wrong, "; ".join(wrong))
    return f"{len(names)} constraints are named by table and columns, such as {names[0][0]}"


async def _inspect(tour: Tour, read: Callable[[Inspector], Iterator[T]]) -> list[T]:
    def run(connection: Connection) -> list[T]:
        return list(read(inspect(connection)))

    async with tour.counted(), tour.db.engine.connect() as connection:
        return await connection.run_sync(run)


def _columns(inspector: Inspector) -> Iterator[str]:
    for table in inspector.get_table_names():
        yield table
        yield from (column["name"] for column in inspector.get_columns(table))


def _constraints(inspector: Inspector) -> Iterator[tuple[str | None, str]]:
    """Yield the name of each constraint, and the name that the rule gives it."""
    for table in Base.metadata.tables:
        kinds: list[tuple[str, str, Any]] = [
            ("fkey", "constrained_columns", inspector.get_foreign_keys(table)),
            ("key", "column_names", _plain(inspector.get_unique_constraints(table))),
        ]
        for suffix, columns, constraints in kinds:
            yield from ((each["name"], "_".join((table, *each[columns], suffix))) for each in constraints)


def _plain(constraints: Any) -> list[Any]:
    # MariaDB reports a unique index as a constraint too; those of unique_live() are indexes.
    return [each for each in constraints if not str(each["name"]).endswith("_idx")]
