"""Tests of unescaped-colon: SQL in which a word behind a colon is taken for a parameter."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import CheckConstraint, Column, Computed, Enum, Index, Integer, String, column, func, literal, text

from tests.lint.examples import found


class TestUnescapedColon:
    @pytest.mark.parametrize(
        ("parts", "what"),
        [
            ([Column("a", String, server_default=text("'{\"b\":1}'"))], "The server default of a"),
            ([Column("a", String, Computed("'x :b'"))], "The expression of a"),
            ([Column("a", String), CheckConstraint("a <> ' :b'", name="c")], "The CHECK thing_c_check"),
            ([Column("a", String), CheckConstraint(column("a") == text("':b'"), name="c")], "The CHECK thing_c_check"),
            ([Column("a", String), Index("i", func.coalesce(column("a"), text("':b'")))], "The index i"),
            ([Column("a", String), Index("i", "a", postgresql_where=text("a <> ':b'"))], "The index i"),
        ],
    )
    def test_refused(self, parts: list[Any], what: str) -> None:
        """Wherever SQL stands in a table, once."""
        (finding,) = found("unescaped-colon", *parts)

        assert finding.message.startswith(f"{what} has NULL in the place of :")

    def test_several_are_one_finding(self) -> None:
        """One piece of SQL is mended at once."""
        (finding,) = found("unescaped-colon", Column("a", String, server_default=text('\'{"b":1,"c":d}\'')))

        assert finding.message == "The server default of a has NULL in the place of :1, :d."
        assert finding.fix == 'Write "\\\\:1" in the string, if it is not a parameter.'

    @pytest.mark.parametrize(
        "parts",
        [
            [Column("a", String, server_default=text("'{\"b\"\\:1}'"))],
            [Column("a", String, server_default=text("'{\"b\": 1}'"))],
            [Column("a", String, server_default="' :b'")],
            [Column("a", String, server_default=text("'10:30'"))],
            [Column("a", String, server_default=text("'b'::text"))],
            [Column("a", Integer, server_default=literal(1))],
            [Column("a", String, server_default=text(":b").bindparams(b="x"))],
            [Column("a", Enum("x", "y", native_enum=False, create_constraint=True, name="e"))],
            [Column("a", String), CheckConstraint(column("a") != ":b", name="c")],
        ],
    )
    def test_accepted(self, parts: list[Any]) -> None:
        """An escaped one, one in the middle of a word, a cast, and a parameter that has its value."""
        assert not found("unescaped-colon", *parts)
