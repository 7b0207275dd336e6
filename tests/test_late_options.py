"""Options that a session's connection is asked for when its transaction has begun."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from sqlkeel import base
from sqlkeel.database import Database
from sqlkeel.errors import UsageError
from sqlkeel.sync_session import SyncSession
from tests.fixtures.databases import OpenDatabase


class Base(base.Base):
    """The tables of these tests."""


class User(Base):
    """Somebody."""

    __tablename__ = "user"
    id: Mapped[int] = mapped_column(primary_key=True)


class TestLateOptions:
    @pytest.mark.parametrize("begin", [{}, {"isolation": "serializable"}, {"timeout": 5}])
    async def test_another_schema_after_it_is_refused(self, every_driver: Database, begin: dict[str, Any]) -> None:
        """What is written would go to the schema of before, with a warning in the log."""
        options = {"schema_translate_map": {None: "tenant"}}
        async with every_driver.transaction(**begin) as session:
            await session.execute(select(1))

            with pytest.raises(UsageError, match="began without schema_translate_map"):
                await session.connection(execution_options=options)
            with pytest.raises(UsageError, match="began without schema_translate_map"):
                await session.run_sync(lambda sync: sync.connection(None, options))

    async def test_what_is_in_force_may_be_asked_for_again(self, db: Database) -> None:
        """Each part of a request may say what it needs."""
        options = {"schema_translate_map": {"shop": None}}
        async with db.transaction() as session:
            first = await session.connection(execution_options=options)
            await session.execute(select(1))
            again = await session.connection(execution_options=options)

            assert again.sync_connection is first.sync_connection

    async def test_a_second_bind_may_have_its_own(self, postgres: Database, open_database: OpenDatabase) -> None:
        """What one engine was asked for first says nothing of another."""
        other = open_database(postgres)
        binds = {User: postgres.engine, Base: other.engine}
        async with AsyncSession(binds=binds, sync_session_class=SyncSession) as session:
            await session.connection(bind_arguments={"mapper": User})
            options = {"schema_translate_map": {"shop": None}}

            found = await session.connection(
                bind_arguments={"bind": other.engine.sync_engine}, execution_options=options
            )

            assert found.sync_connection is not None
            assert found.sync_connection.get_execution_options()["schema_translate_map"] == {"shop": None}
