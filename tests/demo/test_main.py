"""The whole tour, on every database."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from sqlkeel import Database
from sqlkeel.demo import main
from sqlkeel.demo.tour.plan import STEPS
from sqlkeel.demo.tour.step import Step, Tour, step
from sqlkeel.errors import AuthenticationFailed, ConfigurationError, DatabaseUnavailable


@step("Broken")
async def broken(tour: Tour) -> str:
    """Expect what is not so."""
    tour.expect(False, "it is not so")
    return "never"


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Walk the first step only."""
    monkeypatch.setattr(main, "STEPS", STEPS[:1])


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a terminal on which no pattern is wrapped."""
    monkeypatch.setenv("COLUMNS", "300")


class TestRun:
    @pytest.mark.usefixtures("wide")
    async def test_everything_is_as_it_has_to_be(
        self, every_driver: Database, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Every pattern passes on every database and driver, and has its row."""
        code = await main.run(database_url=every_driver.url.render_as_string(hide_password=False))

        table = capsys.readouterr().out
        assert "✗" not in table
        assert code == 0
        assert [each.pattern for each in STEPS if each.pattern not in table] == []

    @pytest.mark.usefixtures("wide")
    async def test_a_broken_expectation_is_the_exit_code(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The row says what is wrong, the others are shown all the same."""
        steps: list[Step] = [broken, STEPS[0]]
        monkeypatch.setattr(main, "STEPS", steps)

        code = await main.run()

        table = capsys.readouterr().out
        assert code == 1
        assert "✗ Unexpected: it is not so" in table
        assert "Alembic Migration Naming" in table
        assert re.search(r"2 steps, .* failed: Broken\n", table)

    @pytest.mark.usefixtures("short", "wide")
    async def test_it_ends_with_the_total_and_the_next_step(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Steps, statements, checks and seconds; then what to type, as it was typed."""
        await main.run(command="bin/keel demo")

        *_, total, following = capsys.readouterr().out.splitlines()
        assert re.fullmatch(r"1 steps, \d+ statements, 1 checks, \d+\.\d s: everything as it has to be", total)
        assert following == "Next: bin/keel demo --serve goes on serving, with a page of links."

    @pytest.mark.usefixtures("short")
    async def test_it_says_what_it_does_before_it_does_it(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The first line is there when the database is opened."""
        before = []

        @asynccontextmanager
        async def opened(url: str | None, *, keep: bool) -> AsyncIterator[Database]:
            before.append(capsys.readouterr().out)
            raise DatabaseUnavailable("nowhere")
            yield

        monkeypatch.setattr(main, "empty_database", opened)

        with pytest.raises(DatabaseUnavailable):
            await main.run()

        assert before == ["Making the tables of the demo, and starting its service …\n"]

    async def test_a_row_is_printed_when_its_step_ends(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Nobody looks at nothing while the tour is walked, on a terminal or not."""
        printed = []

        @step("Second")
        async def second(tour: Tour) -> str:
            """Look at what is printed."""
            printed.append(capsys.readouterr().out)
            return "done"

        monkeypatch.setattr(main, "STEPS", [STEPS[0], second])

        await main.run()

        assert "Migration" in printed[0]

    @pytest.mark.usefixtures("short")
    async def test_an_unreachable_server_is_one_error(self) -> None:
        """It comes out as it is; nothing is shown."""
        with pytest.raises(DatabaseUnavailable):
            await main.run(database_url="postgresql+asyncpg://nobody@127.0.0.1:1/none")

    @pytest.mark.usefixtures("short")
    async def test_a_wrong_password_is_one_error(self, mariadb: Database) -> None:
        """It comes out as it is."""
        url = mariadb.url.set(username="nobody", password="wrong").render_as_string(hide_password=False)

        with pytest.raises(AuthenticationFailed):
            await main.run(database_url=url)

    @pytest.mark.usefixtures("short")
    async def test_a_port_in_use_is_found_before_anything_is_done(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nobody waits for a tour that cannot be served."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            monkeypatch.setattr(main, "PORT", taken.getsockname()[1])

            with pytest.raises(ConfigurationError, match="cannot be used"):
                await main.run(serve=True)

    @pytest.mark.usefixtures("short", "wide")
    async def test_it_serves_until_it_is_interrupted(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Ctrl-C, which cancels the task, is the regular end."""
        monkeypatch.setattr(main, "PORT", 0)
        serving = asyncio.Event()

        async def wait() -> None:
            serving.set()
            await asyncio.Event().wait()

        monkeypatch.setattr(main, "wait_for_interrupt", wait)
        task = asyncio.create_task(main.run(serve=True))
        await serving.wait()

        task.cancel()
        code = await task

        assert code == 0
        assert re.search(r"Serving http://127\.0\.0\.1:\d+/ until Ctrl-C", capsys.readouterr().out)

    @pytest.mark.usefixtures("short", "wide")
    async def test_what_is_kept_is_named(self, sqlite: Database, capsys: pytest.CaptureFixture[str]) -> None:
        """With the URL that opens it again."""
        url = sqlite.url.render_as_string(hide_password=False)

        await main.run(database_url=url, keep=True)

        assert f"Kept: {url}" in capsys.readouterr().out
