"""PostgreSQL: what its sessions begin with."""

from __future__ import annotations

from contextlib import suppress

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from sqlkeel.engines._backend import Limits, parse_url
from sqlkeel.engines._databases.postgresql import _KINDS, NOTICE, PostgreSQLBackend
from sqlkeel.errors import (
    AuthenticationFailed,
    ConnectionLost,
    DatabaseFault,
    DatabaseUnavailable,
    StatementTimeout,
    TransactionAborted,
)
from sqlkeel.sessions import Database
from sqlkeel.testing import PostgreSQLServer
from tests.fixtures.databases import OpenDatabase


@pytest.fixture(params=["postgres", "psycopg"])
def database(request: pytest.FixtureRequest) -> Database:
    """PostgreSQL through each of its drivers."""
    found: Database = request.getfixturevalue(request.param)
    return found


class TestLimits:
    def test_they_are_in_the_startup_message(self) -> None:
        """Asyncpg takes settings, psycopg the options of libpq; neither needs a statement."""
        limits = Limits(statement=30, lock=5)
        backend = PostgreSQLBackend()

        asyncpg = backend.engine_options(parse_url("postgresql+asyncpg://"), limits)
        psycopg = backend.engine_options(parse_url("postgresql+psycopg://"), limits)

        assert asyncpg["connect_args"]["server_settings"] == {
            "statement_timeout": "30000",
            "lock_timeout": "5000",
            **NOTICE,
        }
        assert psycopg["connect_args"] == {
            "options": "-c statement_timeout=30000 -c lock_timeout=5000 -c client_connection_check_interval=500"
        }

    @pytest.mark.parametrize(("seconds", "milliseconds"), [(0, "0"), (0.0001, "1"), (0.5, "500"), (1.0004, "1001")])
    def test_a_short_limit_is_a_limit(self, seconds: float, milliseconds: str) -> None:
        """Rounding never makes zero of something, for zero is no limit."""
        options = PostgreSQLBackend().engine_options(parse_url("postgresql://"), Limits(statement=seconds))

        assert options["connect_args"]["server_settings"]["statement_timeout"] == milliseconds

    async def test_they_end_with_the_transaction(self, database: Database, open_database: OpenDatabase) -> None:
        """A released savepoint does not carry them out either."""
        one = open_database(database, pool_size=1, max_overflow=0)
        async with one.transaction(statement_timeout=3) as session, session.savepoint():
            inside = await session.scalar(text("show statement_timeout"))
        async with one.transaction() as session:
            after = await session.scalar(text("show statement_timeout"))

        assert (inside, after) == ("3s", "30s")

    async def test_zero_is_no_limit(self, database: Database) -> None:
        """A report that may take its time says so."""
        async with database.transaction(statement_timeout=0) as session:
            assert await session.scalar(text("show statement_timeout")) == "0"

    async def test_a_read_has_them_too(self, database: Database, open_database: OpenDatabase) -> None:
        """The pool that reads has the same limits."""
        hurried = open_database(database, statement_timeout=0.1)

        with pytest.raises(StatementTimeout):
            async with hurried.read() as session:
                await session.execute(text("select pg_sleep(5)"))


class TestCodes:
    @pytest.mark.parametrize("state", [*_KINDS, "08006"])
    async def test_each_has_its_class(self, database: Database, state: str) -> None:
        """Whatever SQLSTATE the server sends, neither driver keeps it from us."""
        raising = f"do $$ begin raise exception 'provoked' using errcode = '{state}'; end $$"

        with pytest.raises(DatabaseFault) as caught:
            async with database.transaction() as session:
                await session.execute(text(raising))

        assert getattr(caught.value.orig, "sqlstate", None) == state
        assert caught.value.code == _KINDS.get(state, ConnectionLost).code


class TestEngineOptions:
    async def test_a_copy_of_the_engine_gives_its_level_back(
        self, database: Database, open_database: OpenDatabase
    ) -> None:
        """An engine derived from ours shares the pool; the next borrower has the usual level, and may write."""
        one = open_database(database, pool_size=1, max_overflow=0)
        strict = one.engine.execution_options(isolation_level="SERIALIZABLE", postgresql_readonly=True)
        settings = text("select current_setting('transaction_isolation'), current_setting('transaction_read_only')")

        async with strict.connect() as connection:
            inside = (await connection.execute(settings)).one()
        async with one.transaction() as session:
            after = (await session.execute(settings)).one()

        assert (tuple(inside), tuple(after)) == (("serializable", "on"), ("read committed", "off"))


class TestReadOnly:
    async def test_it_is_the_servers(self, database: Database) -> None:
        """The transaction is read-only for the server, at the level that was asked for."""
        async with database.transaction(read_only=True, isolation="serializable") as session:
            read_only = await session.scalar(text("show transaction_read_only"))
            level = await session.scalar(text("show transaction_isolation"))

        assert (read_only, level) == ("on", "serializable")

    async def test_a_read_cannot_be_talked_out_of_it(self, database: Database) -> None:
        """The reading pool is read-only by default of its sessions."""
        async with database.read() as session:
            assert await session.scalar(text("show default_transaction_read_only")) == "on"


@pytest.fixture
def guarded(postgres_server: PostgreSQLServer) -> PostgreSQLServer:
    """A server that asks the account ``guest`` for a password."""
    rules = postgres_server.data / "pg_hba.conf"
    trusting = "host all postgres 127.0.0.1/32 trust\nhost all guest 127.0.0.1/32 scram-sha-256\n"
    rules.write_text(trusting)
    return postgres_server


class TestEvents:
    async def test_nobody_listens_to_the_engines(self, database: Database, open_database: OpenDatabase) -> None:
        """Each statement would pay for it, the one listener or ten: a tenth of a read by key."""
        fresh = open_database(database)  # a listener leaves its trace on an engine when it has gone

        assert [engine.sync_engine._has_events for engine in fresh.engines] == [False, False]


class TestTraces:
    @pytest.mark.parametrize("filler", ["", " " * 5_000])
    def test_the_parameters_are_looked_at_each_time(self, filler: str) -> None:
        """The text of a statement that was seen before is known; whether the setting is local is not in it."""
        leaves_traces = PostgreSQLBackend().traces(parse_url("postgresql://server/name"))
        statement = "SELECT set_config('a.b', $1, $2)" + filler

        assert leaves_traces is not None
        assert [leaves_traces(statement, ("x", is_local)) for is_local in (True, False, True)] == [False, True, False]


class TestAuthentication:
    async def test_a_wrong_password(self, guarded: PostgreSQLServer, open_database: OpenDatabase) -> None:
        """The error says what to check, and not what was tried."""
        admin = open_database(guarded.url())
        async with admin.engine.begin() as connection:
            await connection.execute(text("select pg_reload_conf()"))
            await connection.execute(text("create role guest login password 'right'"))
        url = admin.url.set(username="guest", password="wr0ng").render_as_string(hide_password=False)

        with pytest.raises(AuthenticationFailed) as caught:
            await open_database(url).check()

        assert isinstance(caught.value, DatabaseUnavailable)
        assert "wr0ng" not in str(caught.value)

    async def test_a_crashed_server(self, guarded: PostgreSQLServer, open_database: OpenDatabase) -> None:
        """While the server is away it is unavailable; when it is back, so are we."""
        database = open_database(guarded.url())
        await database.check()
        guarded.crash()
        with pytest.raises(DatabaseUnavailable):
            await open_database(guarded.url()).check()

        guarded.start()
        await database.run_transaction(lambda session: session.execute(text("select 1")))


class TestAborts:
    async def test_a_general_error_of_data(self, database: Database) -> None:
        """What asyncpg calls an argument that it did not send, a trigger may raise; that ends the transaction."""
        with pytest.raises(TransactionAborted):
            async with database.engine.begin() as connection:
                with suppress(DBAPIError):
                    await connection.execute(text("do $$ begin raise exception 'no' using errcode = '22000'; end $$"))

    async def test_an_argument_that_was_not_sent(self, postgres: Database) -> None:
        """The transaction goes on: the server knows nothing of it."""
        async with postgres.engine.begin() as connection:
            with suppress(DBAPIError):
                await connection.exec_driver_sql("select $1::integer", ("seven",))

            assert (await connection.execute(text("select 7"))).scalar() == 7
