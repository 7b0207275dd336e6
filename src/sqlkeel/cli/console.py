"""What the commands print: results to standard output, errors in red to standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout

from rich.console import Console
from rich.table import Table
from rich.text import Text
from sqlalchemy.exc import DBAPIError

from ..errors import DatabaseFault, KeelError

__all__ = ["print_error", "print_failure", "print_line", "print_table", "results_alone"]


@contextmanager
def results_alone() -> Iterator[None]:
    """Redirect what the project prints to standard error, so that standard output holds only the results."""
    with redirect_stdout(sys.stderr):
        yield


def print_line(text: str, *, style: str = "") -> None:
    """Print *text* literally, without markup and without line breaks."""
    Console(highlight=False, soft_wrap=True).print(Text(text, style=style))


def print_table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows under *headers*; short values stay on one line."""
    table = Table(*headers, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*map(Text, row))
    Console(highlight=False).print(table)


def print_error(error: KeelError) -> None:
    """Print what happened, the failed statement, and what to type next."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(Text(error.message, style="bold red"))
    for note in getattr(error, "__notes__", ()):
        console.print(Text(note, style="red"))
    if isinstance(error, DatabaseFault) and error.statement:
        console.print(Text(f"SQL: {' '.join(error.statement.split())}", style="dim"))
    if error.hint:
        console.print(Text(f"hint: {error.hint}", style="yellow"))


def print_failure(error: Exception, place: str) -> None:
    """Print an exception of a revision that is not one of ours: message, place and statement."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    said = str(error.orig if isinstance(error, DBAPIError) else error)
    console.print(Text(f"{place}: {type(error).__name__}: {' '.join(said.split())}", style="bold red"))
    for note in getattr(error, "__notes__", ()):
        console.print(Text(note, style="red"))
    if isinstance(error, DBAPIError) and error.statement:
        console.print(Text(f"SQL: {' '.join(error.statement.split())}", style="dim"))
