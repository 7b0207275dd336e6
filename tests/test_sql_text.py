"""Tests of sqlkeel._sql_text: SQL is cut into tokens as each database does."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqlkeel._sql_text import GRAMMARS, MARIADB, POSTGRESQL, SQLITE, Grammar, Kind

EVERY = pytest.mark.parametrize("grammar", [MARIADB, POSTGRESQL, SQLITE], ids=["mariadb", "postgresql", "sqlite"])

TEXTS = [
    (POSTGRESQL, "'it''s -- no comment'"),
    (POSTGRESQL, r"'a backslash\'"),
    (POSTGRESQL, r"E'it\'s'"),
    (POSTGRESQL, "$$it's$$"),
    (POSTGRESQL, "$tag$ $$ $other$ $tag$"),
    (MARIADB, r"'it\'s'"),
    (MARIADB, "'it''s # no comment'"),
    (MARIADB, r'"it\"s"'),
    (SQLITE, "'it''s'"),
    (SQLITE, r"'a backslash\'"),
]
NAMES = [
    (POSTGRESQL, '"a ""name"""', 'a "name"'),
    (MARIADB, "`a ``name```", "a `name`"),
    (SQLITE, '"a ""name"""', 'a "name"'),
    (SQLITE, "`a name`", "a name"),
    (SQLITE, "[a name]", "a name"),
]
COMMENTS = [
    (POSTGRESQL, "-- it's\n"),
    (POSTGRESQL, "/* one /* in */ another */"),
    (POSTGRESQL, "/* it's */"),
    (MARIADB, "-- it's\n"),
    (MARIADB, "# it's\n"),
    (MARIADB, "/* it's /* not nested */"),
    (SQLITE, "--it's\n"),
    (SQLITE, "/* it's /* not nested */"),
]
PARAMETERS = [
    (POSTGRESQL, "$1"),
    (POSTGRESQL, "%(name)s"),
    (POSTGRESQL, "%s"),
    (MARIADB, "%s"),
    (SQLITE, "?"),
    (SQLITE, "?12"),
    (SQLITE, ":name"),
    (SQLITE, "@name"),
]


def texts_of(grammar: Grammar, sql: str) -> list[str]:
    """Return the tokens as they are written."""
    return [token.text for token in grammar.tokens(sql)]


class TestTokens:
    @pytest.mark.parametrize(("grammar", "text"), TEXTS)
    def test_a_text(self, grammar: Grammar, text: str) -> None:
        """A text is one token, whatever stands in it."""
        (before, token, after) = grammar.tokens(f"a {text} b")

        assert (before.text, token.text, after.text) == ("a", text, "b")
        assert token.kind is Kind.TEXT

    @pytest.mark.parametrize(("grammar", "text", "name"), NAMES)
    def test_a_name(self, grammar: Grammar, text: str, name: str) -> None:
        """A name in quotes is one token, which knows what it spells."""
        (_, token, _) = grammar.tokens(f"a {text} b")

        assert (token.kind, token.text, token.name) == (Kind.NAME, text, name)

    @pytest.mark.parametrize(("grammar", "comment"), COMMENTS)
    def test_a_comment(self, grammar: Grammar, comment: str) -> None:
        """A comment is none of the statement."""
        assert texts_of(grammar, f"a {comment} b") == ["a", "b"]

    @pytest.mark.parametrize(("grammar", "parameter"), PARAMETERS)
    def test_a_parameter(self, grammar: Grammar, parameter: str) -> None:
        """A place for a value is one token."""
        (_, _, token) = grammar.tokens(f"a = {parameter}")

        assert (token.kind, token.text) == (Kind.PARAMETER, parameter)

    @pytest.mark.parametrize("start", ["/*! ", "/*!50003 ", "/*M! ", "/*M!100100 "])
    def test_what_mariadb_executes(self, start: str) -> None:
        """A comment that MariaDB executes is read as if it stood alone."""
        assert texts_of(MARIADB, f"a {start}b /* c */ d */ 2*/* e */3") == ["a", "b", "d", "2", "*", "3"]

    def test_a_minus_is_no_comment(self) -> None:
        """MariaDB wants a space behind the two signs."""
        assert texts_of(MARIADB, "5--5") == ["5", "-", "-", "5"]

    def test_a_word_with_a_dollar(self) -> None:
        """A dollar in a name of PostgreSQL begins no text."""
        assert texts_of(POSTGRESQL, "a$b$ 'c' d$b$") == ["a$b$", "'c'", "d$b$"]

    @pytest.mark.parametrize("number", ["12", "1.5", ".5", "1e5", "1.5e-3", "0x1F"])
    @EVERY
    def test_a_number(self, grammar: Grammar, number: str) -> None:
        """A number is one token."""
        assert [(one.kind, one.text) for one in grammar.tokens(number)] == [(Kind.NUMBER, number)]

    @pytest.mark.parametrize("left_open", ["'a", '"a', "/* a", "/* a /* b */"])
    def test_what_has_no_end(self, left_open: str) -> None:
        """A text, name or comment without an end goes to the end of the SQL, as the server would say."""
        assert [one for one in texts_of(POSTGRESQL, f"a {left_open} b") if one == "b"] == []

    @EVERY
    def test_a_word_is_compared_without_its_case(self, grammar: Grammar) -> None:
        """A keyword in any case is the same key; a name in quotes is none."""
        keys = [token.key for token in grammar.tokens("Select select 'select'")]

        assert keys == ["SELECT", "SELECT", "'select'"]

    def test_every_dialect_has_a_grammar(self) -> None:
        """A database is asked for by the name of its dialect."""
        assert {*GRAMMARS} == {"mariadb", "mysql", "postgresql", "sqlite"}

    @given(st.text("a$'\"`/*-#!\\\n []eE;:=%s(1.", max_size=40), st.sampled_from([MARIADB, POSTGRESQL, SQLITE]))
    def test_nothing_is_invented_or_lost(self, sql: str, grammar: Any) -> None:
        """Tokens stand in their order in the SQL; what lies between is space and comments, and ends it."""
        tokens = [*grammar.tokens(sql)]

        assert [sql[one.start : one.end] for one in tokens] == [one.text for one in tokens]
        assert all(one.end <= other.start for one, other in pairwise(tokens))


class TestFind:
    @pytest.mark.parametrize(
        ("grammar", "hidden"),
        [(grammar, text) for grammar, text in TEXTS] + [(grammar, text) for grammar, text in COMMENTS],
    )
    def test_it_sees_past_what_is_hidden(self, grammar: Grammar, hidden: str) -> None:
        """What follows a text or a comment is found, and nothing in them is."""
        sql = f"select {hidden.replace('it', 'call')} , call(1)"

        assert [*grammar.find(sql, "call")] == [len(sql) - len("call(1)")]

    @EVERY
    def test_a_part_of_a_word(self, grammar: Grammar) -> None:
        """A longer word is another one."""
        assert [*grammar.find("recall calls call_ call$", "call")] == []

    @EVERY
    def test_any_case_and_sign(self, grammar: Grammar) -> None:
        """A word is found in any case, and so is a sign."""
        assert [*grammar.find("a Call;CALL", "call", ";")] == [2, 6, 7]

    def test_a_quoted_name(self) -> None:
        """The name of a function may stand in quotes."""
        assert [*POSTGRESQL.find('a "call"(1)', "call")] == [2]

    def test_tags_have_a_case(self) -> None:
        """PostgreSQL tells a tag from the same one in capitals."""
        assert [*POSTGRESQL.find("$a$ $A$ call $a$ call", "call")] == [17]

    @given(
        st.lists(st.sampled_from(["call", "'a", "a'", "''", '"', "`", "/*", "*/", "--", "\n", "#", "$$", "$t$", "E'"]))
    )
    def test_it_finds_what_the_tokens_have(self, pieces: list[str]) -> None:
        """The fast way and the slow one see the same."""
        sql = " ".join(pieces)

        for grammar in (MARIADB, POSTGRESQL, SQLITE):
            tokens = [one.start for one in grammar.tokens(sql) if (one.name or "").lower() == "call"]
            assert [*grammar.find(sql, "call")] == tokens

    @EVERY
    def test_a_long_text(self, grammar: Grammar) -> None:
        """A million characters with the word in them are searched in a moment, and not cut into tokens."""
        sql = "insert into t values " + ", ".join(f"({n}, 'a{n}@example.org')" for n in range(36_000)) + " /* call */"
        began = time.process_time()

        found = [*grammar.find(sql, "call")]

        assert found == []
        assert time.process_time() - began < 2
