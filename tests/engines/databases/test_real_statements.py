"""Statements that the suite has sent: what is said of each is what was said when they were gathered."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqlkeel._sql_text import GRAMMARS, Kind
from sqlkeel.engines._databases import mariadb_statements, postgresql_statements, sqlite_statements

STATEMENTS: list[dict[str, Any]] = json.loads(Path(__file__).with_name("statements.json").read_text(encoding="utf-8"))
"""One of each kind: its database, what it leaves on the session, and whether it commits."""

LEAVES: dict[str, Callable[[str], object]] = {
    "mariadb": lambda statement: mariadb_statements.leaves_traces(statement, ()) or None,
    "postgresql": postgresql_statements.find_session_state,
    "sqlite": lambda statement: sqlite_statements.leaves_traces(statement, ()) or None,
}
COMMITS = {
    "mariadb": mariadb_statements.commits,
    "postgresql": postgresql_statements.commits,
    "sqlite": sqlite_statements.commits,
}


class TestStatements:
    @pytest.mark.parametrize("database", ["mariadb", "postgresql", "sqlite"])
    def test_what_they_do(self, database: str) -> None:
        """Nothing that the suite sends is taken for anything else."""
        theirs = [one for one in STATEMENTS if one["database"] == database]
        found = [(one["statement"], LEAVES[database](one["statement"])) for one in theirs]
        committing = [one["statement"] for one in theirs if COMMITS[database](one["statement"])]

        assert found == [(one["statement"], one["leaves"]) for one in theirs]
        assert committing == [one["statement"] for one in theirs if one["commits"]]

    @given(st.sampled_from(STATEMENTS), st.sampled_from(["\n", "/* set */", "-- begin\n", "\t/**/ "]))
    def test_space_is_space(self, one: dict[str, Any], space: str) -> None:
        """Comments between the tokens change nothing, nor does the case of a word."""
        database, grammar = one["database"], GRAMMARS[one["database"]]
        tokens = [(token.kind, token.text) for token in grammar.tokens(one["statement"])]
        # MariaDB's _utf8mb4'...' and the E'...' of PostgreSQL are not cut, nor are two signs that are one.
        written = "".join(f"{text.swapcase()}{space}" if kind is Kind.WORD else text for kind, text in tokens)

        assert LEAVES[database](f"{space}{written}") == one["leaves"] or "@sqlkeel" in one["statement"]
        assert COMMITS[database](f"{space}{written}") == one["commits"]
