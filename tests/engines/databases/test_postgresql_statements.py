"""Tests of engines._databases.postgresql_statements: what a text says it changes, the server knows it to change."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqlkeel.engines._databases.postgresql_statements import commits, find_session_state, leaves_traces
from sqlkeel.sessions import Database
from tests.fixtures.databases import OpenDatabase

CHANGES = {
    "listen a_channel": "listen",
    "unlisten *": "listen",
    "set work_mem = '1234kB'": "set",
    "SET\n/* LOCAL */ work_mem = '1234kB'": "set",
    "set session work_mem = '1234kB'": "set",
    "set role postgres": "set",
    "select set_config('work_mem', '1234kB', false)": "set",
    "select set_config('work_mem', concat(1234, 'kB'), 'off')": "set",
    "select set_config('work_mem', '1234kB', 'false'::boolean)": "set",
    "select pg_catalog.\"set_config\"('work_mem', '1234kB', false)": "set",
    "prepare a_statement as select 1": "prepare",
    "select pg_advisory_lock(4711)": "lock",
    "select pg_try_advisory_lock_shared /* 1 */ (4711)": "lock",
    "do $$ begin perform pg_advisory_lock(4711); end $$": "lock",
    "create temp table left_over (id int)": "temporary",
    "create local temporary table left_over (id int) /* on commit drop */": "temporary",
    "create table pg_temp.left_over (id int)": "temporary",
    "create temp table left_over as select 'on commit drop' as a": "temporary",
    "create or replace temp view left_over as select 1 as a": "temporary",
    "select 1 as a into temp left_over": "temporary",
    "declare left_over cursor with hold for select 1": "hold",
}
"""What a text leaves behind its transaction."""

KEEPS = [
    "select 1",
    "(select 1)",
    "set local work_mem = '1234kB'",
    "set transaction isolation level serializable",
    "set constraints all deferred",
    "select set_config('work_mem', '1234kB', true)",
    "select set_config('work_mem', 'false', 'on') where false",
    "select 'select set_config(''work_mem'', ''1234kB'', false)'",
    "select 'pg_advisory_lock(4711)' as a -- pg_advisory_lock(4711)",
    "select 1 as pg_advisory_lock, 2 as set_config",
    "select pg_advisory_xact_lock(4711)",
    "create temp table left_over (id int) on commit drop",
    "create temp table left_over on commit /* so */ drop as select 1 as a",
    "create table temp (id int)",
    "declare a_cursor cursor for select 'with hold'",
    "/* set work_mem = '1234kB' /* nested */ */ select 1",
    "-- set work_mem = '1234kB'\nselect 1",
    "select $$ set work_mem $$, $a$ pg_advisory_lock(1) $a$",
    "create function left_over() returns int begin atomic select pg_backend_pid(); select 1; end",
]
"""What nobody meets who gets the connection next."""

BOTH = "select 1; set work_mem = '1234kB'"
"""Two statements, which psycopg sends at once."""

SEEN = """
    select concat_ws(';', current_setting('work_mem'), current_user,
        (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()),
        (select count(*) from pg_class where relname = 'left_over' and pg_table_is_visible(oid)),
        (select count(*) from pg_listening_channels()),
        (select count(*) from pg_prepared_statements where from_sql),
        (select count(*) from pg_cursors where is_holdable))
"""


async def seen_behind(database: Database, statement: str) -> tuple[Any, Any]:
    """Return what the session looks like before, and behind the transaction of a statement."""
    async with database.engine.connect() as connection:
        raw: Any = (await connection.get_raw_connection()).driver_connection
        before = await (await raw.execute(SEEN)).fetchone()
        await raw.commit()
        await raw.execute(statement)
        await raw.commit()
        behind = await (await raw.execute(SEEN)).fetchone()
        await raw.rollback()
        await connection.invalidate()
    return before, behind


@pytest.fixture
def database(psycopg: Database, open_database: OpenDatabase) -> Database:
    """A database of this test, whose driver sends a text as it is."""
    return open_database(psycopg)


class TestState:
    @pytest.mark.parametrize(("statement", "state"), CHANGES.items())
    def test_what_is_changed(self, statement: str, state: str) -> None:
        """The text says what outlives the transaction."""
        assert find_session_state(statement) == state

    @pytest.mark.parametrize("statement", KEEPS)
    def test_nothing_is_changed(self, statement: str) -> None:
        """A word that only looks like it is none."""
        assert find_session_state(statement) is None

    @pytest.mark.parametrize(
        "statement",
        [
            "insert into temp values (1)",
            "merge into temp using t on true when matched then do nothing",
            "select 1 as into",
        ],
    )
    def test_a_table_that_is_called_temp(self, statement: str) -> None:
        """What writes into a table makes none."""
        assert find_session_state(statement) is None

    def test_the_second_of_two(self) -> None:
        """A text of several statements is as good as its worst."""
        assert find_session_state(BOTH) == "set"

    # UNLISTEN takes back; SET ROLE to oneself shows nothing.
    @pytest.mark.parametrize(
        "statement", [*(one for one in CHANGES if not one.startswith(("unlisten", "set role", "listen"))), BOTH]
    )
    async def test_the_server_keeps_it(self, database: Database, statement: str) -> None:
        """The session differs behind the transaction."""
        before, behind = await seen_behind(database, statement)

        assert before != behind

    @pytest.mark.parametrize("statement", [one for one in KEEPS if "function" not in one and "table temp " not in one])
    async def test_the_server_forgets_it(self, database: Database, statement: str) -> None:
        """The session is as it was."""
        before, behind = await seen_behind(database, statement)

        assert before == behind


PLACES = {
    "select set_config('a.b', $1, $2)": ("7", False),
    "select set_config($1::VARCHAR, $3::VARCHAR, $2::BOOLEAN)": ("a.b", False, "7"),
    "select set_config('a.b', %(value)s, %(local)s)": {"value": True, "local": False},
    "select set_config('a.b', %s, %s)": (True, False),
}


class TestParameters:
    @pytest.mark.parametrize(("statement", "parameters"), PLACES.items())
    def test_a_setting_of_the_session(self, statement: str, parameters: Any) -> None:
        """Whether a setting is local may be a parameter, in each style of a driver."""
        assert leaves_traces(statement, parameters)

    @pytest.mark.parametrize(
        ("statement", "parameters"),
        [
            ("select set_config('a.b', $1, $2), $3", ("7", True, False)),
            ("select set_config('a.b', %(value)s, %(local)s)", {"value": False, "local": True}),
            ("select set_config('a.b', %s, %s)", (0, True)),
        ],
    )
    def test_a_local_setting(self, statement: str, parameters: Any) -> None:
        """Another parameter is none of it."""
        assert not leaves_traces(statement, parameters)

    def test_one_of_many_executions(self) -> None:
        """Each list of parameters is looked at."""
        statement = "select set_config('a.b', $1, $2)"

        assert leaves_traces(statement, [("7", True), ("8", False)])
        assert not leaves_traces(statement, [("7", True), ("8", True)])


class TestCommits:
    @pytest.mark.parametrize("statement", ["commit", "END", "-- so\ncommit and chain", "prepare transaction 'a'"])
    def test_it_does(self, statement: str) -> None:
        """The transaction is over, and kept."""
        assert commits(statement)

    @pytest.mark.parametrize("statement", ["select 1", "rollback", "/* commit */ select 1", "select 'a; commit'"])
    def test_it_does_not(self, statement: str) -> None:
        """The transaction goes on, or is not kept."""
        assert not commits(statement)

    def test_the_second_of_two(self) -> None:
        """The driver psycopg sends several statements at once."""
        assert commits("insert into t values (1); commit")


NOISE = st.lists(
    st.sampled_from(
        [" ", "\n", "\t", "-- set local\n", "/* on commit drop */", "/* a /* with hold */ 'b' */", "--\n", "/**/"]
    ),
    min_size=1,
    max_size=3,
).map("".join)


class TestAnyWriting:
    @given(st.data(), st.sampled_from([*CHANGES, *KEEPS]))
    def test_comments_space_and_case_change_nothing(self, data: st.DataObject, statement: str) -> None:
        """Each space may be a comment, and each letter outside of texts and names be a capital."""
        is_free = "'" not in statement and "$" not in statement and '"' not in statement and "/*" not in statement
        pieces = statement.split(" ") if is_free and "--" not in statement else [statement]
        written = "".join(data.draw(NOISE) + (one.upper() if data.draw(st.booleans()) else one) for one in pieces)

        assert find_session_state(written + data.draw(NOISE)) == find_session_state(statement)

    @given(st.sampled_from([*CHANGES]))
    def test_a_text_or_a_name_changes_nothing(self, statement: str) -> None:
        """What is quoted, or commented out, is not executed."""
        doubled = statement.replace("'", "''")
        named = statement.replace('"', '""')

        assert find_session_state(f"select '{doubled}'") is None
        assert find_session_state(f'select 1 as "{named}"') is None
        assert find_session_state(f"select $quoted${statement}$quoted$") is None
        assert find_session_state(f"select 1 /* {statement} */") is None
