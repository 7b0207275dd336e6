"""Options that a session's connection is asked for when its transaction has begun."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, aliased, mapped_column

import sqlkeel
from sqlkeel.errors import UsageError
from sqlkeel.sessions import Database, SyncSession
from tests.fixtures.databases import OpenDatabase


class Base(sqlkeel.Base):
    """The tables of these tests."""


class User(Base):
    """Somebody."""

    __tablename__ = "user"
    id: Mapped[int] = mapped_column(primary_key=True)


class TestLateOptions:
    @pytest.mark.parametrize("begin", [{}, {"isolation": "serializable"}, {"statement_timeout": 5}])
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

    @pytest.mark.parametrize("again", ["SERIALIZABLE", "serializable"])
    async def test_so_may_a_level_be_that_is_in_force(self, every_driver: Database, again: str) -> None:
        """Each part of a request may say so, and SQLAlchemy takes several spellings."""
        async with every_driver.session() as session:
            await session.connection(execution_options={"isolation_level": "SERIALIZABLE"})
            await session.execute(select(1))

            connection = await session.connection(execution_options={"isolation_level": again})

            assert await connection.get_isolation_level() == "SERIALIZABLE"

    async def test_another_level_is_refused(self, every_driver: Database) -> None:
        """It would not hold, and SQLAlchemy only warns."""
        async with every_driver.session() as session:
            await session.connection(execution_options={"isolation_level": "SERIALIZABLE"})

            with pytest.raises(UsageError, match="fixed by the first statement"):
                await session.connection(execution_options={"isolation_level": "READ UNCOMMITTED"})

    async def test_a_second_bind_may_have_its_own(self, postgres: Database, open_database: OpenDatabase) -> None:
        """What one engine was asked for first says nothing of another."""
        other = open_database(postgres)
        binds = {User: postgres.engine, Base: other.engine}
        async with AsyncSession(binds=binds, sync_session_class=SyncSession) as session:
            await session.connection(bind_arguments={"mapper": User})
            options = {"schema_translate_map": {"shop": None}, "isolation_level": "SERIALIZABLE"}

            found = await session.connection(
                bind_arguments={"bind": other.engine.sync_engine}, execution_options=options
            )

            assert found.sync_connection is not None
            assert found.sync_connection.get_execution_options()["schema_translate_map"] == {"shop": None}
            assert await found.get_isolation_level() == "SERIALIZABLE"


TENANT = {"schema_translate_map": {None: "tenant"}}


class TestStatement:
    @pytest.mark.parametrize(
        "statement",
        [
            select(User),
            select(User.id, User),
            select(aliased(User)),
            update(User).values(id=1),
            delete(User),
            insert(User).values(id=1).returning(User),
        ],
        ids=str,
    )
    @pytest.mark.parametrize("on_statement", [True, False])
    async def test_objects_of_another_schema_are_refused(
        self, db: Database, statement: Any, on_statement: bool
    ) -> None:
        """What is changed in them would be written to the row of the same key in the schema of the session."""
        given = {} if on_statement else {"execution_options": TENANT}
        statement = statement.execution_options(**TENANT) if on_statement else statement
        async with db.transaction() as session:
            with pytest.raises(UsageError, match="does not apply to its objects"):
                await session.execute(statement, **given)

    async def test_a_held_object_is_no_row_of_another_schema(self, db: Database) -> None:
        """With `get`, too: the object that is there is the row of the session's schema."""
        async with db.engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        async with db.transaction() as session:
            session.add(User(id=1))
            await session.flush()
            for get in (session.get, session.get_one):
                with pytest.raises(UsageError, match="does not apply to its objects"):
                    await get(User, 1, execution_options=TENANT)

    async def test_columns_may_come_from_there(self, postgres: Database) -> None:
        """A value is no object: reports over the schemas of all tenants are fine."""
        async with postgres.engine.begin() as connection:
            await connection.execute(text("CREATE SCHEMA tenant"))
            await connection.run_sync(Base.metadata.create_all)
            await connection.execution_options(**TENANT)
            await connection.run_sync(Base.metadata.create_all)
        async with postgres.transaction() as session:
            await session.execute(insert(User).values(id=7), execution_options=TENANT)
            await session.execute(update(User).values(id=8), execution_options={**TENANT, "synchronize_session": False})

            assert await session.scalar(select(User.id), execution_options=TENANT) == 8
            assert await session.scalar(select(User.id)) is None

    @pytest.mark.parametrize("asked", ["of the connection", "of the session"])
    async def test_the_schema_of_the_session_may_be_said_again(self, db: Database, asked: str) -> None:
        """A statement may carry what is in force."""
        options: Any = {"schema_translate_map": {"shop": None}}
        async with db.engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        async with db.session(**({"execution_options": options} if asked == "of the session" else {})) as session:
            if asked == "of the connection":
                await session.connection(execution_options=options)

            assert (await session.scalars(select(User), execution_options=options)).all() == []
