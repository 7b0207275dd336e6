"""``sqlkeel lint``: hold the models to the rules."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["lint"]


def lint(
    models: Annotated[
        str | None,
        typer.Argument(help="package.module:Base; without it, the one in pyproject.toml.", show_default=False),
    ] = None,
) -> None:
    """Hold the models to the rules for names and schema; exit with 1 where one is broken.

    Example:  sqlkeel lint app.models:Base
    """
    from ..lint import check
    from ..migrations import Project
    from .console import print_line

    project = Project.find(Path.cwd()) if models is None else Project(Path.cwd(), {"models": models})
    settings = project.settings.get("lint", {})
    findings = check(project.models(), singular=settings.get("singular", ()), ignore=settings.get("ignore", ()))
    for finding in findings:
        print_line(f"{finding.code}  {finding.where}: {finding.message}", style="red")
        print_line(f"    fix: {finding.fix}", style="yellow")
    if findings:
        print_line(f"{len(findings)} finding(s).")
        raise typer.Exit(1)
    print_line("The models keep all rules.", style="green")
