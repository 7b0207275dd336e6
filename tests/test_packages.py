"""The models of packages: how two schemas are compared, and what is thought of each finding."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Column, Enum, ForeignKey, Integer, MetaData, String, Table, UniqueConstraint
from sqlalchemy.dialects.postgresql import INET

from sqlkeel.lint import load_rules
from sqlkeel.sessions import Database
from suites.packages.catalogue import CATALOGUE, DATABASES, VERDICTS, Judgement, Package, load
from suites.packages.schema import differences, read_schema
from suites.packages.trial import lint, try_on

PACKAGES = sorted(path.stem for path in CATALOGUE.glob("*.toml"))
every_package = pytest.mark.parametrize("name", PACKAGES)


def models(length: int = 9) -> MetaData:
    """Return a parent and a child."""
    metadata = MetaData()
    Table("parent", metadata, Column("id", Integer, primary_key=True), Column("name", String(length)))
    key = Column("parent_id", ForeignKey("parent.id"), unique=True)
    Table("child", metadata, Column("id", Integer, primary_key=True), key, Column("kind", Enum("a", name="kind")))
    return metadata


def urls(folder: Path) -> tuple[str, str]:
    """Return two databases that are not there yet."""
    return f"sqlite+aiosqlite:///{folder}/created.db", f"sqlite+aiosqlite:///{folder}/migrated.db"


class TestCatalogue:
    @every_package
    def test_all_that_is_installed_is_pinned(self, name: str) -> None:
        """A release is named, and no place that it comes from."""
        assert all(pin.count("==") == 1 and "/" not in pin for pin in load(name).pins)

    @every_package
    def test_each_judgement_is_of_a_rule_and_has_a_reason(self, name: str) -> None:
        """A reason is a sentence, and nothing is judged twice."""
        package = load(name)
        places = [(one.rule, where) for one in package.judgements for where in one.where]

        assert {one.rule for one in package.judgements} <= {rule.code for rule in load_rules()}
        assert all(one.because.endswith(".") and one.verdict in VERDICTS[:2] for one in package.judgements)
        assert len(places) == len(set(places))

    @every_package
    def test_a_database_that_is_left_out_has_a_reason(self, name: str) -> None:
        """It is one that would be tried else."""
        assert all(one in DATABASES and reason.endswith(".") for one, reason in load(name).without.items())


class TestPackage:
    FOUND = {"rule": "same-type", "where": "a.b", "says": "…"}
    PACKAGE = Package("x", "", "", (), judgements=(Judgement("same-type", ("a.b", "a.c"), "useful", "It is."),))

    def test_a_finding_is_judged_by_its_place(self) -> None:
        """One that is not listed is judged by nobody."""
        assert self.PACKAGE.judge(self.FOUND) == ("useful", "It is.")
        assert self.PACKAGE.judge(self.FOUND | {"where": "a.d"}) == ("not judged", "")

    def test_what_is_judged_and_not_found(self) -> None:
        """The list is to be shortened then."""
        assert self.PACKAGE.outdated([self.FOUND]) == ["same-type a.c"]


class TestSchema:
    async def test_the_same_tables_do_not_differ(self, db: Database) -> None:
        """However the server calls what has no name."""
        async with db.engine.begin() as connection:
            await connection.run_sync(models().create_all)
            first = await connection.run_sync(read_schema, [None])
            second = await connection.run_sync(read_schema, [None])

        assert set(first) >= {"parent", "child"}
        assert list(differences(first, second)) == []

    async def test_a_difference_is_told_with_its_place(self, db: Database) -> None:
        """A length, a constraint, a table."""
        async with db.engine.begin() as connection:
            await connection.run_sync(models().create_all)
            first = await connection.run_sync(read_schema, [None])
            await connection.run_sync(models().drop_all)
            await connection.run_sync(models(length=8).create_all)
            second = await connection.run_sync(read_schema, [None])

        (found,) = differences(first, second)
        assert found.startswith("/parent/columns/name/type: 'VARCHAR(length=9")

    def test_one_that_is_missing(self) -> None:
        """It is None on that side."""
        assert list(differences({"a": {"b": 1}}, {"a": {}, "c": 2})) == ["/a/b: 1 is None", "/c: None is 2"]


class TestTrial:
    async def test_models_without_a_fault(self, tmp_path: Path) -> None:
        """Nothing is wrong with them."""
        assert await try_on(models(), urls(tmp_path), tmp_path) == []

    async def test_what_goes_wrong_is_told(self, tmp_path: Path) -> None:
        """And the steps behind it are done all the same."""
        metadata = MetaData()
        Table("host", metadata, Column("id", Integer, primary_key=True), Column("address", INET))

        wrong = await try_on(metadata, urls(tmp_path), tmp_path)

        assert [one.partition(":")[0] for one in wrong if "CompileError" in one] == [
            "create_all()",
            "migrate",
            "take it back",
        ]

    def test_findings(self) -> None:
        """They are told as data."""
        metadata = MetaData()
        Table("a", metadata, Column("id", Integer, primary_key=True), Column("b", Integer), UniqueConstraint("b"))

        assert [one["rule"] for one in lint(metadata)] == ["constraint-name"]
