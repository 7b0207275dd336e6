"""Tests of engines._databases.sqlite_statements: what a text says it changes, the library knows it to change."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqlkeel.engines._databases.sqlite_statements import commits, leaves_traces

CHANGES = [
    "attach ':memory:' as left_over",
    "pragma cache_size = 1234",
    "pragma cache_size(1234)",
    "PRAGMA /* so */ main . cache_size = 1234",
    "create temp table left_over (id int)",
    "create temporary view left_over as select 1 as a",
    "create table temp.left_over (id int)",
    "create table if not exists temp.left_over (id int)",
]
KEEPS = [
    "select 1",
    "pragma table_info(kept)",
    "pragma main.table_info(kept)",
    "pragma foreign_key_check(kept)",
    "pragma cache_size",
    "pragma integrity_check(5)",
    "pragma user_version = 3",
    "create table left_over (id int)",
    "create table temp (id int)",
    "select 'pragma cache_size = 1234' as a -- attach",
    "select 1 as [pragma cache_size = 1234]",
    "/* create temp table left_over (id int) */ select 1",
]
SEEN = (
    "select group_concat(name) from pragma_database_list where name <> 'temp'",
    "select name from temp.sqlite_master",
    "pragma cache_size",
)


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to a file with a table."""
    with closing(sqlite3.connect(tmp_path / "a.db", isolation_level=None)) as connection:
        connection.execute("create table kept (id int)")
        yield connection


def look(connection: sqlite3.Connection) -> list[Any]:
    """Return what can be seen of the session."""
    return [connection.execute(one).fetchall() for one in SEEN]


class TestTraces:
    @pytest.mark.parametrize("statement", CHANGES)
    def test_what_is_changed(self, connection: sqlite3.Connection, statement: str) -> None:
        """The connection differs afterwards."""
        before = look(connection)
        connection.execute(statement)

        assert leaves_traces(statement, ())
        assert look(connection) != before

    @pytest.mark.parametrize("statement", KEEPS)
    def test_nothing_is_changed(self, connection: sqlite3.Connection, statement: str) -> None:
        """The connection is as it was."""
        before = look(connection)
        connection.execute(statement)

        assert not leaves_traces(statement, ())
        assert look(connection) == before

    def test_detach(self) -> None:
        """What somebody else has attached is gone for the next one, too."""
        assert leaves_traces("detach database a", ())


class TestCommits:
    @pytest.mark.parametrize("statement", ["commit", "END TRANSACTION", "-- so\ncommit"])
    def test_it_does(self, connection: sqlite3.Connection, statement: str) -> None:
        """The transaction is over."""
        connection.execute("begin")
        connection.execute(statement)

        assert commits(statement)
        assert not connection.in_transaction

    @pytest.mark.parametrize(
        "statement", ["select 'commit'", "/* commit */ select 1", "create table left_over (id int)"]
    )
    def test_it_does_not(self, connection: sqlite3.Connection, statement: str) -> None:
        """The transaction goes on."""
        connection.execute("begin")
        connection.execute(statement)

        assert not commits(statement)
        assert connection.in_transaction


NOISE = st.lists(
    st.sampled_from([" ", "\n", "\t", "-- attach\n", "/* commit */", "/* ' */", "--\n"]), min_size=1, max_size=3
).map("".join)


class TestAnyWriting:
    @given(st.data(), st.sampled_from([*CHANGES, *KEEPS, "commit", "end transaction"]))
    def test_comments_space_and_case_change_nothing(self, data: st.DataObject, statement: str) -> None:
        """Each space outside of texts may be a comment, and each letter a capital."""
        is_free = not set("'\"`[/-") & set(statement)
        pieces = statement.split(" ") if is_free else [statement]
        written = "".join(data.draw(NOISE) + (one.upper() if data.draw(st.booleans()) else one) for one in pieces)

        assert leaves_traces(f"{written}\n", ()) == leaves_traces(statement, ())
        assert commits(f"{written}\n") == commits(statement)

    @given(st.sampled_from([*CHANGES, "commit"]))
    def test_a_text_or_a_name_changes_nothing(self, statement: str) -> None:
        """What is quoted is not executed."""
        text = statement.replace("'", "''")

        assert not leaves_traces(f"select '{text}'", ())
        assert not leaves_traces(f"select 1 as [{statement}]", ())
        assert not commits(f"select '{text}'")
