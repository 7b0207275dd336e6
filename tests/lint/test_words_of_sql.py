"""Words of stored SQL are told from what stands in its texts, names and comments."""

from __future__ import annotations

import pytest
from sqlalchemy import Column, ForeignKey, Index, Integer, MetaData, Table, create_engine, text

from sqlkeel.lint._databases.sqlite import SQLiteRenamer
from sqlkeel.lint.rules.foreign_key_index import _leaves_out


def obstacle(*statements: str) -> str | None:
    """Return what a copy of the table t would lose."""
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(text(statement))
        found = SQLiteRenamer().rename_obstacle(connection, Table("t", MetaData(), autoload_with=connection))
    engine.dispose()
    return found


class TestCopy:
    @pytest.mark.parametrize(
        "statements",
        [
            ("create table t (a int, b text default 'strict')",),
            ("create table t (a int /* without */, [collate] int) -- strict",),
            ("create table t (a int)", "create index i on t (a) -- desc"),
            (
                "create table t (a int)",
                "create table other (b int)",
                "create view v as select 't' as u from other -- t",
            ),
            ("create table t (a int references t (a) not deferrable)",),
        ],
    )
    def test_nothing_is_lost(self, statements: tuple[str, ...]) -> None:
        """A word in a text, a name or a comment is none of the table."""
        assert obstacle(*statements) is None

    @pytest.mark.parametrize(
        ("statements", "lost"),
        [
            (("create table t (a int) strict",), "STRICT"),
            (("create table t (a text collate nocase)",), "COLLATE"),
            (("create table t (a int)", "create index i on t (a desc)"), "DESC of the index i"),
            (("create table t (a int references t (a) deferrable)",), "DEFERRABLE"),
            (("create table t (a int)", "create view v as select a from T"), "the view v"),
            (("create table t (a int)", 'create view v as select a from "t"'), "the view v"),
        ],
    )
    def test_something_is_lost(self, statements: tuple[str, ...], lost: str) -> None:
        """What the copy would not have is named; the name of a table has no case on SQLite."""
        assert lost in (obstacle(*statements) or "")


class TestPartialIndex:
    @pytest.mark.parametrize(
        ("condition", "column"),
        [
            ("a IS NOT NULL", "a"),
            ("(t.a is not null)", "a"),
            ('"t"."my column" IS NOT NULL', "my column"),
            ("a IS NULL", ""),
            ("a + b IS NOT NULL", ""),
            ("a IS NOT NULL AND b IS NOT NULL", ""),
            ("IS NOT NULL", ""),
        ],
    )
    def test_what_it_leaves_out(self, condition: str, column: str) -> None:
        """An index over the rows that have a parent serves the foreign key."""
        table = Table("t", MetaData(), Column("a", Integer, ForeignKey("t.a")))
        index = Index("i", table.c.a, postgresql_where=text(condition))

        assert _leaves_out(index) == {column}
