"""The limits of a database: how long a statement, a wait and an idle connection may take."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text

from sqlkeel.errors import NotSupported, ReadOnlyViolation
from sqlkeel.sessions import Database, Session
from sqlkeel.sessions import _database as database_module
from tests.engines.peers import kill, own_id
from tests.fixtures.databases import OpenDatabase
from tests.sessions.database_models import Base, Failure, emails

ONE_TEXT = {
    "postgresql": {"options": "-c application_name=mine -c lock_timeout=3000"},
    "mariadb": {"init_command": "set names utf8mb4, session innodb_lock_wait_timeout = 3, @mine = 'mine';"},
}


pytestmark = pytest.mark.tables(Base.metadata)


@pytest.fixture(params=["psycopg", "mariadb"])
def one_text(request: pytest.FixtureRequest) -> Database:
    """Each driver that takes the settings of a session in one text."""
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]  # it is one


class TestLimits:
    async def test_they_are_in_force(self, server: Database, open_database: OpenDatabase) -> None:
        """The limits of the database stand in every session of the server."""
        database = open_database(server, statement_timeout=7, lock_timeout=3, idle_timeout=11)

        async with database.transaction() as session:
            limits = await _limits(session)

        assert limits == [7.0, 3.0, 11.0]

    async def test_a_transactions_own_do_not_leak(self, server: Database, open_database: OpenDatabase) -> None:
        """They end with the transaction, for whoever gets the connection next."""
        database = open_database(server, pool_size=1, max_overflow=0, statement_timeout=7, lock_timeout=3)

        async with database.transaction(statement_timeout=2, lock_timeout=1) as session:
            inside = await _limits(session)
        async with database.transaction() as session:
            after = await _limits(session)

        assert inside == [2.0, 1.0, 60.0]
        assert after == [7.0, 3.0, 60.0]

    async def test_they_do_not_leak_after_a_failure(self, server: Database, open_database: OpenDatabase) -> None:
        """Nor does a rollback leave them."""
        database = open_database(server, pool_size=1, max_overflow=0, statement_timeout=7, lock_timeout=3)
        with pytest.raises(Failure):
            async with database.transaction(statement_timeout=2, lock_timeout=1):
                raise Failure

        async with database.transaction() as session:
            after = await _limits(session)

        assert after == [7.0, 3.0, 60.0]

    async def test_none_is_the_servers_own(self, server: Database, open_database: OpenDatabase) -> None:
        """Without limits of ours those of the server stand, also after a transaction with its own."""
        database = open_database(
            server, pool_size=1, max_overflow=0, statement_timeout=None, lock_timeout=None, idle_timeout=None
        )
        async with database.transaction() as session:
            before = await _limits(session)
        async with database.transaction(statement_timeout=2, lock_timeout=1):
            pass

        async with database.transaction() as session:
            after = await _limits(session)

        assert after == before

    async def test_the_wait_of_sqlite_does_not_leak(self, sqlite: Database, open_database: OpenDatabase) -> None:
        """lock_timeout= is how long SQLite waits for its turn, for this transaction only."""
        database = open_database(sqlite, pool_size=1, max_overflow=0, lock_timeout=3)

        async with database.transaction(lock_timeout=1) as session:
            inside = await session.scalar(text("PRAGMA busy_timeout"))
        async with database.transaction() as session:
            after = await session.scalar(text("PRAGMA busy_timeout"))

        assert (inside, after) == (1000, 3000)

    async def test_connect_args_are_merged(self, postgres: Database, open_database: OpenDatabase) -> None:
        """Naming the application does not lose the limits."""
        arguments = {"server_settings": {"application_name": "keel_test"}}
        database = open_database(postgres, statement_timeout=7, connect_args=arguments)

        async with database.transaction() as session:
            name = await session.scalar(text("show application_name"))
            limits = await _limits(session)

        assert name == "keel_test"
        assert limits[0] == 7.0

    async def test_options_of_the_url_are_merged(self, psycopg: Database, open_database: OpenDatabase) -> None:
        """With psycopg the URL's options and our limits are one setting."""
        url = psycopg.url.update_query_dict({"options": "-c application_name=keel_test"})
        database = open_database(url.render_as_string(hide_password=False), statement_timeout=7)

        async with database.transaction() as session:
            name = await session.scalar(text("show application_name"))
            limits = await _limits(session)

        assert name == "keel_test"
        assert limits[0] == 7.0

    @pytest.mark.parametrize("argument", ["in the URL", "in connect_args"])
    async def test_settings_in_one_text_are_merged(
        self, one_text: Database, open_database: OpenDatabase, argument: str
    ) -> None:
        """Where the driver takes settings in one text, the caller's hold, and lose none of ours."""
        given = ONE_TEXT[one_text.dialect]
        if argument == "in the URL":
            url = one_text.url.update_query_dict(given)
            own = open_database(url.render_as_string(hide_password=False), statement_timeout=7)
        else:
            own = open_database(one_text, statement_timeout=7, connect_args=given)

        async with own.transaction() as session:
            writing = await _limits(session)
        async with own.read() as session:
            reading = await _limits(session)

        assert (writing, reading) == ([7.0, 3.0, 60.0], [7.0, 3.0, 60.0])

    async def test_a_read_stays_one(self, psycopg: Database, open_database: OpenDatabase) -> None:
        """Settings of the caller's do not take from the server that it refuses what a reading session writes."""
        database = open_database(psycopg, connect_args={"options": "-c application_name=mine"})

        with pytest.raises(ReadOnlyViolation):
            async with database.read() as session:
                await session.execute(text('WITH made AS (DELETE FROM "user" RETURNING id) SELECT * FROM made'))

    @pytest.mark.parametrize(
        "command", ["SET ROLE shop", "SELECT 1", "SET @a = 1; SET @b = 2", "set session transaction read only"]
    )
    def test_a_command_that_cannot_go_along_is_refused(self, mariadb: Database, command: str) -> None:
        """It would be sent instead of our settings, the time zone among them."""
        with pytest.raises(NotSupported, match="init_command"):
            Database(mariadb.url, connect_args={"init_command": command})


class TestIdleConnections:
    async def test_a_dead_one_is_replaced(self, server: Database, open_database: OpenDatabase, idle: None) -> None:
        """A connection that was killed while it idled costs its next borrower nothing."""
        database = open_database(server, pool_size=1, max_overflow=0)
        async with database.transaction() as session:
            number = await own_id(session, database)
        await kill(server, number)

        async with database.transaction() as session:
            replaced = await own_id(session, database)

        assert replaced != number

    async def test_a_living_one_is_kept(self, server: Database, open_database: OpenDatabase, idle: None) -> None:
        """The check itself changes nothing."""
        database = open_database(server, pool_size=1, max_overflow=0)
        async with database.transaction() as session:
            number = await own_id(session, database)

        async with database.transaction() as session:
            again = await own_id(session, database)

        assert again == number

    async def test_a_busy_one_is_not_asked(self, server: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        """A connection that was just used is trusted, and on a machine that is busy itself "just" may be long ago."""
        monkeypatch.setattr(database_module, "IDLE_BEFORE_CHECK", 3600.0)
        asked = _count_pings(server, monkeypatch)

        await emails(server)
        await emails(server)

        assert asked == []

    async def test_an_idle_one_is_asked(self, server: Database, monkeypatch: pytest.MonkeyPatch, idle: None) -> None:
        """One that idled is asked once when it is taken."""
        await emails(server)
        asked = _count_pings(server, monkeypatch)

        await emails(server)

        assert len(asked) == 1

    @pytest.fixture
    def idle(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let every connection in the pool count as idle."""
        monkeypatch.setattr(database_module, "IDLE_BEFORE_CHECK", 0.0)


async def _limits(session: Session) -> list[float]:
    connection = await session.connection()
    found = (await connection.execute(text(LIMITS[connection.dialect.name]))).one()
    return [float(value) for value in found]


def _count_pings(database: Database, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    asked: list[Any] = []
    dialect = database.engine.sync_engine.dialect
    ping = dialect.do_ping

    def count(connection: Any) -> bool:
        asked.append(connection)
        return ping(connection)

    monkeypatch.setattr(dialect, "do_ping", count)
    return asked


LIMITS = {
    "postgresql": "select extract(epoch from current_setting('statement_timeout')::interval),"
    " extract(epoch from current_setting('lock_timeout')::interval),"
    " extract(epoch from current_setting('idle_in_transaction_session_timeout')::interval)",
    "mariadb": "select @@max_statement_time, @@innodb_lock_wait_timeout, @@idle_transaction_timeout",
}
