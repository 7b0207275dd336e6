"""Tests of others that end differently with our sessions: how a run is compared with the lists."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from suites.differences import LISTS, compare, known
from suites.plugin import ASYNC, REPORT, name_of
from suites.suite import SUITES

LISTED = {"a::one": "It is meant."}

THEIRS = """
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker
from sqlmodel import Session as SQLModelSession

import sqlkeel


def test_session():
    assert isinstance(Session(), sqlkeel.SyncSession)


def test_sessionmaker():
    assert isinstance(sessionmaker()(), sqlkeel.SyncSession)


def test_sqlmodel():
    assert isinstance(SQLModelSession(), sqlkeel.SyncSession)


def test_inside_of_an_asynchronous_one():
    assert isinstance(AsyncSession().sync_session, sqlkeel.SyncSession)


def test_asynchronous():
    assert isinstance(AsyncSession(), sqlkeel.Session)


def test_async_sessionmaker():
    assert isinstance(async_sessionmaker()(), sqlkeel.Session)
"""
OF_ASYNC = {"test_asynchronous", "test_async_sessionmaker"}
ALL = {"test_session", "test_sessionmaker", "test_sqlmodel", "test_inside_of_an_asynchronous_one"} | OF_ASYNC


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


class TestPlugin:
    @pytest.mark.parametrize(("settings", "theirs"), [({ASYNC: "1"}, set()), ({}, OF_ASYNC)], ids=["async", "others"])
    def test_the_sessions_are_ours(self, settings: dict[str, str], theirs: set[str], tmp_path: Path) -> None:
        """A suite without listed tests would pass with SQLAlchemy's own sessions, too."""
        (tmp_path / "test_theirs.py").write_text(THEIRS)
        report = tmp_path / "report.json"
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), REPORT: str(report)} | settings

        command = [sys.executable, "-m", "pytest", "-q", "-p", "suites.plugin", "-p", "no:cacheprovider", "."]
        subprocess.run(command, cwd=tmp_path, env=environment, check=False, capture_output=True)

        outcomes = {name.split("::")[1]: error for name, error in json.loads(report.read_text()).items()}
        failed = {name for name, error in outcomes.items() if error}
        assert outcomes.keys() == ALL
        assert failed == theirs


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
