"""Tests of all rules, by their own examples and in live databases; what is peculiar to one is in rules/."""

from __future__ import annotations

import pytest
from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    DateTime,
    Enum,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Uuid,
    text,
)

from sqlkeel.lint import Rule, check, check_database, load_rules
from sqlkeel.models import metadata_with_names
from sqlkeel.sessions import Database
from tests.lint.examples import example, models, table

EVERY_RULE = pytest.mark.parametrize("rule", load_rules(), ids=lambda rule: rule.code)

GOOD: MetaData = models("""
class Account(DualIDMixin, TimestampMixin, SoftDeleteMixin, VersionMixin, Base):
    __tablename__ = "account"
    __table_args__ = (unique_live("email"),)
    email: Mapped[str] = mapped_column(String(320))
    nickname: Mapped[str] = mapped_column(String(255), index=True)
    name: Mapped[str]
    active: Mapped[bool] = mapped_column(server_default=true())
    payload: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(Enum("a", "b", native_enum=False, length=32))
    balance: Mapped[Decimal]
    birth_date: Mapped[date]

class Key(UUIDKeyMixin, SoftDeleteMixin, Base):
    __tablename__ = "api_key"
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"), index=True)
    token: Mapped[UUID] = mapped_column(default=uuid7, unique=True)

class Tag(IntKeyMixin, Base):
    __tablename__ = "tag"
    name: Mapped[str] = mapped_column(String(40), unique=True)

class AccountTag(Base):
    __tablename__ = "account_tag"
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id"), primary_key=True)
    tag_id: Mapped[int] = mapped_column(ForeignKey("tag.id"), primary_key=True, index=True)
""").metadata

BAD = metadata_with_names()
table(
    Column("email", String(100), unique=True),
    Column("name", String(255)),
    Column("active", Boolean),
    Column("payload", JSON),
    Column("state", Enum("a", "b", name="account_state")),
    Column("deleted_at", DateTime(timezone=True)),
    name="account",
    metadata=BAD,
)
Table(
    "account_team",
    BAD,
    Column("account_id", Integer, ForeignKey("account.id"), index=True),
    Column("team_id", Integer, ForeignKey("team.id"), index=True),
)
table(Column("acct", Integer, ForeignKey("account.id"), index=True), name="login", metadata=BAD)
table(name="team", metadata=BAD)

RANDOM = metadata_with_names()
Table("event", RANDOM, Column("id", Uuid, primary_key=True, server_default=text("gen_random_uuid()")))


def is_explained(rule: Rule) -> bool:
    """Tell whether the docstring of a rule has a line alone, and says what instead."""
    first, blank, _ = (rule.why + "\n\n").split("\n", 2)
    return (first.endswith(".") or "``" in first) and blank == "" and "\n\nInstead: " in rule.why


class TestExamples:
    @EVERY_RULE
    def test_bad(self, rule: Rule) -> None:
        """The bad example breaks its rule."""
        findings = check(example(rule.bad))

        assert rule.code in {finding.code for finding in findings}

    @EVERY_RULE
    def test_good(self, rule: Rule) -> None:
        """The good example breaks no rule at all."""
        assert check(example(rule.good)) == []

    def test_docstring(self) -> None:
        """A rule says in one line what it asks for, and what to do instead."""
        assert {rule.code for rule in load_rules() if not is_explained(rule)} == set()

    @EVERY_RULE
    def test_fix(self, rule: Rule) -> None:
        """A finding is a sentence, and says what to type next."""
        findings = [one for one in check(example(rule.bad)) if one.code == rule.code]

        assert all(one.message.endswith(".") for one in findings)
        assert all(one.fix for one in findings)


class TestLiveDatabase:
    @pytest.mark.tables(GOOD)
    async def test_what_the_models_keep_the_database_keeps(self, db: Database) -> None:
        """Tables of models without a finding have none when they are read back."""
        assert check(GOOD) == []
        assert await check_database(db) == []

    @pytest.mark.tables(BAD)
    async def test_what_every_database_shows(self, db: Database) -> None:
        """What breaks a rule is found in the tables alone."""
        found = {(one.code, one.where) for one in await check_database(db)}

        assert found >= {
            ("association-key", "account_team"),
            ("same-name", "login.acct"),
            ("soft-delete-unique", "account.email"),
            ("unjustified-varchar", "account.name"),
        }

    @pytest.mark.tables(BAD)
    async def test_what_one_database_shows(self, db: Database) -> None:
        """What a database has no type for, or does not tell, is no finding there."""
        shown = {
            "sqlite": {("nullable-boolean", "account.active")},
            "postgresql": {("nullable-boolean", "account.active"), ("json-type", "account.payload")},
            "mariadb": set(),
        }

        found = {(one.code, one.where) for one in await check_database(db)}

        places = {"account.active", "account.payload", "account.state"}
        assert {one for one in found if one[1] in places} == shown[db.engine.dialect.name]

    @pytest.mark.tables(RANDOM)
    async def test_default_of_the_server(self, postgres: Database) -> None:
        """A key that the server makes at random is found by its default."""
        assert [one.code for one in await check_database(postgres)] == ["random-uuid-key"]
