"""Words of stored SQL are told from what stands in its texts, names and comments."""

from __future__ import annotations

import pytest
from sqlalchemy import CheckConstraint, Column, Integer, String, text

from sqlkeel.migrations._databases.postgresql_sql import _classes, _collations, _parted, _with_collation
from sqlkeel.migrations._databases.sqlite_copy import _listed, _Traits
from sqlkeel.migrations._databases.sqlite_sql import default_form, form


class TestForm:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("(A > 1)", 'a > /* so */ "a"'.replace('"a"', "1")),
            ('("a" > 1)', "a>1"),
            ("[a] > 1", "`A` > 1"),
            ("((a) > (1))", "(a)>(1)"),
            ("(a = ')')", "a=')'"),
        ],
    )
    def test_what_is_written_alike(self, one: str, other: str) -> None:
        """Brackets around it, space, comments, quotes of names and capitals make no difference."""
        assert form(one) == form(other)

    @pytest.mark.parametrize(
        ("one", "other"), [("a = 'A'", "a = 'a'"), ("(a) > (1)", "a) > (1"), ("a = ' '", "a = ''"), ("a", "'a'")]
    )
    def test_what_is_not(self, one: str, other: str) -> None:
        """A text is as it is, and brackets that do not belong together stay."""
        assert form(one) != form(other)

    @pytest.mark.parametrize(
        ("default", "plain"), [("'12'", "12"), ("('-1.5')", "-1.5"), ("'a'", "'a'"), ("'1-2'", "'1-2'")]
    )
    def test_a_number_in_quotes(self, default: str, plain: str) -> None:
        """A column of numbers takes it for one."""
        assert default_form(default, Column("a", Integer)) == plain
        assert default_form(default, Column("a", String(5))).startswith("'")


class TestCopy:
    def test_a_text_has_no_conflict_clause(self) -> None:
        """A table whose default says so can be copied."""
        plain = _Traits.read("t", "create table t (a text default 'on conflict') -- on conflict")
        other = _Traits.read("t", "create table t (a text unique on /* so */ conflict ignore)")

        assert (plain.has_conflict_clause, other.has_conflict_clause) == (False, True)

    @pytest.mark.parametrize(
        ("condition", "column"),
        [
            ("a IN ('b', 'c')", "a"),
            ('("A" in (1, 2))', "a"),
            ("[my column] IN (1)", "my column"),
            ("a NOT IN (1)", None),
            ("a > 1", None),
            ("'a' IN (1)", None),
        ],
    )
    def test_a_list(self, condition: str, column: str | None) -> None:
        """The column of a CHECK that lists its values has its name in any quotes."""
        assert _listed(CheckConstraint(text(condition))) == column


class TestIndexOfPostgreSQL:
    @pytest.mark.parametrize(
        ("part", "core", "order"),
        [
            ("a", "a", (False, False)),
            ("a DESC", "a", (True, True)),
            ("lower(a) text_pattern_ops desc nulls last", "lower(a)", (True, False)),
            ("a ASC NULLS FIRST", "a", (False, True)),
            ('"desc" NULLS LAST', '"desc"', (False, False)),
            ("text_ops", "text_ops", (False, False)),
            ("(a || ' desc')", "(a || ' desc')", (False, False)),
        ],
    )
    def test_its_order(self, part: str, core: str, order: tuple[bool, bool]) -> None:
        """What is indexed is told from how it is sorted."""
        assert _parted(part) == (core, order)

    def test_its_operators(self) -> None:
        """A class of operators stands behind a column, and is no column itself."""
        assert _classes(["a text_pattern_ops DESC", "b_ops", "lower(c) varchar_ops"]) == [
            "text_pattern_ops",
            "varchar_ops",
        ]

    def test_its_collation(self) -> None:
        """A collation is put before them."""
        assert _with_collation("a text_ops DESC", '"C"') == 'a COLLATE "C" text_ops DESC'
        assert _with_collation("a DESC", None) == "a DESC"

    def test_collations(self) -> None:
        """They are found in whatever quotes and schema, and not in a text."""
        sql = """a COLLATE "de-x" || b collate pg_catalog."C" || ' COLLATE "x"' /* COLLATE y */ || c COLLATE z"""

        assert _collations(sql) == ["de-x", "pg_catalog.C", "z"]
