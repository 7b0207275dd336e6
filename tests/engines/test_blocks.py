"""Blocks over connections of an engine, and what SQLAlchemy makes of its engine."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncTransaction

from sqlkeel.engines._blocks import EngineOfBlocks, note_failed_rollback
from sqlkeel.errors import NotSupported
from sqlkeel.sessions import Database


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


LOOKED_AT: dict[type[Any], set[str]] = {
    AsyncEngine: {
        # Overridden, or made by what is.
        "begin", "connect", "execution_options", "update_execution_options",
        # The pool's and the dialect's own.
        "dispose", "raw_connection",
        # They send nothing.
        "clear_compiled_cache", "dialect", "driver", "echo", "engine", "get_execution_options", "name", "pool",
        "sync_engine", "url",
    },
    AsyncConnection: {
        # Overridden.
        "begin", "begin_nested",
        # By the events of the engine: errors, ends, streams.
        "commit", "exec_driver_sql", "execute", "rollback", "run_sync", "scalar", "scalars", "stream", "stream_scalars",
        # They begin, end or take apart.
        "aclose", "close", "get_isolation_level", "get_raw_connection", "invalidate", "start",
        # They send nothing.
        "closed", "connection", "default_isolation_level", "dialect", "engine", "execution_options",
        "get_nested_transaction", "get_transaction", "in_nested_transaction", "in_transaction", "info", "invalidated",
        "sync_connection", "sync_engine",
    },
    AsyncTransaction: {
        "close", "commit", "connection", "is_active", "is_valid", "nested", "rollback", "start", "sync_transaction",
    },
}  # fmt: skip
"""The public names of what an engine gives, each looked at for whether it goes past us."""


class TestDoors:
    @pytest.mark.parametrize("kind", LOOKED_AT)
    def test_there_is_no_door_that_nobody_has_looked_at(self, kind: type[Any]) -> None:
        """A method that a newer SQLAlchemy adds fails here: see what it does past us, then list it."""
        assert {name for name in dir(kind) if not name.startswith("_")} == LOOKED_AT[kind]

    def test_autocommit_is_for_a_copy(self, sqlite: Database) -> None:
        """To change the engine itself would leave its units of work without a rollback; other options may change."""
        with pytest.raises(NotSupported, match="nothing that transaction"):
            sqlite.engine.update_execution_options(isolation_level="AUTOCOMMIT")

        sqlite.engine.update_execution_options(anything=1)
        assert sqlite.engine.get_execution_options()["anything"] == 1
        assert "isolation_level" not in sqlite.engine.get_execution_options()


class TestNoteFailedRollback:
    def test_it_says_what_became_of_it(self) -> None:
        """The note stands on the error that ends the block."""
        error = LookupError()

        note_failed_rollback(error, ValueError("no answer"))

        assert error.__notes__ == ["The rollback failed too, and its connection was closed: no answer"]
