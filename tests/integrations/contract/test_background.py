"""Background tasks: they run after the commit, without the session of the request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import InvalidRequestError

from sqlkeel import Database, Session
from tests.integrations.contract.framework import Framework
from tests.integrations.tables import Base, Note, stored, write
from tests.integrations.wire import client, traffic

pytestmark = pytest.mark.tables(Base.metadata)


async def add(session: Session) -> None:
    """Leave a note to a flush that never comes."""
    session.add(Note(text="late"))


class TestBackgroundTask:
    async def test_it_sees_the_row(self, framework: Framework, db: Database) -> None:
        """Background tasks run after the commit."""
        seen: list[str] = []

        async def look() -> None:
            seen.extend(await stored(db))

        async def endpoint(session: Session) -> Any:
            await write(session)
            return framework.answer(task=look)

        async with client(framework.serve(db, endpoint)) as http:
            await http.post("/")

        assert seen == ["kept"]

    @pytest.mark.parametrize("use", [write, add])
    async def test_it_cannot_use_the_session(
        self, framework: Framework, db: Database, use: Callable[[Session], Awaitable[None]]
    ) -> None:
        """A task that has the session of the request gets an error at its first use of it, and takes no connection."""
        seen: list[list[str]] = []

        async def endpoint(session: Session) -> Any:
            async def task() -> None:
                with traffic(db) as sent, pytest.raises(InvalidRequestError, match="closed"):
                    await use(session)
                seen.append(sent)

            await session.execute(text("SELECT 1"))
            return framework.answer(task=task)

        async with client(framework.serve(db, endpoint)) as http:
            await http.post("/")

        assert seen == [[]]
        assert await stored(db) == []

    async def test_it_opens_its_own(self, framework: Framework, db: Database) -> None:
        """A task that was given the database opens a transaction, which commits by itself."""

        async def endpoint(session: Session, database: Database) -> Any:
            async def task() -> None:
                async with database.transaction() as own:
                    await write(own)

            return framework.answer(task=task)

        async with client(framework.serve(db, endpoint)) as http:
            await http.post("/")

        assert await stored(db) == ["kept"]
