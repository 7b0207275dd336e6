"""Tests of sqlkeel.cli.running: a database is opened for the work of a command, and closed."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from sqlalchemy import text

from sqlkeel.cli.running import run_with
from sqlkeel.errors import DatabaseFault
from sqlkeel.sessions import Database


async def ask(database: Database) -> int:
    """Send a statement."""
    async with database.engine.connect() as connection:
        return int(await connection.scalar(text("SELECT 1")) or 0)


class TestRunWith:
    def test_answer(self) -> None:
        """What the work returns is returned, and nothing of the driver is left."""
        before = set(threading.enumerate())

        answer = run_with(Database("sqlite+aiosqlite://"), ask)

        assert answer == 1
        assert set(threading.enumerate()) <= before

    def test_no_connection(self, tmp_path: Path) -> None:
        """Nor is it where no connection could be made."""
        before = set(threading.enumerate())

        with pytest.raises(DatabaseFault):
            run_with(Database(f"sqlite+aiosqlite:///{tmp_path}/nowhere/a.db"), ask)

        assert set(threading.enumerate()) <= before

    def test_threads_of_others(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Threads that were there before are not waited for."""
        joined: list[threading.Thread] = []
        done = threading.Event()
        other = threading.Thread(target=done.wait, daemon=True)
        other.start()
        monkeypatch.setattr(threading.Thread, "join", lambda thread, timeout=None: joined.append(thread))

        run_with(Database("sqlite+aiosqlite://"), ask)

        done.set()
        assert other not in joined
