"""Blocks over connections of an engine, and what SQLAlchemy makes of its engine."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from sqlkeel.database import Database
from sqlkeel.engines.blocks import EngineOfBlocks, note_failed_rollback


class TestEngineOfBlocks:
    async def test_a_copy_is_one_too(self, sqlite: Database) -> None:
        """Options of its own do not make it another engine."""
        copy = sqlite.engine.execution_options(anything=1)

        assert type(copy) is type(sqlite.engine) is EngineOfBlocks
        assert copy.get_execution_options()["anything"] == 1

    async def test_what_sqlalchemy_finds_is_one_too(self, sqlite: Database) -> None:
        """The engine of a connection is ours, and so is the one that is made again from the synchronous one."""
        async with sqlite.engine.connect() as connection:
            found = connection.engine

        assert type(found) is EngineOfBlocks
        assert type(AsyncEngine._retrieve_proxy_for_target(sqlite.engine.sync_engine)) is EngineOfBlocks

    async def test_nested_blocks_end_as_usual(self, db: Database) -> None:
        """A savepoint of a connection that fails is rolled back, and its error goes on."""
        async with db.engine.begin() as connection:
            with pytest.raises(LookupError):
                async with connection.begin_nested():
                    raise LookupError

            assert await connection.scalar(text("select 7")) == 7

    @pytest.mark.parametrize("name", ["_connection_cls", "_regenerate_proxy_for_target"])
    def test_sqlalchemy_has_the_places(self, name: str) -> None:
        """What is overridden is still what SQLAlchemy asks for."""
        assert hasattr(AsyncEngine, name)


class TestNoteFailedRollback:
    def test_it_says_what_became_of_it(self) -> None:
        """The note stands on the error that ends the block."""
        error = LookupError()

        note_failed_rollback(error, ValueError("no answer"))

        assert error.__notes__ == ["The rollback failed too, and its connection was closed: no answer"]
