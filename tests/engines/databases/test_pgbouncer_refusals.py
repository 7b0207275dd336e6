"""What a transaction pool cannot keep is refused with what to write instead."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text

from sqlkeel.engines._backend import Limits, parse_url
from sqlkeel.engines._databases.pgbouncer import PgBouncer
from sqlkeel.errors import InvalidValue, NotSupported
from sqlkeel.migrations._turn import turn
from sqlkeel.sessions import Database
from sqlkeel.testing import PgBouncerServer
from tests.engines.databases.pgbouncer_settings import NO_PREPARED, show
from tests.fixtures.databases import OpenDatabase


class TestRefusedStatements:
    @pytest.mark.parametrize(
        ("statement", "words"),
        [
            ("LISTEN news", "Notifications"),
            ("unlisten *", "Notifications"),
            ("SET statement_timeout = 0", "setting of the session"),
            ("set session role reader", "setting of the session"),
            ("/* why */ SET search_path = a", "setting of the session"),
            ("-- why\nSET search_path = a", "setting of the session"),
            ("select set_config('jit', 'off', FALSE)", "setting of the session"),
            ("select set_config(lower('JIT'), 'off', false)", "setting of the session"),
            ("PREPARE one AS select 1", "prepared statement"),
            ("deallocate all", "prepared statement"),
            ("CREATE TEMP TABLE stage (id int)", "temporary table"),
            ("create local temporary table stage (id int) on commit delete rows", "temporary table"),
            ("CREATE OR REPLACE TEMPORARY VIEW stage AS select 1", "temporary table"),
            ("DECLARE all_rows CURSOR WITH HOLD FOR select 1", "cursor"),
            ("select pg_advisory_lock(1)", "lock"),
            ("select pg_try_advisory_lock_shared (1)", "lock"),
        ],
    )
    async def test_what_outlives_a_transaction(self, pooled: Database, statement: str, words: str) -> None:
        """It is refused before it is sent, with what to do instead, and the transaction goes on."""
        async with pooled.transaction() as session:
            with pytest.raises(NotSupported, match=words) as caught:
                await session.execute(text(statement))
            left = await session.scalar(text("select 1"))

        assert caught.value.hint
        assert left == 1

    @pytest.mark.parametrize(
        "statement",
        [
            "SET LOCAL statement_timeout = 0",
            "set  local  role none",
            "SET TRANSACTION READ ONLY",
            "SET CONSTRAINTS ALL DEFERRED",
            "select set_config('jit', 'off', true)",
            "select set_config('jit', 'off', true), greatest(true, false)",
            "CREATE TEMPORARY TABLE stage (id int) ON COMMIT DROP",
            "DECLARE all_rows CURSOR FOR select 1",
            "select pg_advisory_xact_lock(1)",
            "select pg_try_advisory_xact_lock_shared(1)",
            "NOTIFY news",
            "select 'SET a = b; LISTEN'",
        ],
    )
    async def test_what_ends_with_it(self, pooled: Database, statement: str) -> None:
        """What the transaction takes with it is let through."""
        async with pooled.transaction() as session:
            await session.execute(text(statement))

            assert await session.scalar(text("select 1")) == 1

    async def test_migrations_want_a_direct_connection(self, pooled: Database) -> None:
        """Their lock belongs to a session; they are refused before they have begun."""
        with pytest.raises(NotSupported, match="setting of the session") as caught:
            async with turn(pooled.engine):
                pass

        assert "without pooler=" in caught.value.hint


class TestRefusedAutocommit:
    async def test_of_a_connection(self, pooled: Database) -> None:
        """A statement outside of a transaction would have no limits."""
        async with pooled.engine.connect() as connection:
            with pytest.raises(NotSupported, match="AUTOCOMMIT"):
                await connection.execution_options(isolation_level="AUTOCOMMIT")

    async def test_of_an_engine(self, pooled: Database) -> None:
        """Neither can an engine derived from ours have it."""
        with pytest.raises(NotSupported, match="AUTOCOMMIT"):
            pooled.engine.execution_options(isolation_level="AUTOCOMMIT")

    async def test_of_a_session(self, pooled: Database) -> None:
        """Nor a session of ours."""
        async with pooled.session() as session:
            with pytest.raises(NotSupported, match="AUTOCOMMIT"):
                await session.connection(execution_options={"isolation_level": "autocommit"})

    async def test_another_level_is_no_matter(self, pooled: Database) -> None:
        """It is said with BEGIN."""
        async with pooled.engine.connect() as connection:
            await connection.execution_options(isolation_level="SERIALIZABLE")
            level = (await connection.execute(text("show transaction_isolation"))).scalar_one()

        assert level == "serializable"


class TestRefusedOptions:
    @pytest.mark.parametrize(
        ("driver", "options", "words"),
        [
            ("asyncpg", {"isolation_level": "AUTOCOMMIT"}, "AUTOCOMMIT"),
            ("asyncpg", {"execution_options": {"isolation_level": "AUTOCOMMIT"}}, "AUTOCOMMIT"),
            ("asyncpg", {"async_creator": print}, "async_creator"),
            ("asyncpg", {"connect_args": {"statement_cache_size": 100}}, "statement_cache_size is 0"),
            ("asyncpg", {"connect_args": {"prepared_statement_cache_size": 1}}, "prepared_statement_cache_size is 0"),
            ("asyncpg", {"connect_args": {"prepared_statement_name_func": str}}, "prepared_statement_name_func"),
            ("asyncpg", {"connect_args": {"server_settings": {"JIT": "off"}}}, "jit: PgBouncer refuses"),
            ("psycopg", {"connect_args": {"prepare_threshold": 5}}, "prepare_threshold is None"),
            ("psycopg", {"connect_args": {"options": "-c jit=off"}}, "options cannot be given"),
            ("psycopg", {"connect_args": {"async_creator_fn": print}}, "async_creator_fn"),
        ],
    )
    def test_what_cannot_work(self, driver: str, options: dict[str, Any], words: str) -> None:
        """It is refused when the Database is made, with the reason."""
        with pytest.raises(NotSupported, match=words):
            Database(f"postgresql+{driver}://localhost/app", pooler="pgbouncer", **options)

    @pytest.mark.parametrize(
        ("query", "words"),
        [("options=-c jit%3Doff", "options cannot"), ("prepared_statement_cache_size=9", "cache_size is 0")],
    )
    def test_what_the_url_says(self, query: str, words: str) -> None:
        """An option of the driver in the URL is one as well."""
        with pytest.raises(NotSupported, match=words):
            Database(f"postgresql://localhost/app?{query}", pooler="pgbouncer")

    @pytest.mark.parametrize(
        ("driver", "options"),
        [
            ("asyncpg", {"connect_args": {"statement_cache_size": 0, "server_settings": {"application_name": "shop"}}}),
            ("asyncpg", {"isolation_level": "SERIALIZABLE", "pool_size": 3}),
            ("psycopg", {"connect_args": {"prepare_threshold": None, "application_name": "shop"}}),
        ],
    )
    def test_what_can(self, driver: str, options: dict[str, Any]) -> None:
        """What agrees with us, or is no matter to the pooler, is taken."""
        url = f"postgresql+{driver}://localhost/app?prepared_statement_cache_size=0"

        assert Database(url, pooler="pgbouncer", **options).dialect == "postgresql"

    async def test_what_the_pooler_keeps_arrives(self, pgbouncer: PgBouncerServer, open_database: OpenDatabase) -> None:
        """The application's name is a setting that the pooler itself takes along."""
        arguments = {"server_settings": {"application_name": "shop"}}
        named = open_database(pgbouncer.url(), pooler="pgbouncer", connect_args=arguments)

        assert await show(named.engine, "application_name") == ("shop",)

    @pytest.mark.parametrize("url", ["sqlite:///app.db", "mariadb://localhost/app"])
    def test_another_database(self, url: str) -> None:
        """PgBouncer is PostgreSQL's."""
        with pytest.raises(NotSupported, match="does not support"):
            Database(url, pooler="pgbouncer")

    def test_another_pooler(self) -> None:
        """The error says which there are."""
        options: dict[str, Any] = {"pooler": "pgpool"}

        with pytest.raises(InvalidValue, match="'pgpool'") as caught:
            Database("postgresql://localhost/app", **options)

        assert "pgbouncer" in caught.value.hint

    @pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
    def test_the_startup_message_sets_nothing(self, driver: str) -> None:
        """The limits are not in it, where PgBouncer would refuse the connection."""
        url = parse_url(f"postgresql+{driver}://localhost/app")

        arguments = PgBouncer(url, {}).engine_options(url, Limits(statement=30))["connect_args"]

        assert {"options", "server_settings"}.isdisjoint(arguments)
        assert NO_PREPARED[driver].items() <= arguments.items()
