"""Tests of sqlkeel.lint._singular: one of several."""

from __future__ import annotations

import pytest

from sqlkeel.lint._singular import singular

PAIRS = """
users user  categories category  addresses address  statuses status  analyses analysis  aliases alias  boxes box
caches cache  batches batch  sizes size  quizzes quiz  heroes hero  shoes shoe  houses house  clauses clause  buses bus
uses use  movies movie  criteria criterion  people person  grandchildren grandchild  salesmen salesman  leaves leaf
archives archive  knives knife  lenses lens  gases gas  vertices vertex  databases database  courses course
"""


class TestSingular:
    @pytest.mark.parametrize("pair", PAIRS.strip().replace("\n", "  ").split("  "))
    def test_plural(self, pair: str) -> None:
        """Regular words, those that end in e, and those without a rule."""
        plural, one = pair.split()

        assert singular(plural) == one

    @pytest.mark.parametrize("word", ["specimen", "pumice", "user", "photo", ""])
    def test_no_plural(self, word: str) -> None:
        """What has no ending of a plural stays."""
        assert singular(word) == word
