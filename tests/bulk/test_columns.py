"""Tests of sqlkeel.bulk._columns: tables and types as the database of this very connection knows them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import BigInteger, Integer, String, event, func, select, text
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

import sqlkeel
from sqlkeel import IntKeyMixin
from sqlkeel.bulk import (
    delete_many,
    get_or_create,
    insert_many,
    insert_many_returning,
    update_many,
    upsert,
    upsert_many,
)
from sqlkeel.bulk._columns import is_expression
from sqlkeel.sessions import Database, Session
from sqlkeel.types._stored import engine_type
from tests.fixtures.databases import OpenDatabase


class Base(sqlkeel.Base):
    pass


class Item(IntKeyMixin, Base):
    """A table of every tenant."""

    __tablename__ = "columns_item"

    code: Mapped[str] = mapped_column(String(20), unique=True)
    n: Mapped[int] = mapped_column(default=0)


class Beside(Base):
    """Columns with names such as a statement has beside its columns."""

    __tablename__ = "columns_beside"

    sqlkeel_0: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    n: Mapped[int] = mapped_column("SQLKEEL_1")
    touched: Mapped[str] = mapped_column(String(10), default="new", onupdate=lambda: "touched")


class Loud(TypeDecorator[str]):
    impl = String(10)
    cache_ok = True


class Louder(TypeDecorator[str]):
    impl = Loud()
    cache_ok = True


VERBS: dict[str, Callable[[Session], Awaitable[Any]]] = {
    "insert_many": lambda session: insert_many(session, Item, [{"code": "new"}]),
    "insert_many_returning": lambda session: insert_many_returning(session, Item, [{"code": "new"}]),
    "upsert": lambda session: upsert(session, Item, {"code": "new"}, on=[Item.code]),
    "get_or_create": lambda session: get_or_create(session, Item, {"code": "new"}, {}),
    "upsert_many": lambda session: upsert_many(session, Item, [{"code": "new"}], on=[Item.code]),
    "update_many": lambda session: update_many(session, Item, [{"id": 101, "code": "new"}]),
}
TENANT = "columns_tenant"


class Tenants:
    """A database with the tables of nobody in its own schema, and those of one tenant in another."""

    def __init__(self, database: Database, schema: str, options: dict[str, Any]) -> None:
        self.database = database
        self.schema = schema
        self.options = options

    async def codes(self, schema: str | None) -> list[str]:
        """Return the codes of the items in one schema."""
        name = "columns_item" if schema is None else f"{schema}.columns_item"
        async with self.database.session() as session:
            return [*(await session.scalars(text(f"SELECT code FROM {name} ORDER BY code")))]


async def _make_schema(connection: AsyncConnection, schema: str) -> None:
    statements = {
        "postgresql": [f"DROP SCHEMA IF EXISTS {schema} CASCADE", f"CREATE SCHEMA {schema}"],
        "mysql": [f"DROP DATABASE IF EXISTS {schema}", f"CREATE DATABASE {schema}"],
        "mariadb": [f"DROP DATABASE IF EXISTS {schema}", f"CREATE DATABASE {schema}"],
    }
    for statement in statements.get(connection.dialect.name, []):
        await connection.exec_driver_sql(statement)


@pytest.fixture
async def tenants(every_driver: Database, open_database: OpenDatabase, tmp_path: Path) -> AsyncIterator[Tenants]:
    schema = f"{every_driver.url.database}_tenant" if every_driver.dialect == "mariadb" else TENANT
    options = {"schema_translate_map": {None: schema}}
    database = open_database(every_driver)
    if every_driver.dialect == "sqlite":
        attach = f"ATTACH DATABASE '{tmp_path / 'tenant.db'}' AS {schema}"
        event.listen(database.engine.sync_engine, "connect", lambda raw, _: raw.execute(attach))
    async with database.engine.begin() as connection:
        await _make_schema(connection, schema)
    async with database.engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with database.engine.execution_options(**options).begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield Tenants(database, schema, options)
    if every_driver.dialect == "mariadb":
        async with database.engine.begin() as connection:
            await connection.exec_driver_sql(f"DROP DATABASE {schema}")
    if every_driver.dialect == "postgresql":
        async with database.engine.begin() as connection:
            await connection.exec_driver_sql(f"DROP SCHEMA {schema} CASCADE")


class TestTranslatedSchemas:
    @pytest.mark.parametrize("verb", VERBS)
    async def test_rows_go_to_the_schema_of_the_session(self, tenants: Tenants, verb: str) -> None:
        """With ``schema_translate_map`` on the connection of the session, each verb writes there, and nowhere else."""
        async with tenants.database.transaction() as session:
            await session.connection(execution_options=tenants.options)
            session.add(Item(id=101, code="old"))
            await session.flush()
            await VERBS[verb](session)

        assert "new" in await tenants.codes(tenants.schema)
        assert await tenants.codes(None) == []

    async def test_the_engine_may_translate(self, tenants: Tenants, open_database: OpenDatabase) -> None:
        """A Database made for a tenant, as an option of its engine, writes into the tenant's schema."""
        engine = tenants.database.engine.execution_options(**tenants.options)
        async with Session(engine) as session:
            await insert_many(session, Item, [{"id": 101, "code": "a"}])
            await update_many(session, Item, [{"id": 101, "n": 5}])
            await upsert_many(session, Item, [{"code": "a", "n": 6}, {"code": "b"}], on=[Item.code])
            await session.commit()

        assert await tenants.codes(tenants.schema) == ["a", "b"]
        assert await tenants.codes(None) == []

    async def test_rows_are_deleted_there(self, tenants: Tenants) -> None:
        """`delete_many` removes the tenant's row, and leaves the one with the same key in the default schema."""
        async with tenants.database.transaction() as session:
            await insert_many(session, Item, [{"id": 101, "code": "everybody's"}])
        async with tenants.database.transaction() as session:
            await session.connection(execution_options=tenants.options)
            await insert_many(session, Item, [{"id": 101, "code": "the tenant's"}])

            deleted = await delete_many(session, Item, [101])

        assert deleted == 1
        assert await tenants.codes(tenants.schema) == []
        assert await tenants.codes(None) == ["everybody's"]

    async def test_two_tenants_in_turn(self, tenants: Tenants) -> None:
        """What was compiled for one schema is not used for the other."""
        for options, code in ((tenants.options, "theirs"), ({}, "ours"), (tenants.options, "theirs too")):
            async with tenants.database.transaction() as session:
                await session.connection(execution_options=options)
                await upsert_many(session, Item, [{"code": code}], on=[Item.code])

        assert await tenants.codes(tenants.schema) == ["theirs", "theirs too"]
        assert await tenants.codes(None) == ["ours"]


class TestStored:
    def test_through_decorators(self) -> None:
        """The type of the database is found behind a decorator of a decorator."""
        assert type(engine_type(Louder(), postgresql.dialect())) is type(String(10).dialect_impl(postgresql.dialect()))

    def test_the_variant_of_the_dialect(self) -> None:
        """A variant counts for its dialect only."""
        kind = Integer().with_variant(BigInteger(), "mysql")

        assert isinstance(engine_type(kind, mysql.dialect()), BigInteger)
        assert not isinstance(engine_type(kind, postgresql.dialect()), BigInteger)


class TestExpressions:
    @pytest.mark.parametrize("value", [Item.n, Item.n + 1, func.now(), text("1"), select(Item.id)])
    def test_they_are_known(self, value: Any) -> None:
        """A column, an operation, a function, a text and a query are expressions."""
        assert is_expression(value)

    @pytest.mark.parametrize("value", [None, 1, "Item.n + 1", b"", [Item.n], object()])
    def test_values_are_none(self, value: Any) -> None:
        """What a driver may be given is a value."""
        assert not is_expression(value)


@pytest.mark.tables(Base.metadata)
class TestNamesBeside:
    async def test_a_column_may_have_such_a_name(self, every_driver: Database) -> None:
        """What an ``onupdate`` makes goes into its own column; SQLite wrote a value of the other one there."""
        rows = [{"sqlkeel_0": 1, "n": 5}, {"sqlkeel_0": 2, "n": 6}]

        async with every_driver.transaction() as session:
            made = await insert_many_returning(session, Beside, rows)
            await update_many(session, Beside, [{"sqlkeel_0": 1, "n": 7}])
            await upsert_many(
                session, Beside, [{"sqlkeel_0": 2, "n": 8}, {"sqlkeel_0": 3, "n": 9}], on=[Beside.sqlkeel_0]
            )
            found = await session.execute(select(Beside.sqlkeel_0, Beside.n, Beside.touched).order_by(Beside.sqlkeel_0))

        assert [one.sqlkeel_0 for one in made] == [1, 2]
        assert [tuple(row) for row in found] == [(1, 7, "touched"), (2, 8, "touched"), (3, 9, "new")]
