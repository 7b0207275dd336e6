"""The root of the command line: its command groups, and how errors are shown to the user."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from . import demo, explain, lint, migrate, purge

__all__ = ["app", "main"]


class _Commands(TyperGroup):
    """Commands that show one of our errors as a message with exit code 1; any other exception keeps its traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            from ..errors import KeelError
            from .console import print_error

            if not isinstance(error, KeelError):
                raise
            print_error(error)
            raise typer.Exit(1) from None


app = typer.Typer(
    cls=_Commands,
    name="sqlkeel",
    help="The data layer of a Python backend: migrations, model rules, and a tour of what it does.",
    no_args_is_help=True,
    add_completion=False,
    # Typer's tracebacks would show local variables, including passwords.
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.add_typer(migrate.app, name="migrate")
app.command("lint")(lint.lint)
app.command("purge")(purge.purge)
app.command("demo")(demo.demo)
app.command("explain")(explain.explain)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"sqlkeel {version('sqlkeel')}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Accept the options before the command."""


def main() -> None:
    """Run the command line of this process."""
    app()
