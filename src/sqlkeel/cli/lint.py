"""``sqlkeel lint``: check models, a live database and an application's responses against the rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

if TYPE_CHECKING:
    from ..errors import ConfigurationError
    from ..lint import Finding, RenamePlan
    from ..migrations import Project
    from ..sessions._database import Database

__all__ = ["lint"]

_Format = Literal["text", "json", "github", "sarif"]
_Target = Annotated[
    str | None,
    typer.Argument(
        help="package.module:Base, a module, or package.main:app; by default, what pyproject.toml names.",
        show_default=False,
    ),
]
_Url = Annotated[
    str | None, typer.Option(help="Check this database instead of the models.", metavar="URL", show_default=False)
]
_Code = Annotated[str | None, typer.Option(help="Explain what a rule asks for, and why.", metavar="CODE")]
_Style = Annotated[_Format, typer.Option("--format", help="The format of the findings.")]
_Known = Annotated[Path | None, typer.Option(help="Ignore the findings in this file.", metavar="FILE")]
_Write = Annotated[Path | None, typer.Option(help="Write the findings to this file.", metavar="FILE")]
_Fix = Annotated[bool, typer.Option("--fix-migration", help="Write a migration that fixes the names.")]
_TEXT: Final = (str, "string")
_LIST: Final = (list, "list of strings")
_CHECKED_LATER: Final = (object, "")
_SETTINGS: Final[Mapping[str, tuple[type, str]]] = {
    "app": _TEXT,
    "baseline": _TEXT,
    "exclude": _CHECKED_LATER,
    "ignore": _CHECKED_LATER,
    "schemas": _LIST,
    "singular": _LIST,
}


def lint(
    target: _Target = None,
    *,
    database_url: _Url = None,
    explain: _Code = None,
    style: _Style = "text",
    baseline: _Known = None,
    write_baseline: _Write = None,
    fix_migration: _Fix = False,
) -> None:
    """Check the models against the rules for names, types and indexes.

    Exit code 0: no findings; 1: findings; 2: the command or its settings are wrong, or a database cannot be reached.
    DATABASE_URL is not read: an environment variable must not decide whether models or a database are checked.

    Example:  sqlkeel lint app.models:Base
    """
    from ..errors import KeelError
    from .console import print_error

    try:
        if explain is not None:
            _explain(explain)
        elif fix_migration:
            _refuse_beside("--fix-migration", target, baseline, write_baseline)
            _write_migration(database_url)
        else:
            _lint(target, database_url, _Output(style, baseline, write_baseline))
    except KeelError as error:
        print_error(error)
        raise typer.Exit(2) from None


@dataclass(frozen=True)
class _Output:
    style: _Format
    baseline: Path | None
    write_baseline: Path | None


def _explain(code: str) -> None:
    from ..lint import explain
    from .console import print_line

    print_line(explain(code))


def _lint(target: str | None, url: str | None, output: _Output) -> None:
    from .console import results_alone

    if url is not None:
        _refuse_beside("--database-url", target)
    project = _project(required=target is None and url is None)
    settings = _settings(project)
    with results_alone():
        findings = _of_models(project, target) if url is None else _of_database(project, url)
    if output.write_baseline is not None:
        _write_baseline(findings, output.write_baseline)
        return
    known = output.baseline or (project.root / settings["baseline"] if "baseline" in settings else None)
    if known is not None:
        findings = _without_known(findings, known)
    _print(findings, output.style, "models" if url is None else "database")
    if findings:
        raise typer.Exit(1)


def _refuse_beside(option: str, *others: object) -> None:
    """Refuse options that would silently be ignored."""
    given = [str(one) for one in others if one is not None]
    if given:
        raise _wrong(f"{', '.join(given)} cannot be combined with {option}.")


def _of_models(project: Project, target: str | None) -> list[Finding]:
    from sqlalchemy.exc import SQLAlchemyError

    from ..lint import check
    from ..lint._responses import is_app

    settings = _settings(project)
    named = _load(project, target) if target is not None else None
    path = settings.get("app") if named is None else None
    app = _load(project, path) if path is not None else named
    if path is not None and not is_app(app):
        raise _wrong(f"app = {path!r} is not an application with routes.")
    with _loading("The models"):
        models = project.models() if named is None or is_app(named) else named
    with _loading("The models", SQLAlchemyError):  # the rules configure the mappers, which may raise
        return check(models, apps=[app] if is_app(app) else [], **_options(settings))


def _of_database(project: Project, url: str) -> list[Finding]:
    from ..lint import check_database
    from ..sessions._database import Database
    from .running import run_with

    settings = _settings(project)

    async def run(database: Database) -> list[Finding]:
        options = _options(settings) | {"schemas": settings.get("schemas", ()), "models": _models_if_any(project)}
        return await check_database(database, **options)

    return run_with(Database(url), run)


def _write_migration(url: str | None) -> None:
    from .console import print_line, results_alone
    from .running import run_with

    project = _project(required=True)
    with results_alone():
        plan, path = run_with(project.open_database(url), lambda database: _plan_and_write(project, database))
    for line in plan.renames:
        print_line(line)
    for line in plan.refused:
        print_line(f"not renamed: {line}", style="yellow")
    if path is None:
        print_line("Nothing to rename.")
    else:
        print_line(f"Wrote {_short(path)}", style="green")
        print_line("Make the same renames in the models, and stop applications with the old names before you run it.")
    if plan.refused:
        raise typer.Exit(1)


async def _plan_and_write(project: Project, database: Database) -> tuple[RenamePlan, Path | None]:
    from ..errors import DatabaseBehind
    from ..lint import plan_renames
    from ..lint._revision import fill_revision
    from ..migrations import Migrations

    settings = _settings(project)
    with _loading("The models"):
        models = project.models()
    migrations = Migrations(database, models, project.directory)
    revisions = await migrations.status() if (project.directory / "env.py").exists() else []
    if pending := [one.path.name for one in revisions if not one.applied]:
        raise DatabaseBehind(pending)
    plan = await plan_renames(database, models=models, schemas=settings.get("schemas", ()), **_options(settings))
    path = await migrations.new("rename by convention", autogenerate=False) if plan.renames else None
    if path is not None:
        fill_revision(path, upgrade=plan.upgrade, downgrade=plan.downgrade)
    return plan, path


def _write_baseline(findings: list[Finding], path: Path) -> None:
    from ..lint import Baseline
    from .console import print_line

    Baseline.of(findings).write(path)
    print_line(f"Wrote {len(findings)} finding(s) to {path}.")


def _without_known(findings: list[Finding], path: Path) -> list[Finding]:
    from ..lint import Baseline

    fresh, gone = Baseline.read(path).compare(findings)
    if gone:
        # Not to standard output, where another program may read the report.
        typer.echo(f"{len(gone)} finding(s) of {path} are fixed: {', '.join(gone)}", err=True)
        typer.echo(f"hint: sqlkeel lint --write-baseline {path}", err=True)
    return fresh


def _print(findings: list[Finding], style: _Format, what: str) -> None:
    from ..lint import report
    from .console import print_line

    if style != "text":
        print_line(report(findings, style))
        return
    for finding in findings:
        head, _, fix = report([finding]).partition("\n")
        print_line(head, style="red")
        print_line(fix, style="yellow")
    if findings:
        print_line(f"{len(findings)} finding(s).")
    else:
        print_line(f"The {what} follow{'s' if what == 'database' else ''} all rules.", style="green")


def _project(*, required: bool) -> Project:
    from ..migrations import Project

    folder = Path.cwd()
    return Project.find(folder) if required else Project.find_if_any(folder) or Project(folder, {})


def _settings(project: Project) -> Mapping[str, Any]:
    from ..migrations._project import refuse_unknown

    settings: Mapping[str, Any] = project.settings.get("lint", {})
    refuse_unknown(settings, _SETTINGS, where="[tool.sqlkeel.lint]")
    for name, value in settings.items():
        kind, called = _SETTINGS[name]
        words = value if kind is list and isinstance(value, list) else []
        if not isinstance(value, kind) or not all(isinstance(word, str) for word in words):
            raise _wrong(f"{name} = {value!r} in [tool.sqlkeel.lint] is not a {called}.")
    return settings


def _options(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: settings[name] for name in ("exclude", "ignore", "singular") if name in settings}


def _models_if_any(project: Project) -> Any:
    with _loading("The models"):
        return project.models() if "models" in project.settings else None


def _load(project: Project, path: str) -> Any:
    with _loading(path):
        return _resolve(project, path)


@contextmanager
def _loading(what: str, kind: type[Exception] = Exception) -> Iterator[None]:
    """Report an error of the project's own code as one message with file and line; no check has run."""
    import traceback

    from ..errors import KeelError

    try:
        yield
    except KeelError:
        raise
    except kind as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        wrong = _wrong(f"{what} cannot be loaded: {type(error).__name__}: {error}")
        wrong.add_note(f"{place.filename}:{place.lineno}")
        raise wrong from error


def _resolve(project: Project, path: str) -> Any:
    """Import ``package.module``, or an object in it."""
    import pkgutil
    import sys

    if str(project.root) not in sys.path:
        sys.path.insert(0, str(project.root))
    try:
        return pkgutil.resolve_name(path)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{path.partition(':')[0]}.".startswith(f"{error.name}."):
            raise  # The module exists, but one that it imports does not.
        raise _wrong(f"{path!r} cannot be found: there is no module {error.name!r} in {project.root}.") from None
    except (AttributeError, ValueError) as error:
        raise _wrong(f"{path!r} cannot be found: {error}.") from None


def _wrong(message: str) -> ConfigurationError:
    from ..errors import ConfigurationError

    return ConfigurationError(message)


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
