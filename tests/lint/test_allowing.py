"""Tests of sqlkeel.lint._allowing: exceptions are read, have reasons, and are known to be used or not."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Column, Integer, MetaData, Table

from sqlkeel.errors import ConfigurationError
from sqlkeel.lint import Finding, Schema, allow
from sqlkeel.lint._allowing import Allowance, allowances_in, parse_ignore, suppress

EVERYWHERE = Allowance("snake-case", ("*",), "a reason", "snake-case")


def finding(where: str, code: str = "snake-case") -> Finding:
    """Return a finding at this place."""
    return Finding(where, code, "A message.", "A fix.")


class TestAllow:
    def test_several(self) -> None:
        """Exceptions from several rules are joined like any mapping, and with other information."""
        info = {"owner": "sales"} | allow("snake-case", "one") | allow("same-name", "two")
        table = Table("post", MetaData(), Column("Odd", Integer, info=info))

        found = list(allowances_in(Schema(table.metadata)))

        assert [(one.code, one.places, one.reason) for one in found] == [
            ("snake-case", ("post.Odd",), "one"),
            ("same-name", ("post.Odd",), "two"),
        ]

    def test_table(self) -> None:
        """At a table it holds for the table and all that is in it."""
        table = Table("post", MetaData(), Column("id", Integer), info=allow("snake-case", "as it is"))

        (found,) = allowances_in(Schema(table.metadata))

        assert found.covers("snake-case", "post")
        assert found.covers("snake-case", "post.id")
        assert not found.covers("snake-case", "post_like.id")
        assert not found.covers("same-name", "post")

    @pytest.mark.parametrize("reason", ["", "  ", None, 1])
    def test_reason(self, reason: Any) -> None:
        """Nothing is let through without saying why."""
        with pytest.raises(ConfigurationError, match='Ignoring "snake-case" needs a reason'):
            allow("snake-case", reason)


class TestIgnore:
    def test_entry(self) -> None:
        """A code stands alone, or before a place."""
        one, two = parse_ignore({"snake-case": "a reason", "same-name:post.author": "another"})

        assert one == EVERYWHERE
        assert two == Allowance("same-name", ("post.author",), "another", "same-name:post.author")

    def test_list(self) -> None:
        """A list, which has no reasons, is refused with what to write instead."""
        with pytest.raises(ConfigurationError, match="ignore is a list, which has no reasons") as caught:
            parse_ignore(["snake-case"])

        assert 'ignore = {"singular-table:posts" = ' in caught.value.hint

    @pytest.mark.parametrize("reason", ["", "  ", True, 1])
    def test_reason(self, reason: Any) -> None:
        """An entry without a reason is refused by its name."""
        with pytest.raises(ConfigurationError, match='Ignoring "same-name:post" needs a reason'):
            parse_ignore({"same-name:post": reason})


class TestSift:
    def test_both_sides(self) -> None:
        """What is covered goes, the rest stays in order, each once; what covers nothing is returned."""
        idle = Allowance("same-name", ("*",), "a reason", "same-name")

        kept, unused = suppress([finding("b", "other"), finding("a"), finding("a", "other")] * 2, [EVERYWHERE, idle])

        assert kept == [finding("a", "other"), finding("b", "other")]
        assert unused == [idle]

    def test_two_that_cover_one(self) -> None:
        """Both are used, so that taking one away changes nothing and taking both away does."""
        other = Allowance("snake-case", ("a",), "a reason", "snake-case:a")

        assert suppress([finding("a")], [EVERYWHERE, other]) == ([], [])

    @pytest.mark.parametrize(
        ("place", "covered"), [("post.*", False), ("post*", True), ("p?st", True), ("POST", False)]
    )
    def test_patterns(self, place: str, covered: bool) -> None:
        """A place is a pattern of a whole place, capitals included."""
        allowance = Allowance("snake-case", (place,), "a reason", "")

        assert allowance.covers("snake-case", "post") is covered
