"""What a statement leaves on a connection is gone when the next one gets it."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import func, literal, select, text

from sqlkeel.sessions import Database
from tests.fixtures.databases import OpenDatabase

LEAVE = {
    "postgresql": [
        "set work_mem = '1234kB'",
        "set session work_mem = '1234kB'",
        "/* note */ set work_mem = '1234kB'",
        "select set_config('work_mem', '1234kB', false)",
        "select set_config('work_mem', '1234kB', 'off')",
        "SELECT PG_ADVISORY_LOCK(4711)",
        "create temporary table left_over (id int)",
        "create temp table left_over as select 1 as id",
        "listen left_over",
        "prepare left_over as select 1",
    ],
    "mariadb": [
        "set sort_buffer_size = 1234944",
        "set session sort_buffer_size = 1234944",
        "select get_lock('left_over', 0)",
        "create temporary table left_over (id int)",
        "set @left_over = 1",
        "select @left_over := 1",
        "select 1 into @left_over",
        "# note\nset @left_over = 1",
        "prepare left_over from 'select 1'",
    ],
    "sqlite": [
        "pragma cache_size = 1234",
        "pragma cache_size(1234)",
        "create temporary table left_over (id int)",
        "attach ':memory:' as left_over",
    ],
}
KEEP = {
    "postgresql": [
        "set local work_mem = '1234kB'",
        "select set_config('work_mem', '1234kB', true)",
        "select pg_advisory_xact_lock(4711)",
        "create temporary table left_over (id int) on commit drop",
        "select 1",
    ],
    "mariadb": ["set statement max_statement_time = 5 for select 1", "select 1"],
    "sqlite": ["pragma table_info(left_over)", "pragma cache_size", "select 1"],
}
SEEN = {
    "postgresql": """
        select concat_ws(';', current_setting('work_mem'), (select count(*) from pg_locks where locktype = 'advisory'
                                                            and pid = pg_backend_pid()),
            to_regclass('left_over'), (select count(*) from pg_listening_channels()),
            (select count(*) from pg_prepared_statements where from_sql))
    """,
    "mariadb": "select concat_ws(';', @@sort_buffer_size, is_used_lock('left_over'), @left_over)",
    "sqlite": "select group_concat(name) from pragma_database_list",
}


FIXTURES = {"postgresql": ["postgres", "psycopg"], "mariadb": ["mariadb"], "sqlite": ["sqlite"]}


def cases(table: dict[str, list[str]]) -> Any:
    """Return each statement with the name of each fixture of its database."""
    found = [(fixture, one) for name, many in table.items() for fixture in FIXTURES[name] for one in many]
    return pytest.mark.parametrize(("database", "statement"), found, indirect=["database"])


@pytest.fixture
def database(request: pytest.FixtureRequest, open_database: OpenDatabase) -> Database:
    """A database with one connection, which everybody gets in turn."""
    return open_database(request.getfixturevalue(request.param), pool_size=1, max_overflow=0)


async def send(database: Database, statement: str) -> Any:
    """Send a statement in a transaction of its own, and return the driver's connection that it went over."""
    async with database.transaction() as session:
        connection = await session.connection()
        await connection.exec_driver_sql(statement)
        return (await connection.get_raw_connection()).driver_connection


async def look(database: Database) -> Any:
    """Return what can be seen of the session."""
    async with database.transaction() as session:
        return (await session.execute(text(SEEN[database.dialect]))).scalar_one()


class TestNextBorrower:
    @cases(LEAVE)
    async def test_nothing_is_left(self, database: Database, statement: str) -> None:
        """A setting, a lock, a table, a statement or a subscription of the session is gone with its connection."""
        before = await look(database)

        changed = await send(database, statement)

        assert await look(database) == before
        assert await send(database, "select 1") is not changed

    @cases(KEEP)
    async def test_what_ends_by_itself_costs_nothing(self, database: Database, statement: str) -> None:
        """What ends with the transaction leaves the connection in the pool."""
        before = await send(database, "select 1")

        await send(database, statement)

        assert await send(database, "select 1") is before

    @pytest.mark.parametrize(("database", "local"), [("postgres", True), ("psycopg", True)], indirect=["database"])
    async def test_a_local_setting_in_parameters(self, database: Database, local: bool) -> None:
        """A setting for row level security, bound and local, is the everyday case and costs nothing."""
        before = await send(database, "select 1")

        async with database.transaction() as session:
            await session.scalar(select(func.set_config("app.tenant", "7", local)))

        assert await send(database, "select 1") is before

    @pytest.mark.parametrize("database", ["postgres", "psycopg"], indirect=True)
    async def test_a_zero_beside_a_local_setting(self, database: Database) -> None:
        """Another parameter of the statement may be zero, which is no flag."""
        before = await send(database, "select 1")

        async with database.transaction() as session:
            setting = func.set_config("app.tenant", "7", True)
            await session.scalar(select(setting).where(literal(0) < literal(1)))

        assert await send(database, "select 1") is before

    @pytest.mark.parametrize(("database", "local"), [("postgres", False), ("psycopg", False)], indirect=["database"])
    async def test_a_lasting_setting_in_parameters(self, database: Database, local: bool) -> None:
        """The same one for the session is not met by the next tenant."""
        async with database.transaction() as session:
            await session.scalar(select(func.set_config("app.tenant", "7", local)))

        async with database.transaction() as session:
            assert not await session.scalar(select(func.current_setting("app.tenant", True)))

    @pytest.mark.parametrize("database", ["postgres", "psycopg", "mariadb", "sqlite"], indirect=True)
    async def test_our_own_settings_are_taken_back(self, database: Database) -> None:
        """Limits, locks and read-only transactions of ours keep the connection, and are gone nevertheless."""
        before, seen = await send(database, "select 1"), await look(database)

        async with database.transaction(statement_timeout=9, lock_timeout=9) as session:
            await session.advisory_lock("left_over")
        async with database.transaction(read_only=True) as session:
            await session.execute(text("select 1"))

        assert await look(database) == seen
        assert await send(database, "select 1") is before

    async def test_a_database_in_memory_stays(self, open_database: OpenDatabase) -> None:
        """Where the connection is the database, it is kept, with whatever was set on it."""
        database = open_database("sqlite+aiosqlite://")
        before = await send(database, "create table kept (id int)")

        await send(database, "pragma cache_size = 1234")

        assert await send(database, "select * from kept") is before
