"""``sqlkeel migrate``: create, run and revert migrations, and show the state of the database."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

if TYPE_CHECKING:
    from ..migrations import Migrations, Revision

__all__ = ["app"]

T = TypeVar("T")
Url = Annotated[
    str | None,
    typer.Option(help="The database, instead of the one in pyproject.toml or DATABASE_URL.", metavar="URL"),
]

app = typer.Typer(
    help="Create and run migrations. Settings are in pyproject.toml under \\[tool.sqlkeel].",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


@app.command()
def new(
    message: Annotated[str, typer.Argument(help="What changes; the file is named after it.")],
    *,
    empty: Annotated[
        bool, typer.Option("--empty", help="Write an empty revision, without connecting to the database.")
    ] = False,
    database_url: Url = None,
) -> None:
    """Write a revision with the differences between models and database.

    If there are none, no file is written, and the exit code is still 0.

    Example:  sqlkeel migrate new "add users table"
    """
    from .console import print_line

    path = _run(database_url, lambda migrations: migrations.new(message, autogenerate=not empty))
    if path is None:
        print_line("Models and database agree; nothing to write.")
        return
    print_line(f"Wrote {_short(path)}")
    for doubt in _doubts(path):
        print_line(f"  {doubt}", style="yellow")


@app.command()
def up(
    target: Annotated[str, typer.Argument(help="head, a revision id, or +1.")] = "head", *, database_url: Url = None
) -> None:
    """Apply the revisions that the database lacks.

    If two processes run this, one waits for the other. On PostgreSQL and SQLite a failed revision leaves nothing
    behind. MariaDB commits every DDL statement, so the statements before the failed one stay.

    Example:  sqlkeel migrate up
    """
    _print_moved("up", _run(database_url, lambda migrations: migrations.up(target)), "The database is up to date.")


@app.command()
def down(
    target: Annotated[str, typer.Argument(help="-1, the id of a revision that stays applied, or base for all.")] = "-1",
    *,
    database_url: Url = None,
) -> None:
    """Revert the last revision, or several.

    Example:  sqlkeel migrate down
    """
    _print_moved("down", _run(database_url, lambda migrations: migrations.down(target)), "Nothing to revert.")


@app.command()
def status(*, database_url: Url = None) -> None:
    """List all revisions, and show which of them are applied.

    Example:  sqlkeel migrate status
    """
    from .console import print_line, print_table

    revisions = _run(database_url, _status)
    if not revisions:
        print_line("There are no revisions.")
        return
    print_table(
        ("revision", "date", "message", "state"),
        [(one.id, one.day, one.message, "applied" if one.applied else "pending") for one in revisions],
    )


@app.command()
def check(*, database_url: Url = None) -> None:
    """Check that the database has every revision and matches the models; exit with 1 if not.

    Example:  sqlkeel migrate check
    """
    from .console import print_line

    _run(database_url, lambda migrations: migrations.check())
    print_line("The database is up to date and matches the models.", style="green")


def _doubts(path: Path) -> list[str]:
    """Return the comments in a new revision: each asks for a decision before the revision runs."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").partition("def downgrade")[0].splitlines())
    return [line.removeprefix("# ") for line in lines if line.startswith("# ") and not line.startswith("# ###")]


async def _status(migrations: Migrations) -> list[Revision]:
    migrations.require_database()
    return await migrations.status()


def _run(url: str | None, work: Callable[[Migrations], Awaitable[T]]) -> T:
    from ..errors import KeelError
    from ..migrations import Migrations, Project
    from .console import print_failure, results_alone
    from .running import run_with

    project = Project.find(Path.cwd())
    try:
        with results_alone():
            models, directory = project.models(), project.directory
            return run_with(project.open_database(url), lambda database: work(Migrations(database, models, directory)))
    except KeelError:
        raise
    except Exception as error:
        place = _place_in_revision(error)
        if place is None:
            raise
        print_failure(error, place)
        raise typer.Exit(1) from None


def _place_in_revision(error: Exception) -> str | None:
    """Return file and line of the revision that raised *error*; ``None`` if no revision did."""
    import traceback

    # Only Alembic calls functions of these names, in a revision.
    frames = traceback.extract_tb(error.__traceback__)
    found = [frame for frame in frames if frame.name in {"upgrade", "downgrade"} and "alembic" not in frame.filename]
    return f"{_short(Path(found[-1].filename))}:{found[-1].lineno}" if found else None


def _print_moved(direction: str, revisions: list[Revision], nothing: str) -> None:
    from .console import print_line

    for revision in revisions:
        print_line(f"{direction}  {revision.path.name}  ({revision.id})", style="green")
    if not revisions:
        print_line(nothing)


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
