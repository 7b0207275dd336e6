"""The steps of the tour, and what becomes of one that fails."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from sqlkeel import Database
from sqlkeel.demo.tour.plan import STEPS
from sqlkeel.demo.tour.step import Tour, Unexpected, step

PATTERNS = [
    "Async Engine + Session",
    "Commit/Rollback",
    "Nested Transaction with Savepoint",
    "Naming Conventions",
    "Constraint Naming",
    "Alembic Migration Naming",
    "Eager Loading: selectinload for collections",
    "Eager Loading: joinedload for single relationships",
    "Eager Loading: raiseload to detect N+1",
    "Cascade Delete",
    "Soft Delete Pattern",
    "Optimistic Locking",
    "Timestamp Mixin",
    "Bulk Insert",
    "Bulk Update",
    "Upsert",
    "UUID Primary Keys",
    "Dual ID Pattern",
    "Repository Pattern",
]


@pytest.fixture
async def tour(tmp_path: Path) -> AsyncIterator[Tour]:
    """A tour of an empty SQLite file, whose service answers nothing but 404."""
    url = f"sqlite+aiosqlite:///{tmp_path}/tour.db"
    missing = httpx.MockTransport(lambda request: httpx.Response(404))
    async with (
        Database(url) as db,
        Database(url) as witness,
        httpx.AsyncClient(transport=missing, base_url="http://demo") as http,
    ):
        yield Tour(db, witness, http, [])


class TestSteps:
    def test_every_pattern_has_a_step(self) -> None:
        """What sqlkeel builds in, the tour shows."""
        assert set(PATTERNS) - {each.pattern for each in STEPS} == set()

    def test_every_step_says_what_is_done(self) -> None:
        """The first line of its docstring is the second column of the table."""
        assert {each.walk.__name__ for each in STEPS if not each.done} == set()


class TestTake:
    async def test_a_step_becomes_a_row(self, tour: Tour) -> None:
        """With its words, and the statements of what it counted."""

        @step("Pattern")
        async def walk(tour: Tour) -> str:
            """Ask for one."""
            async with tour.counted(), tour.db.read() as session:
                await session.execute(text("SELECT 1"))
            return "done"

        row = await tour.take(walk)

        assert (row.pattern, row.done, row.statements, row.result, row.passed) == (
            "Pattern",
            "Ask for one",
            1,
            "done",
            True,
        )

    async def test_what_checks_is_not_counted(self, tour: Tour) -> None:
        """Neither the witness nor what is outside of the counted block."""

        @step("Pattern")
        async def walk(tour: Tour) -> str:
            """Look."""
            await tour.see(text("SELECT 1"))
            async with tour.db.read() as session:
                await session.execute(text("SELECT 1"))
            return "done"

        row = await tour.take(walk)

        assert row.statements == 0

    async def test_a_failed_expectation_fails_the_row(self, tour: Tour) -> None:
        """The row says what was wrong."""

        @step("Pattern")
        async def walk(tour: Tour) -> str:
            """Expect too much."""
            tour.expect(False, "two and two are four")
            return "done"

        row = await tour.take(walk)

        assert (row.passed, row.result) == (False, "Unexpected: two and two are four")

    async def test_what_is_checked_is_counted(self, tour: Tour) -> None:
        """A fact that holds, one that does not, a budget, and the status of an answer."""

        @step("Pattern")
        async def walk(tour: Tour) -> str:
            """Check four times."""
            async with tour.counted(exactly=0), tour.counted():
                await tour.call("GET", "/projects", status=404)
            tour.expect(True, "it holds")
            tour.expect(False, "it does not")
            return "never"

        row = await tour.take(walk)

        assert (row.checks, row.passed) == (4, False)

    async def test_too_many_statements_fail_the_row(self, tour: Tour) -> None:
        """A budget is an expectation too; what was sent is shown."""

        @step("Pattern")
        async def walk(tour: Tour) -> str:
            """Send one too many."""
            async with tour.counted(exactly=0), tour.db.read() as session:
                await session.execute(text("SELECT 1"))
            return "done"

        row = await tour.take(walk)

        assert (row.passed, row.statements) == (False, 1)
        assert row.result.startswith("QueryBudgetExceeded")

    @pytest.mark.parametrize("each", STEPS, ids=lambda each: each.walk.__name__)
    async def test_no_step_passes_without_the_service(self, tour: Tour, each: object) -> None:
        """Every step finds out that the database is empty and the service does not answer."""
        row = await tour.take(each)  # type: ignore[arg-type]

        assert row.passed == (each is STEPS[0])


class TestCall:
    async def test_another_status_is_unexpected(self, tour: Tour) -> None:
        """The error has both."""
        with pytest.raises(Unexpected, match="404, not 200"):
            await tour.call("GET", "/projects")
