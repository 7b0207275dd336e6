"""Tests of others that end differently with our sessions: how a run is compared with the lists."""

from __future__ import annotations

from pathlib import Path

import pytest

from suites.differences import LISTS, compare, known
from suites.plugin import name_of
from suites.suite import SUITES

LISTED = {"a::one": "It is meant."}


class TestCompare:
    def test_a_run_that_says_what_the_list_says_is_good(self) -> None:
        """What is listed fails, and the rest passes."""
        verdict = compare({"a::one": "AssertionError", "a::two": ""}, LISTED)

        assert (verdict.is_good, verdict.passed, verdict.listed) == (True, 1, 1)

    def test_a_failure_that_is_not_listed_is_an_error(self) -> None:
        """It is told with what it said."""
        verdict = compare({"a::one": "AssertionError", "a::two": "KeyError: 'x'"}, LISTED)

        assert not verdict.is_good
        assert verdict.unlisted == {"a::two": "KeyError: 'x'"}

    def test_a_listed_test_that_passes_is_an_error(self) -> None:
        """The list is to be shortened then."""
        verdict = compare({"a::one": ""}, LISTED)

        assert not verdict.is_good
        assert verdict.outdated == ("a::one",)

    @pytest.mark.parametrize(("whole", "outdated"), [(True, ("a::one",)), (False, ())])
    def test_a_listed_test_that_was_not_run(self, whole: bool, outdated: tuple[str, ...]) -> None:
        """In a whole run it is gone from the suite; a run of a part says nothing of it."""
        assert compare({"a::two": ""}, LISTED, whole=whole).outdated == outdated


class TestNames:
    @pytest.mark.parametrize(
        "backend", ["_sqlite+pysqlite_3_40_1", "_postgresql+psycopg_15_13", "_sqlite+aiosqlite_async_3_40_1"]
    )
    def test_they_do_not_depend_on_the_database(self, backend: str) -> None:
        """SQLAlchemy writes the version of the database into the name of a class."""
        assert name_of(f"test/a.py::OneTest{backend}::test_b[c_1]") == "test/a.py::OneTest::test_b[c_1]"

    def test_others_stay_as_they_are(self) -> None:
        """A class that runs without a database has no version."""
        assert name_of("test/a.py::One_Test::test_b[x+y_1_2]") == "test/a.py::One_Test::test_b[x+y_1_2]"


class TestLists:
    @pytest.mark.parametrize("path", sorted(LISTS.glob("*.toml")), ids=lambda path: path.stem)
    def test_each_is_of_a_suite_and_each_test_has_a_reason(self, path: Path) -> None:
        """A reason is a sentence, and names are those of tests of the suite."""
        suite = SUITES[path.stem]
        listed = {test: reason for on in suite.drivers for test, reason in known(path.stem, on).items()}

        assert all(reason.endswith(".") for reason in listed.values())
        assert all(test.startswith(suite.paths) for test in listed)

    def test_each_suite_has_one(self) -> None:
        """An empty one, where all is the same."""
        assert {path.stem for path in LISTS.glob("*.toml")} == set(SUITES)
