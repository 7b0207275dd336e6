"""``sqlkeel demo``: the reference service, and a tour of what the library does for it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["demo"]

_EXTRA = {"fastapi", "httpx", "starlette", "uvicorn"}


def demo(
    *,
    database_url: Annotated[
        str | None, typer.Option(help="An empty database; without it, a SQLite file that is removed.", metavar="URL")
    ] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="After the tour, go on serving at 127.0.0.1:8000 until Ctrl-C.")
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave tables and rows behind.")] = False,
) -> None:
    """Run the reference service and show, step by step, what the library does for it.

    Example:  sqlkeel demo --database-url postgresql://postgres@localhost/demo
    """
    import asyncio

    from ..errors import ConfigurationError

    # Importing a web framework may take seconds: say something before.
    typer.echo("sqlkeel demo: a service is asked over HTTP, and what it answers and leaves in the database is checked.")
    try:
        from ..demo.main import run
    except ModuleNotFoundError as error:
        if error.name not in _EXTRA:
            raise
        raise ConfigurationError(
            f"The demo needs {error.name}, which is not installed.", hint="pip install 'sqlkeel[demo]'"
        ) from None
    raise typer.Exit(asyncio.run(run(database_url=database_url, serve=serve, keep=keep, command=f"{_typed()} demo")))


def _typed() -> str:
    """Return the command as it was typed: `make demo` runs one that is not on the path."""
    program = sys.argv[0]
    if Path(program).name == "__main__.py":
        return "python -m sqlkeel"
    return Path(program).name if shutil.which(Path(program).name) == program else program
