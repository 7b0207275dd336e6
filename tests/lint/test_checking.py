"""Tests of sqlkeel.lint.check and check_database: what they take, let through, leave out and refuse."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
from fastapi import FastAPI
from pydantic import BaseModel
from sqlalchemy import Column, DateTime, Integer, MetaData, orm, text
from sqlalchemy import Table as SATable
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

import sqlkeel
from sqlkeel.errors import ConfigurationError
from sqlkeel.lint import allow, check, check_database
from sqlkeel.models import metadata_with_names
from sqlkeel.sessions import Database


class Base(sqlkeel.Base):
    pass


class Users(Base):
    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    userName: Mapped[str]


class Numbered(sqlkeel.Base):
    pass


class Account(sqlkeel.DualIDMixin, Numbered):
    __tablename__ = "account"
    balance: Mapped[int]


class AccountOut(BaseModel):
    id: int
    balance: int


app = FastAPI()


@app.get("/account")
async def account() -> AccountOut:
    raise NotImplementedError


FOUND = [("singular-table", "users"), ("snake-case", "users.userName")]
LEAK = [("internal-id", "AccountOut.id")]


def summary(*args: object, **options: object) -> list[tuple[str, str]]:
    """Return code and place of each finding."""
    return [(one.code, one.where) for one in check(*args, **options)]  # type: ignore[arg-type]


class TestTargets:
    def test_base(self) -> None:
        """A declarative base is checked with all its tables, sorted by place."""
        assert summary(Base) == FOUND

    def test_metadata(self) -> None:
        """So is its metadata."""
        assert summary(Base.metadata) == FOUND

    def test_module(self) -> None:
        """A module is checked with every base, model or table in it, each metadata once."""
        module = ModuleType("models")
        module.Base, module.Users, module.other = Base, Users, Users.__table__  # type: ignore[attr-defined]

        assert summary(module) == FOUND

    def test_module_with_an_application(self) -> None:
        """An application that a module has is checked with its models."""
        module = ModuleType("main")
        module.Base, module.app = Numbered, app  # type: ignore[attr-defined]

        assert summary(module) == LEAK

    def test_application(self) -> None:
        """What it answers with is looked at where it is given."""
        assert summary(Numbered) == []
        assert summary(Numbered, apps=[app]) == LEAK

    def test_sqlalchemys_own_base(self) -> None:
        """A base that is not ours is checked as well."""

        class Plain(DeclarativeBase):
            pass

        class User(Plain):
            __tablename__ = "user"
            id: Mapped[int] = mapped_column(primary_key=True)

        assert summary(Plain) == [("constraint-name", "user")]

    def test_base_that_does_not_tell_its_registry(self) -> None:
        """Mapped classes are found below one that has a metadata alone, as SQLModel's, and so are their lines."""
        models = orm.registry()

        class Model:
            metadata = models.metadata

        @models.mapped
        class Users(Model):
            __tablename__ = "users"
            id: Mapped[int] = mapped_column(primary_key=True)

        for target in (Model, Users):
            assert {one.source is not None for one in check(target)} == {True}

    @pytest.mark.parametrize("target", [MetaData(), ModuleType("empty"), object()])
    def test_nothing_to_check(self, target: object) -> None:
        """A target without tables is a mistake, not a success."""
        with pytest.raises(ConfigurationError, match="contains no tables"):
            check(target)  # type: ignore[arg-type]


class TestCauses:
    def test_line_of_a_mixin(self) -> None:
        """What a mixin writes is told once, with the number of tables that have it."""

        class Local(sqlkeel.Base):
            pass

        class Flagged:
            id: Mapped[int] = mapped_column(primary_key=True)
            isGood: Mapped[int]

        class Post(Flagged, Local):
            __tablename__ = "post"

        class Tag(Flagged, Local):
            __tablename__ = "tag"
            isOdd: Mapped[int]

        class Word(Flagged, Local):
            __tablename__ = "word"

        assert [(one.where, one.message) for one in check(Local)] == [
            ("post.isGood", '"isGood" is not lower_snake_case. Also in 2 more tables.'),
            ("tag.isOdd", '"isOdd" is not lower_snake_case.'),
        ]

    def test_what_is_let_through_hides_no_other(self) -> None:
        """An exception at the first place leaves the next one."""

        class Local(sqlkeel.Base):
            pass

        class Flagged:
            id: Mapped[int] = mapped_column(primary_key=True)
            isGood: Mapped[int]

        class Post(Flagged, Local):
            __tablename__ = "post"

        class Tag(Flagged, Local):
            __tablename__ = "tag"

        assert summary(Local, ignore={"snake-case:post.isGood": "an old system"}) == [("snake-case", "tag.isGood")]


class TestIgnore:
    def test_everywhere(self) -> None:
        """A code alone lets the rule go everywhere."""
        assert summary(Base, ignore={"snake-case": "an old system"}) == FOUND[:1]

    def test_at_one_place(self) -> None:
        """A code with a place lets it go there only, and is a finding where there is nothing to let go."""
        assert summary(Base, ignore={"snake-case:users.userName": "an old system"}) == FOUND[:1]
        unused = summary(Base, ignore={"snake-case:users.other": "an old system"})
        assert unused == sorted([*FOUND, ("unused-ignore", "users.other")], key=lambda one: one[1])

    def test_at_a_place_and_all_in_it(self) -> None:
        """A star stands for anything."""
        assert summary(Base, ignore={"snake-case:users.*": "an old system"}) == FOUND[:1]

    def test_at_the_model(self) -> None:
        """What the model says of itself counts."""

        class Local(sqlkeel.Base):
            pass

        class Posts(Local):
            __tablename__ = "posts"
            __table_args__ = {"info": allow("singular-table", "the name of a view that is gone")}
            id: Mapped[int] = mapped_column(primary_key=True)
            oddName: Mapped[str] = mapped_column(info=allow("snake-case", "another program reads it"))

        assert summary(Local) == []

    def test_unknown_rule(self) -> None:
        """A rule that does not exist is refused with those that do."""
        with pytest.raises(ConfigurationError, match="no rule snakecase") as caught:
            check(Base, ignore={"snakecase:users": "a reason"})

        assert "snake-case" in caught.value.hint

    def test_rule_on_answers_without_an_application(self) -> None:
        """An exception from what was not looked at is not called needless."""
        ignored = {"internal-id:AccountOut.id": "an internal service"}

        assert summary(Numbered, ignore=ignored) == []
        assert summary(Numbered, ignore=ignored, apps=[app]) == []

    def test_unused_one_may_stay(self) -> None:
        """The rule on needless exceptions has exceptions, too."""
        ignored = {"snake-case:users.other": "it comes back", "unused-ignore:users.other": "it comes back"}

        assert summary(Base, ignore=ignored) == FOUND


class TestExclude:
    def test_table(self) -> None:
        """A table that is left out is not looked at."""
        assert summary(Base, exclude={"user*": "another team's"}) == []

    def test_reason(self) -> None:
        """It needs a reason as well."""
        with pytest.raises(ConfigurationError, match="needs a reason"):
            check(Base, exclude={"users": ""})


class TestFindings:
    def test_one_text(self) -> None:
        """A finding prints as one line with everything in it."""
        metadata = MetaData(naming_convention=Base.metadata.naming_convention)
        SATable("posts", metadata, Column("id", Integer, primary_key=True))

        (finding,) = check(metadata)

        assert str(finding) == 'singular-table  posts: "posts" is a plural. Call it "post".'

    def test_source(self) -> None:
        """A finding knows the line of the column, or of the class for a table."""
        table, column = check(Base)

        lines = Path(__file__).read_text().splitlines()
        assert table.source is not None
        assert column.source is not None
        assert lines[table.source.line - 1] == "class Users(Base):"
        assert lines[column.source.line - 1] == "    userName: Mapped[str]"

    def test_schema(self) -> None:
        """A place in a schema begins with its name."""
        metadata = metadata_with_names(schema="sales")
        SATable("posts", metadata, Column("id", Integer, primary_key=True))

        assert summary(metadata) == [("singular-table", "sales.posts")]


bad = metadata_with_names()
SATable(
    "users",
    bad,
    Column("id", Integer, primary_key=True),
    Column("userName", Integer),
    Column("seen_at", DateTime(timezone=True)),
)


@pytest.mark.tables(bad)
class TestDatabase:
    async def test_findings(self, every_driver: Database) -> None:
        """A live database is held to the same rules, on each database and driver."""
        findings = await check_database(every_driver)

        assert [(one.code, one.where) for one in findings] == FOUND

    async def test_engine(self, db: Database) -> None:
        """A stock engine will do."""
        engine: AsyncEngine = db.engine

        findings = await check_database(engine)

        assert [(one.code, one.where) for one in findings] == FOUND

    async def test_ignore(self, db: Database) -> None:
        """The exceptions of the project hold, and one that covers nothing is no finding here."""
        ignored = {"singular-table": "as it is", "snake-case:post.title": "as it is"}

        findings = await check_database(db, ignore=ignored)

        assert [(one.code, one.where) for one in findings] == FOUND[1:]

    async def test_models(self, db: Database) -> None:
        """What the models say of themselves holds for their tables in the database."""
        models = MetaData()
        SATable("users", models, Column("userName", Integer, info=allow("snake-case", "as it is")))

        findings = await check_database(db, models=models)

        assert [(one.code, one.where) for one in findings] == FOUND[:1]

    async def test_exclude(self, db: Database) -> None:
        """A table that is left out is not read."""
        assert await check_database(db, exclude={"users": "another team's"}) == []

    async def test_singular(self, db: Database) -> None:
        """The project's own words are singulars here, too."""
        findings = await check_database(db, singular=["users"])

        assert [(one.code, one.where) for one in findings] == FOUND[1:]

    async def test_unknown_rule(self, db: Database) -> None:
        """A rule that does not exist is refused before anything is read."""
        with pytest.raises(ConfigurationError, match="no rule snakecase"):
            await check_database(db, ignore={"snakecase": "a reason"})

    async def test_it_waits_for_no_writer(self, sqlite: Database) -> None:
        """Reading begins no transaction that writes, and waits for none."""
        async with sqlite.transaction() as session:
            await session.execute(text("INSERT INTO users (id) VALUES (1)"))

            findings = await check_database(sqlite)

        assert [(one.code, one.where) for one in findings] == FOUND
