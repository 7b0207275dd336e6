"""Connections that are lost, or never come about, on the real server through each driver."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import event, insert, text
from sqlalchemy.exc import DBAPIError

from sqlkeel import errors
from sqlkeel.errors import CommitUnknown, ConnectionLost, TransientFault
from sqlkeel.sessions import Database
from tests.engines.fault_tables import count_people, metadata, person
from tests.engines.peers import cancelled_at_each_step, kill, own_id, soon
from tests.faults.proxy import proxy_to
from tests.fixtures.databases import OpenDatabase

pytestmark = pytest.mark.tables(metadata)


class TestLostConnections:
    async def test_a_killed_connection_is_lost(self, server: Database) -> None:
        """What runs on a connection that the server ends fails as ConnectionLost, which may be run again."""
        with pytest.raises(ConnectionLost) as caught:
            async with server.transaction() as session:
                await kill(server, await own_id(session, server))
                await session.execute(text("select 1"))

        assert caught.value.connection_invalidated
        assert isinstance(caught.value, TransientFault)

    async def test_the_pool_goes_on(self, server: Database) -> None:
        """After a lost connection the next borrower gets one that works."""
        with pytest.raises(ConnectionLost):
            async with server.transaction() as session:
                await kill(server, await own_id(session, server))
                await session.execute(text("select 1"))

        async with server.transaction() as session:
            answer = await session.scalar(text("select 1"))

        assert answer == 1

    async def test_a_connection_lost_while_idle_is_replaced_by_a_retry(self, server: Database) -> None:
        """run_transaction runs the whole function again on a new connection."""
        numbers: list[int] = []

        async def work(session: Any) -> int:
            numbers.append(await own_id(session, server))
            if len(numbers) == 1:
                await kill(server, numbers[0])
            return int(await session.scalar(text("select 7")))

        answer = await server.run_transaction(work)

        assert answer == 7
        assert len(set(numbers)) == 2

    async def test_a_loss_during_commit_is_unknown(self, server: Database) -> None:
        """Whether a COMMIT without an answer took place, the driver cannot say; it may not be run again just so."""
        async with server.session() as session:
            await session.execute(insert(person).values(id=1, email="a"))
            await kill(server, await own_id(session, server))

            with pytest.raises(CommitUnknown) as caught:
                await session.commit()

        assert caught.value.connection_invalidated
        assert not isinstance(caught.value, TransientFault)

    async def test_a_loss_in_a_rollback_is_no_doubt(self, server: Database) -> None:
        """Only COMMIT leaves one: what was to be rolled back is gone in any case."""
        async with server.engine.connect() as connection:
            await connection.execute(insert(person).values(id=1, email="a"))
            await kill(server, await own_id(connection, server))

            with pytest.raises(ConnectionLost):
                await connection.rollback()

        assert await count_people(server) == 0

    async def test_a_loss_just_before_commit_is_none(self, postgresql: Database) -> None:
        """A transaction of PostgreSQL asks for its name before it commits: who is gone by then has not committed."""
        with pytest.raises(ConnectionLost):
            async with postgresql.transaction() as session:
                await session.execute(insert(person).values(id=1, email="a"))
                await kill(postgresql, await own_id(session, postgresql))

        assert await count_people(postgresql) == 0

    async def test_an_unknown_commit_is_not_retried(self, mariadb: Database) -> None:
        """Running it again could do it twice."""
        calls: list[int] = []

        async def work(session: Any) -> None:
            calls.append(await own_id(session, mariadb))
            await kill(mariadb, calls[-1])

        with pytest.raises(CommitUnknown):
            await mariadb.run_transaction(work)

        assert len(calls) == 1


class TestUnreachable:
    async def test_a_port_where_nobody_listens(self, server: Database, open_database: OpenDatabase) -> None:
        """No server is DatabaseUnavailable, with host and port and without the password."""
        url = server.url.set(port=1, password="s3cret").render_as_string(hide_password=False)

        with pytest.raises(errors.DatabaseUnavailable) as caught:
            await open_database(url).check()

        assert type(caught.value) is errors.DatabaseUnavailable
        assert "127.0.0.1:1" in str(caught.value)
        assert "s3cret" not in str(caught.value)

    async def test_a_database_that_does_not_exist(self, server: Database, open_database: OpenDatabase) -> None:
        """A wrong name is said to be that, with how to make the database; psycopg has the server's words alone."""
        url = server.url.set(database="keel_no_such_database").render_as_string(hide_password=False)

        with pytest.raises(errors.DatabaseMissing, match="keel_no_such_database") as caught:
            await open_database(url).check()

        assert "CREATE DATABASE keel_no_such_database." in caught.value.hint

    async def test_a_user_that_does_not_exist(self, postgres: Database, open_database: OpenDatabase) -> None:
        """Before there is a connection, psycopg tells it by the server's words alone."""
        url = postgres.url.set(drivername="postgresql+psycopg", username="keel_nobody")

        with pytest.raises(errors.AuthenticationFailed, match="keel_nobody"):
            await open_database(url.render_as_string(hide_password=False)).check()

    async def test_a_host_in_the_query(self, server: Database, open_database: OpenDatabase) -> None:
        """The host is named, not the database."""
        url = server.url.set(host="", port=1).update_query_dict({"host": "127.0.0.1"})

        with pytest.raises(errors.DatabaseUnavailable, match=r"No connection to 127\.0\.0\.1:1 could be made"):
            await open_database(url.render_as_string(hide_password=False)).check()

    async def test_a_file_that_cannot_be_made(self, open_database: OpenDatabase) -> None:
        """SQLite makes the file but not its directory."""
        with pytest.raises(errors.DatabaseUnavailable) as caught:
            await open_database("sqlite+aiosqlite:////no/such/directory/app.db").check()

        assert isinstance(caught.value, DBAPIError)
        assert "folder" in caught.value.hint

    async def test_an_option_that_the_driver_does_not_have(self, server: Database, open_database: OpenDatabase) -> None:
        """It is named, and nothing else of the URL is."""
        url = server.url.update_query_dict({"no_such_option": "s3cret"}).render_as_string(hide_password=False)

        with pytest.raises(errors.ConfigurationError, match="no_such_option") as caught:
            await open_database(url).check()

        assert "s3cret" not in str(caught.value)

    async def test_an_option_that_is_no_text(
        self, postgres: Database, mariadb: Database, open_database: OpenDatabase
    ) -> None:
        """The driver speaks of it in a TypeError or ValueError."""
        for server, driver, option in ((postgres, "asyncpg", "timeout"), (mariadb, "asyncmy", "ssl")):
            url = server.url.set(drivername=f"{server.dialect}+{driver}").render_as_string(hide_password=False)

            with pytest.raises(errors.ConfigurationError, match="does not accept the value of an option") as caught:
                await open_database(url, connect_args={option: "7351"}).check()

            assert "7351" not in str(caught.value)

    @pytest.mark.parametrize("host", ["db..example", "h" * 64, "\udcff"])
    async def test_a_host_that_cannot_be_encoded(self, server: Database, host: str) -> None:
        """Two dots in a row are enough."""
        url = server.url.set(host=host)

        with pytest.raises(errors.ConfigurationError, match="cannot encode the host") as caught:
            await Database(url).check()

        assert (caught.value.__cause__, caught.value.__context__) == (None, None)

    @pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
    async def test_a_password_that_cannot_be_encoded(self, postgres: Database, driver: str) -> None:
        """What the driver raises repeats it, with psycopg the whole of the arguments: no context keeps that."""
        url = postgres.url.set(drivername=f"postgresql+{driver}", password="s3cret\udcff")

        with pytest.raises(errors.ConfigurationError, match="cannot encode") as caught:
            await Database(url).check()

        assert (caught.value.__cause__, caught.value.__context__) == (None, None)

    async def test_an_argument_that_is_no_text(self, postgres: Database, open_database: OpenDatabase) -> None:
        """Of a user who is a number the driver raises an AttributeError."""
        url = postgres.url.set(drivername="postgresql+asyncpg").render_as_string(hide_password=False)

        with pytest.raises(errors.ConfigurationError, match="does not accept the value of an option"):
            await open_database(url, connect_args={"user": 2024}).check()

    async def test_a_listener_that_fails_is_heard(self, server: Database, open_database: OpenDatabase) -> None:
        """Its ValueError is none of the driver's."""
        database = open_database(server)

        @event.listens_for(database.engine.sync_engine, "do_connect")
        def connect(*_: Any) -> None:
            raise ValueError("no token")

        with pytest.raises(ValueError, match="no token"):
            await database.check()

    @pytest.mark.parametrize(
        ("driver", "option", "instead"), [("asyncpg", "sslmode", "?ssl="), ("psycopg", "ssl", "?sslmode=")]
    )
    async def test_an_option_of_the_other_driver(
        self, postgres: Database, open_database: OpenDatabase, driver: str, option: str, instead: str
    ) -> None:
        """What one driver calls otherwise than the other is said as the one in use calls it."""
        url = postgres.url.set(drivername=f"postgresql+{driver}").update_query_dict({option: "require"})

        with pytest.raises(errors.ConfigurationError) as caught:
            await open_database(url.render_as_string(hide_password=False)).check()

        assert instead in caught.value.hint


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Switch the garbage collector off: what only it would free is a leak until it comes by."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class TestCancelledConnects:
    @pytest.mark.usefixtures("no_collector")
    async def test_nothing_of_one_is_left(self, server: Database, open_database: OpenDatabase) -> None:
        """The socket of a connection that nobody waits for any more is closed at once."""
        async with proxy_to(server.url.host or "127.0.0.1", server.url.port or 0) as proxy:
            url = server.url.set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False)
            proxy.drop()  # the server hears nothing, and so never answers
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await open_database(url).check()

            assert await soon(lambda: proxy.links == 0)

    @pytest.mark.usefixtures("no_collector")
    async def test_nothing_of_one_is_left_at_any_moment(self, server: Database, open_database: OpenDatabase) -> None:
        """The same for every wait on the way to the first statement."""
        async with proxy_to(server.url.host or "127.0.0.1", server.url.port or 0) as proxy:
            url = server.url.set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False)

            await cancelled_at_each_step(lambda: first_use(url))

            assert await soon(lambda: proxy.links == 0)

    @pytest.mark.parametrize("times", [1, 2, 1000])
    async def test_a_cancellation_stays_one(self, every_driver: Database, times: int) -> None:
        """Wherever the first use of an engine is cut, no error of the set-up takes the cancellation's place."""
        url = every_driver.url.render_as_string(hide_password=False)

        ends = await cancelled_at_each_step(lambda: first_use(url), times=times)

        assert len(ends) > 5
        assert set(ends) == {"cancelled"}


async def first_use(url: str) -> None:
    """Use a new engine once, whatever happens."""
    database = Database(url, pool_size=1)
    try:
        async with database.transaction() as session:
            await session.execute(text("select 1"))
    finally:
        await asyncio.shield(database.dispose())
