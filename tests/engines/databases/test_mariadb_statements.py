"""Tests of engines._databases.mariadb_statements: what a text says it changes, the server knows it to change."""

from __future__ import annotations

from typing import Any

import pytest
from asyncmy.errors import MySQLError
from hypothesis import given
from hypothesis import strategies as st

from sqlkeel.engines._databases.mariadb_statements import commits, leaves_traces, variables_set
from sqlkeel.sessions import Database
from tests.fixtures.databases import OpenDatabase

CHANGES = [
    "set sort_buffer_size = 1234944",
    "/*! set sort_buffer_size = 1234944 */",
    "/*M!100100 set */ sort_buffer_size = 1234944",
    "set statement max_statement_time = 5 for set @left_over = 1",
    "# note\nset @left_over = 1",
    "-- note\nset @left_over = 1",
    "select @left_over := 1",
    "select @`left_over` := 1",
    "select 1 into @left_over",
    "select 1 into /* so */ @left_over",
    "select get_lock('left_over', 0)",
    "select GET_LOCK /* so */ ('left_over', 0)",
    "create temporary table left_over (id int)",
    "create or replace temporary table left_over (id int)",
    "prepare left_over from 'select 1'",
]
"""What a text leaves on the connection."""

KEEPS = [
    "select 1",
    "set transaction read only",
    "set statement max_statement_time = 5 for select 1",
    "select 'set @left_over := 1', \"get_lock('left_over', 0)\"",
    "select 'it\\'s get_lock(''left_over'', 0)'",
    "select 1 as `get_lock`, 2 as `into @left_over`",
    "select 1 -- @left_over := 1",
    "select 1 # get_lock('left_over', 0)",
    "select /* get_lock('left_over', 0) */ 1",
    "select @left_over",
    "select @sqlkeel_met := 1",
    "select 'into' as a, @left_over",
    "select 'a@example.org' as a",
]
"""What nobody meets who gets the connection next."""

OTHER_CHANGES = [
    "use a_database",
    "lock tables kept write",
    "flush tables with read lock",
    "flush no_write_to_binlog tables",
    "handler kept open",
    "backup stage start",
]
"""What SEEN does not show."""

SEEN = "select concat_ws(';', @@sort_buffer_size, is_used_lock('left_over'), @left_over)"
TABLES = "show create table left_over"
PREPARED = "execute left_over"

COMMITS = [
    "commit",
    "begin",
    "start transaction",
    "/*! commit */",
    "create table left_over (id int)",
    "create or replace table left_over (id int)",
    "drop table if exists left_over",
    "alter table kept add b int",
    "analyze table kept",
    "analyze local table kept",
    "check table kept",
    "optimize table kept",
    "rename table kept to left_over",
    "truncate kept",
    "lock tables kept write",
    "flush tables",
    "set autocommit = 1",
    "set @@session.autocommit = 1",
    "set @a = 1, autocommit := 1",
    "set statement max_statement_time = 5 for create table left_over (id int)",
    "select 1; commit",
]
"""What keeps the row that was written before it."""

KEEPS_OPEN = [
    "select 1",
    "create temporary table left_over (id int)",
    "drop temporary table if exists left_over",
    "analyze format=json select 1",
    "set @autocommit = 1",
    "set @a = 'autocommit = 1'",
    "select 'commit; commit'",
    "/* commit */ select 1",
    "insert into kept values (2, 'commit')",
    "savepoint a",
]
"""What a rollback behind it takes back, with the row."""


@pytest.fixture
async def database(mariadb: Database, open_database: OpenDatabase) -> Any:
    """A database of this test with a table, whose connections are closed by the test."""
    database = open_database(mariadb)
    async with database.engine.connect() as connection:
        await connection.exec_driver_sql("drop table if exists left_over")
        await connection.exec_driver_sql("create or replace table kept (id int, a varchar(50))")
    yield database
    async with database.engine.connect() as connection:
        await connection.exec_driver_sql("drop table if exists kept, left_over")


async def send(raw: Any, *statements: str) -> Any:
    """Send statements past everything that looks at them; return the last row, or the error's number."""
    async with raw.cursor() as cursor:
        for statement in statements:
            try:
                await cursor.execute(statement)
                row = await cursor.fetchone()
                while await cursor.nextset():
                    pass
            except MySQLError as error:
                row = error.args[0]
    return row


async def raw_of(connection: Any) -> Any:
    """Return the driver's own connection."""
    return (await connection.get_raw_connection()).driver_connection


class TestTraces:
    @pytest.mark.parametrize("statement", [*CHANGES, *OTHER_CHANGES])
    def test_what_is_changed(self, statement: str) -> None:
        """The text says what stays on the connection."""
        assert leaves_traces(statement, ())

    @pytest.mark.parametrize("statement", KEEPS)
    def test_nothing_is_changed(self, statement: str) -> None:
        """A word that only looks like it is none."""
        assert not leaves_traces(statement, ())

    @pytest.mark.parametrize("statement", CHANGES)
    async def test_the_server_keeps_it(self, database: Database, statement: str) -> None:
        """The session differs afterwards."""
        async with database.engine.connect() as connection:
            raw = await raw_of(connection)
            before = [await send(raw, one) for one in (SEEN, TABLES, PREPARED)]
            await send(raw, statement, "rollback")
            behind = [await send(raw, one) for one in (SEEN, TABLES, PREPARED)]
            await connection.invalidate()

        assert before != behind

    @pytest.mark.parametrize("statement", KEEPS)
    async def test_the_server_forgets_it(self, database: Database, statement: str) -> None:
        """The session is as it was."""
        async with database.engine.connect() as connection:
            raw = await raw_of(connection)
            before = [await send(raw, one) for one in (SEEN, TABLES, PREPARED)]
            await send(raw, "rollback", statement, "rollback")
            behind = [await send(raw, one) for one in (SEEN, TABLES, PREPARED)]
            await connection.invalidate()

        assert before == behind


class TestCommits:
    @pytest.mark.parametrize("statement", COMMITS)
    async def test_it_does(self, database: Database, statement: str) -> None:
        """The row before it is kept, whatever follows."""
        async with database.engine.connect() as connection:
            raw = await raw_of(connection)
            await send(raw, "begin", "insert into kept values (1, 'a')", statement, "rollback", "unlock tables")
            found = [await send(raw, f"select count(*) from {table}") for table in ("kept", "left_over")]
            await connection.invalidate()

        assert commits(statement)
        assert (1,) in found or statement == "truncate kept"

    @pytest.mark.parametrize("statement", KEEPS_OPEN)
    async def test_it_does_not(self, database: Database, statement: str) -> None:
        """The row before it goes with the rollback."""
        async with database.engine.connect() as connection:
            raw = await raw_of(connection)
            await send(raw, "begin", "insert into kept values (1, 'a')", statement, "rollback")
            found = await send(raw, "select count(*) from kept")
            await connection.invalidate()

        assert not commits(statement)
        assert found == (0,)


class TestVariables:
    @pytest.mark.parametrize(
        ("statement", "variables"),
        [
            ("SET a = 1", "a = 1"),
            ("set names utf8mb4, session b = 3;", "names utf8mb4, session b = 3"),
            ("/* so */ SET a = 'x;y' ; -- end", "a = 'x;y'"),
            ("set @a = 1, @b = 'it\\'s; '", "@a = 1, @b = 'it\\'s; '"),
        ],
    )
    def test_what_is_set(self, statement: str, variables: str) -> None:
        """It can stand behind what another SET says."""
        assert variables_set(statement) == variables

    @pytest.mark.parametrize(
        "statement",
        [
            "SET ROLE shop",
            "set session transaction read only",
            "set statement a = 1 for select 1",
            "SET",
            "SELECT 1",
            "SET @a = 1; SET @b = 2",
            "",
        ],
    )
    def test_another_statement(self, statement: str) -> None:
        """What sets no variable, or is not alone, cannot."""
        assert variables_set(statement) is None


NOISE = st.lists(
    st.sampled_from([" ", "\n", "\t", "-- set @a\n", "# begin\n", "/* commit */", "/**/"]), min_size=1, max_size=3
).map("".join)


class TestAnyWriting:
    @given(st.data(), st.sampled_from([*CHANGES, *KEEPS, *OTHER_CHANGES, *COMMITS, *KEEPS_OPEN]))
    def test_comments_space_and_case_change_nothing(self, data: st.DataObject, statement: str) -> None:
        """Each space outside of texts may be a comment, and each letter a capital."""
        is_free = not set("'\"`#/-") & set(statement)
        pieces = statement.split(" ") if is_free else [statement]
        written = "".join(data.draw(NOISE) + (one.upper() if data.draw(st.booleans()) else one) for one in pieces)

        assert leaves_traces(f"{written}\n", ()) == leaves_traces(statement, ()) or "SQLKEEL" in written
        assert commits(f"{written}\n") == commits(statement)

    @given(st.sampled_from([*CHANGES, *COMMITS]))
    def test_a_text_or_a_name_changes_nothing(self, statement: str) -> None:
        """What is quoted is not executed."""
        text = statement.replace("\\", "\\\\").replace("'", "\\'")
        name = statement.replace("`", "``")

        assert not leaves_traces(f"select '{text}'", ())
        assert not leaves_traces(f"select 1 as `{name}`", ())
        assert not commits(f"select '{text}'")
        assert not commits(f"select 1 as `{name}`")
