"""Tests of singular-table: tables named after one row."""

from __future__ import annotations

import pytest
from sqlalchemy import MetaData

from sqlkeel.models import metadata_with_names
from tests.lint.examples import found, found_in, table


class TestSingularTable:
    @pytest.mark.parametrize(
        "name",
        [
            "user",
            "agenda",
            "statistics",
            "status",
            "address",
            "news",
            "series",
            "species",
            "data",
            "media",
            "class",
            "process",
            "access",
            "bus",
            "gas",
            "lens",
            "alias",
            "basis",
            "analysis",
            "person",
            "child",
            "entity",
            "history",
            "sms",
            "user_address",
            "order_status",
            "is_bus",
            "oauth2",
            "sheep",
            "canvas",
            "chaos",
            "boss",
            "specimen",
            "kubernetes",
        ],
    )
    def test_accepted(self, name: str) -> None:
        """Singulars, and words that only look like plurals."""
        assert not found("singular-table", name=name)

    @pytest.mark.parametrize(
        ("name", "one"),
        [
            ("users", "user"),
            ("post_likes", "post_like"),
            ("categories", "category"),
            ("people", "person"),
            ("children", "child"),
            ("addresses", "address"),
            ("statuses", "status"),
            ("salesmen", "salesman"),
            ("bookshelves", "bookshelf"),
            ("archives", "archive"),
            ("databases", "database"),
            ("analyses", "analysis"),
            ("aliases", "alias"),
            ("boxes", "box"),
            ("caches", "cache"),
            ("batches", "batch"),
            ("sizes", "size"),
            ("quizzes", "quiz"),
            ("heroes", "hero"),
            ("shoes", "shoe"),
            ("houses", "house"),
            ("buses", "bus"),
            ("uses", "use"),
            ("movies", "movie"),
            ("criteria", "criterion"),
        ],
    )
    def test_refused(self, name: str, one: str) -> None:
        """Plurals, with the singular."""
        (finding,) = found("singular-table", name=name)

        assert finding.fix == f'Call it "{one}".'

    def test_words_of_the_project(self) -> None:
        """The project's own words are singulars."""
        assert found("singular-table", name="goods")
        assert not found("singular-table", name="goods", singular=["goods"])


class TestConvention:
    @pytest.mark.parametrize(
        ("names", "count"),
        [
            (["users", "posts"], 2),
            (["users", "posts", "votes"], 0),
            (["users", "posts", "votes", "setting", "login", "role_map"], 3),
            (["users", "posts", "votes", "setting", "login"], 0),
        ],
        ids=["two", "three of three", "three of six", "three of five"],
    )
    def test_of_a_project_without_ours(self, names: list[str], count: int) -> None:
        """Where most tables are plurals, that is what the project calls them."""
        metadata = MetaData()
        for name in names:
            table(name=name, metadata=metadata)

        assert len(found_in("singular-table", metadata)) == count

    def test_of_a_project_on_our_base(self) -> None:
        """It has decided for the rule, and hears of each."""
        metadata = metadata_with_names()
        for name in ("users", "posts", "votes"):
            table(name=name, metadata=metadata)

        assert len(found_in("singular-table", metadata)) == 3
