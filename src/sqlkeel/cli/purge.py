"""``sqlkeel purge``: permanently remove rows that were deleted long enough ago."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

if TYPE_CHECKING:
    from ..sessions._database import Database
    from ..soft_delete import Purged

__all__ = ["purge"]

_UNITS: Final = {"h": "hours", "d": "days", "w": "weeks"}
"""No unit for minutes: a user who types 6m means months, and would lose the rows of today."""


_MODULE: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*(:|$)")


def purge(
    models: Annotated[
        str | None,
        typer.Argument(
            help="package.module:User, or :Base for all; without it, the models in pyproject.toml.", show_default=False
        ),
    ] = None,
    *,
    older_than: Annotated[str, typer.Option(help="How long deleted rows are kept: 30d, 12h, 4w.", metavar="TIME")],
    batch: Annotated[int, typer.Option(help="Rows to remove in one transaction.", min=1)] = 1_000,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count the rows; remove none.")] = False,
    database_url: Annotated[
        str | None,
        typer.Option(help="The database, instead of the one in pyproject.toml or DATABASE_URL.", metavar="URL"),
    ] = None,
) -> None:
    """Permanently remove rows that were deleted longer ago than a given time, children first, in batches.

    An interrupted purge keeps the batches that it has removed; run it again to continue. Rows that other rows still
    reference are kept.

    Example:  sqlkeel purge --older-than 30d
    """
    import asyncio

    from ..migrations import Project

    age = _age(older_than)
    project = Project.find(Path.cwd()) if models is None else _project(models)
    what = project.models()
    asyncio.run(_run(project.open_database(database_url), what, age=age, batch=batch, dry_run=dry_run))


def _age(text: str) -> timedelta:
    from ..errors import InvalidValue

    found = re.fullmatch(r"(\d+)([a-z])", text.strip().lower())
    if found is None or found[2] not in _UNITS or not int(found[1]):
        raise InvalidValue(f"--older-than {text!r} is not a length of time.", hint="30d, 12h or 4w: days, hours, weeks")
    try:
        return timedelta(**{_UNITS[found[2]]: int(found[1])})
    except OverflowError:
        raise InvalidValue(f"--older-than {text!r} reaches back before the year 1.", hint="30d") from None


def _project(models: str) -> Any:
    """Return the settings of the project in this folder, if there are any, with *models* in place of its own."""
    from ..errors import InvalidValue
    from ..migrations import Project

    if _MODULE.match(models) is None:
        raise InvalidValue(
            f"{models!r} does not name a module.", hint="package.module:User, or package.module:Base for all"
        )
    found = Project.find_if_any(Path.cwd()) or Project(Path.cwd(), {})
    return Project(found.root, {**found.settings, "models": models})


async def _run(database: Database, models: Any, *, age: timedelta, batch: int, dry_run: bool) -> None:
    from ..soft_delete import count_old
    from .console import print_line, print_table

    async with database:
        if dry_run:
            old = await count_old(database, models, older_than=age)
            print_table(("table", "old enough"), [(table, f"{number:,}") for table, number in old.items()])
            print_line("Nothing was removed. Rows that are still referenced would be kept.")
            return
        done = await _purge(database, models, age, batch)
    print_table(("table", "removed", "kept"), [(one.table, f"{one.removed:,}", f"{one.kept:,}") for one in done])
    if any(one.kept for one in done):
        print_line("Kept rows are old enough, but are referenced by rows that have to stay.", style="yellow")


async def _purge(database: Database, models: Any, age: timedelta, batch: int) -> list[Purged]:
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from ..soft_delete import purge

    found: dict[str, Purged] = {}
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    # On standard error, and erased at the end: only the table remains on standard output, to read or to pipe.
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)
        async for one in purge(database, models, older_than=age, batch=batch):
            found[one.table] = one
            bar.update(task, description=f"{one.table}: {one.removed:,} removed, {one.kept:,} kept")
    return list(found.values())
