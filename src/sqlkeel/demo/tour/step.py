"""A step of the tour, the objects that it uses, and its row in the printed table."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from sqlalchemy import Executable

from sqlkeel import Database, queries
from sqlkeel.observe import QueryLog

from ..source import Distribution

__all__ = ["Row", "Step", "Tour", "Unexpected", "step"]

Walk = Callable[["Tour"], Awaitable[str]]
Progress = Callable[[int, int], None]


class Unexpected(Exception):
    """A check has failed, so the tour fails."""


@dataclass(frozen=True)
class Step:
    """One pattern to show; its function *walk* returns the result in words, or raises."""

    pattern: str
    done: str
    walk: Walk


def step(pattern: str) -> Callable[[Walk], Step]:
    """Turn a function into a step; the first line of its docstring describes the step."""

    def make(walk: Walk) -> Step:
        return Step(pattern, (walk.__doc__ or "").partition("\n")[0].rstrip("."), walk)

    return make


@dataclass(frozen=True)
class Row:
    """The result of a step."""

    pattern: str
    done: str
    statements: int
    checks: int
    result: str
    passed: bool


@dataclass
class Tour:
    """The objects that the steps use.

    ``db`` is the database of the service. ``witness`` is the same database over separate connections, which see only
    committed rows. ``http`` sends requests to the service over a real socket.
    """

    db: Database
    witness: Database
    http: httpx.AsyncClient
    distributions: Sequence[Distribution]
    progress: Progress = field(default=lambda done, total: None)
    statements: int = 0
    checks: int = 0

    async def take(self, step: Step) -> Row:
        """Run one step."""
        self.statements = self.checks = 0
        try:
            result, passed = await step.walk(self), True
        except Exception as error:  # noqa: BLE001 - one failed step must not hide what the others show
            result, passed = f"{type(error).__name__}: {error}".partition("\n")[0], False
        return Row(step.pattern, step.done, self.statements, self.checks, result, passed)

    def expect(self, fact: bool, otherwise: str) -> None:
        """Count a check, and continue if *fact* is true.

        Raises:
            Unexpected: When *fact* is false, with the sentence *otherwise*.
        """
        self.checks += 1
        if not fact:
            raise Unexpected(otherwise)

    @asynccontextmanager
    async def counted(self, *, exactly: int | None = None) -> AsyncIterator[QueryLog]:
        """Count the statements of the service in the block, without those that prepare and check the step."""
        self.checks += exactly is not None
        async with queries(self.db, exactly=exactly) as log:
            try:
                yield log
            finally:
                self.statements += len(log)

    async def see(self, statement: Executable) -> Sequence[Any]:
        """Return the rows that another connection sees in the database now, including deleted ones."""
        async with self.witness.read() as session:
            result = await session.execute(statement, execution_options={"include_deleted": True})
            return result.all()

    async def see_one(self, statement: Executable) -> Any:
        """Return the first value of the first row that another connection sees."""
        return (await self.see(statement))[0][0]

    async def call(self, method: str, path: str, *, status: int = 200, **options: Any) -> httpx.Response:
        """Send a request to the service.

        Raises:
            Unexpected: When the response has another status.
        """
        response = await self.http.request(method, path, **options)
        self.expect(response.status_code == status, f"{method} {path}: {response.status_code}, not {status}")
        return response
