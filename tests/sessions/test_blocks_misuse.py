"""A block that is not entered as one says what to write."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sqlkeel.errors import UsageError
from sqlkeel.observe import queries
from sqlkeel.sessions import Database, Session
from tests.sessions.block_models import Base, Measure, checked_out, ids

pytestmark = pytest.mark.tables(Base.metadata)


BLOCKS: dict[str, Callable[[Database, Session], Any]] = {
    "db.transaction": lambda database, session: database.transaction(),
    "db.read": lambda database, session: database.read(),
    "session.savepoint": lambda database, session: session.savepoint(),
    "queries": lambda database, session: queries(database),
}


class TestMisuse:
    """A block that is not entered as one says what to write, in the names of its caller."""

    @pytest.mark.parametrize("name", BLOCKS)
    async def test_with(self, sqlite: Database, name: str) -> None:
        """By ``with``, which waits for nothing."""
        async with sqlite.session() as session:
            with pytest.raises(UsageError) as caught, BLOCKS[name](sqlite, session):
                pass

        assert caught.value.message == f"{name}() is entered by async with, not by with."
        assert caught.value.hint.startswith(f"async with {name}(")

    @pytest.mark.parametrize("name", ["db.session", "session.begin"])
    async def test_a_session_or_its_transaction_with(self, sqlite: Database, name: str) -> None:
        """By ``with``, where it is no block of ours but SQLAlchemy's: the same words, and nothing has begun."""
        async with sqlite.session() as session:
            used: Any = session if name == "db.session" else session.begin()
            with pytest.raises(UsageError) as caught, used:
                pass

            assert not session.in_transaction()
        assert caught.value.message == f"{name}() is entered by async with, not by with."
        assert caught.value.hint.startswith(f"async with {name}(")

    @pytest.mark.parametrize("name", BLOCKS)
    async def test_await(self, sqlite: Database, name: str) -> None:
        """By ``await``."""
        async with sqlite.session() as session:
            with pytest.raises(UsageError, match=rf"{name}\(\) is a block(.|\n)*async with {name}\("):
                await BLOCKS[name](sqlite, session)

    def test_a_database_with(self) -> None:
        """By ``with``, which cannot wait until its connections are closed."""
        database: Any = Database("sqlite://")

        with pytest.raises(UsageError) as caught, database:
            pass

        assert caught.value.message == "Database() is entered by async with, not by with."
        assert caught.value.hint == "async with Database(url) as db: ..."

    @pytest.mark.parametrize("name", BLOCKS)
    async def test_for(self, sqlite: Database, name: str) -> None:
        """By ``for``, as the rows in it are read."""
        async with sqlite.session() as session:
            block: Any = BLOCKS[name](sqlite, session)
            with pytest.raises(UsageError, match=rf"{name}\(\) is a block(.|\n)*async with {name}\("):
                list(block)

    @pytest.mark.parametrize("name", BLOCKS)
    async def test_async_for(self, sqlite: Database, name: str) -> None:
        """By ``async for``, as a dependency that yields is read."""
        async with sqlite.session() as session:
            with pytest.raises(UsageError, match=rf"{name}\(\) is a block(.|\n)*async with {name}\("):
                async for _ in BLOCKS[name](sqlite, session):
                    pass

    @pytest.mark.parametrize("name", BLOCKS)
    async def test_as_what_it_gives(self, sqlite: Database, name: str) -> None:
        """In the place of the session; an AttributeError, which ``hasattr`` asks for."""
        async with sqlite.session() as session:
            block = BLOCKS[name](sqlite, session)

            with pytest.raises(AttributeError, match=rf"{name}\(\) is a block, and has no 'add'.*async with {name}\("):
                block.add(Measure(id=1))

            assert not hasattr(block, "commit")

    async def test_it_leaves_nothing_open(self, sqlite: Database) -> None:
        """What was refused was never opened: the next block of the task is its own."""
        with pytest.raises(UsageError):
            await BLOCKS["db.transaction"](sqlite, sqlite.session())

        async with sqlite.transaction(durable=True) as session:
            session.add(Measure(id=1))

        assert await ids(sqlite) == [1]
        assert checked_out(sqlite) == 0

    @pytest.mark.parametrize("name", BLOCKS)
    def test_the_library_makes_blocks_of_this_class(self, name: str) -> None:
        """A private class of contextlib's, of which these are: without it a block would be made by hand."""

        @asynccontextmanager
        async def made() -> AsyncIterator[None]:
            yield

        assert isinstance(BLOCKS[name](Database("sqlite://"), Session()), type(made()))
