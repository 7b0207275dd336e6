"""Print the tour on a terminal: a row when each step ends, then the total and the next commands."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from .tour.step import Row, Step

__all__ = ["Report"]


class Report:
    """Prints the steps of the tour while they run.

    Args:
        console: Where to print.
        steps: How many steps there are.
    """

    def __init__(self, console: Console, *, steps: int) -> None:
        self.console = console
        self.steps = steps
        self.rows: list[Row] = []
        self._bars = _bars(console)
        self._step = self._bars.add_task("", total=steps, rate="")
        self._files = self._bars.add_task("files", total=None, rate="", visible=False)
        self._start = time.perf_counter()

    @contextmanager
    def walk(self) -> Iterator[None]:
        """Print the head of the table; on a terminal, show the running step until the block ends."""
        self._print("[bold]pattern", "[bold]what was done", "[bold]statements", "[bold]result")
        with self._bars:
            yield

    def begin(self, step: Step) -> None:
        """Show the step that is running now."""
        self._bars.update(self._step, description=step.pattern)

    def advance(self, done: int, total: int) -> None:
        """Show the progress of an import: how many of its files are done."""
        speed = self._bars.tasks[self._files].speed
        rate = f"{speed:,.0f}/s" if speed else ""
        self._bars.update(self._files, completed=done, total=total, visible=done < total, rate=rate)

    def add(self, row: Row) -> None:
        """Print the row of a step that has ended."""
        self.rows.append(row)
        self._bars.advance(self._step)
        mark = "[green]✓[/]" if row.passed else "[red]✗[/]"
        self._print(escape(row.pattern), escape(row.done), str(row.statements), f"{mark} {escape(row.result)}")

    def end(self) -> None:
        """Print the total."""
        failed = [row.pattern for row in self.rows if not row.passed]
        outcome = f"[red]failed: {escape(', '.join(failed))}" if failed else "[green]everything as it has to be"
        self.console.print(
            f"\n{self.steps} steps, {_sum(self.rows, 'statements')} statements, {_sum(self.rows, 'checks')} checks, "
            f"{time.perf_counter() - self._start:,.1f} s: {outcome}",
            highlight=False,
            soft_wrap=True,
        )

    def _print(self, *cells: str) -> None:
        """Print one row; the widths depend on the terminal only, so that the columns of all rows are aligned."""
        row = Table(box=None, expand=True, show_header=False, padding=(0, 1, 1, 0))
        row.add_column(ratio=4)
        row.add_column(ratio=5)
        row.add_column(width=10, justify="right")
        row.add_column(ratio=6)
        row.add_row(*cells)
        self.console.print(row)


def _bars(console: Console) -> Progress:
    columns: Sequence[Any] = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=console, disable=not console.is_terminal, transient=True)


def _sum(rows: Sequence[Row], name: str) -> str:
    return f"{sum(getattr(row, name) for row in rows):,}"
