"""Tests of sqlkeel._sql_heads: a statement is told from its first words."""

from __future__ import annotations

import pytest

from sqlkeel._sql_heads import Heads, has_phrase, kept, starts_of
from sqlkeel._sql_text import MARIADB, POSTGRESQL, SQLITE, Grammar

TABLE = Heads(
    POSTGRESQL,
    {"SET": "session", "SET LOCAL|TRANSACTION": None, "CREATE [OR REPLACE] [LOCAL|GLOBAL] TEMP|TEMPORARY": "temporary"},
)


class TestHeads:
    @pytest.mark.parametrize(
        ("statement", "answer"),
        [
            ("set a = 1", "session"),
            ("set local a = 1", None),
            ("set transaction read only", None),
            ("create temp table t (a int)", "temporary"),
            ("create or replace local temporary view v as select 1", "temporary"),
            ("create table temp (a int)", None),
            ("create or temp", None),
            ("settle", None),
            ('"set" a', None),
            ("", None),
            ("-- set a = 1", None),
        ],
    )
    def test_the_longest_head_counts(self, statement: str, answer: str | None) -> None:
        """What may be missing may be there, and a longer head takes back what a shorter one says."""
        assert TABLE.of(statement) == answer

    def test_a_later_statement(self) -> None:
        """The statement is the one that begins at the place that was given."""
        assert TABLE.of("select 1; set a = 1", 9) == "session"


class TestStarts:
    @pytest.mark.parametrize(
        ("grammar", "text", "statements"),
        [
            (POSTGRESQL, "a", ["a"]),
            (POSTGRESQL, "a; b", ["a; b", " b"]),
            (POSTGRESQL, "a ';' /* ; */ b", ["a ';' /* ; */ b"]),
            (POSTGRESQL, "create function f() begin atomic a; b; end", ["create function f() begin atomic a; b; end"]),
            (
                MARIADB,
                "create definer = a@b trigger t begin a; b; end",
                ["create definer = a@b trigger t begin a; b; end"],
            ),
            (MARIADB, "create table t (a int); b", ["create table t (a int); b", " b"]),
            (SQLITE, "a; b", ["a; b", " b"]),
        ],
    )
    def test_each_statement_begins_behind_a_semicolon(self, grammar: Grammar, text: str, statements: list[str]) -> None:
        """A text may hold several statements; the body of a function or a trigger is not executed."""
        assert [text[start:] for start in starts_of(grammar, text)] == statements


class TestPhrases:
    @pytest.mark.parametrize(
        ("statement", "has"),
        [
            ("create temp table t (a int) on commit drop", True),
            ("create temp table t (a int) ON /* so */ COMMIT\n DROP as select 1", True),
            ("create temp table t (a int) -- on commit drop", False),
            ("create temp table t as select 'on commit drop'", False),
            ("create temp table t (a int); on commit drop", False),
            ("create temp table t (a int) on commit delete rows", False),
        ],
    )
    def test_words_in_a_row(self, statement: str, has: bool) -> None:
        """Words follow each other, whatever stands between them, in the statement and not in its texts."""
        assert has_phrase(POSTGRESQL, statement, "ON COMMIT DROP") is has

    def test_up_to_a_word(self) -> None:
        """What stands behind that is another part of the statement."""
        assert not has_phrase(POSTGRESQL, "declare c cursor for select with hold", "WITH HOLD", before="FOR")


class TestKept:
    def test_a_short_text_is_read_once(self) -> None:
        """An application sends the same statements again and again."""
        seen: list[str] = []
        read = kept(lambda sql: seen.append(sql))

        for sql in ("a", "a", "b" * 5001, "b" * 5001):
            read(sql)

        assert [len(sql) for sql in seen] == [1, 5001, 5001]


class TestComments:
    @pytest.mark.parametrize("before", ["", " \n", "-- a\n", "/* a */", "/* a */ -- b\n /* c\n */ ", "/* x */ " * 5000])
    def test_they_may_stand_before_a_word(self, before: str) -> None:
        """However many there are."""
        assert TABLE.of(f"{before}SET x = 1") == "session"

    @pytest.mark.parametrize(
        "before", ["/* x */ " * 5000, "-- x\n" * 5000, " " * 5000, "/* SET x", "-- SET x", "/* x */ */"]
    )
    def test_another_word_is_no_riddle(self, before: str) -> None:
        """Each comment is read once: in all the ways there are, thirty of them would take an hour."""
        assert TABLE.of(f"{before} SELECT 1 /* SET */") is None

    def test_many_inside_of_each_other(self) -> None:
        """PostgreSQL closes each of them."""
        assert TABLE.of(f"{'/*' * 5000}{'*/' * 5000} SET x = 1") == "session"
