"""Tests of server-default: defaults that the database has too."""

from __future__ import annotations

import datetime
import enum
import secrets
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import (
    ARRAY,
    JSON,
    Boolean,
    Column,
    Computed,
    Date,
    DateTime,
    Enum,
    Float,
    Identity,
    Integer,
    MetaData,
    Sequence,
    String,
    Uuid,
    func,
    literal,
    select,
    text,
    true,
)

from sqlkeel import Money, UTCDateTime
from sqlkeel.models import uuid7
from sqlkeel.sessions import Database
from sqlkeel.types import PlainDate, utc_now
from tests.lint.examples import found, found_in

QUOTED = 'Add server_default="it\'s".'

METADATA = MetaData()
PRODUCT = sqlalchemy.Table(
    "product",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("price", Money(), server_default=literal(Decimal("9.50"), Money(precision=18, scale=2)), nullable=False),
    Column("cost", Money(), server_default="0", nullable=False),
    Column("label", JSON, server_default=text("'{}'"), nullable=False),
    Column("active", Boolean, server_default=true(), nullable=False),
    Column("title", String(20), server_default='"new"', nullable=False),
)


class State(enum.Enum):
    """A state."""

    PAID = "paid"


class Sign(enum.Enum):
    """Members with a quote, stored by their value."""

    QUOTE = "it's"


def values(kind: type[enum.Enum]) -> list[str]:
    """Return what an enumeration stores."""
    return [str(member.value) for member in kind]


class TestServerDefault:
    @pytest.mark.parametrize(
        ("column", "fix"),
        [
            (Column("a", String, default=""), 'Add server_default="".'),
            (Column("a", String, default='x "y"'), 'Add server_default="x \\"y\\"".'),
            (Column("a", String, default="é"), 'Add server_default="é".'),
            (Column("a", Integer, default=3), 'Add server_default="3".'),
            (Column("a", Boolean, default=True), "Add server_default=true()."),
            (Column("a", Boolean, default=False), "Add server_default=false()."),
            (Column("a", Money(), default=Decimal(0)), 'Add server_default="0".'),
            (
                Column("a", Money(), default=Decimal("9.50")),
                "Add server_default=literal(Decimal('9.50'), Money(precision=18, scale=2)).",
            ),
            (Column("a", Float, default=0.5), "Add server_default=literal(0.5, Float())."),
            (Column("a", Enum(State, native_enum=False), default=State.PAID), 'Add server_default="PAID".'),
            (Column("a", Enum(Sign, native_enum=False, values_callable=values), default=Sign.QUOTE), QUOTED),
            (Column("a", PlainDate(), default=datetime.date(2020, 1, 2)), 'Add server_default="2020-01-02".'),
            (Column("a", JSON, default=[]), "Add server_default=text(\"'[]'\")."),
            (Column("a", JSON, default={"it": "it's"}), r"""Add server_default=text("'{\"it\": \"it''s\"}'")."""),
            (Column("a", JSON, default=["x :b"]), r"""Add server_default=text("'[\"x \\:b\"]'")."""),
            (Column("a", ARRAY(Integer), default=[]), "Add server_default=text(\"'{}'\")."),
            (Column("a", JSON, default=dict), "Add server_default=text(\"'{}'\")."),
            (Column("a", JSON, default=list), "Add server_default=text(\"'[]'\")."),
            (Column("a", ARRAY(Integer), default=list), "Add server_default=text(\"'{}'\")."),
            (Column("a", Integer, default=func.random()), "Write server_default= instead of default=."),
            (
                Column("a", UTCDateTime(), default=lambda: datetime.datetime.now(datetime.UTC)),
                "Write server_default=sqlkeel.types.utc_now().",
            ),
            (
                Column("a", DateTime(), default=datetime.datetime.now),
                "Write server_default=sqlkeel.types.utc_now(), and make it UTCDateTime().",
            ),
            (
                Column("a", DateTime(timezone=True), default=utc_now()),
                "Write server_default= instead of default=.",
            ),
            (Column("a", Date, default=datetime.date.today), "Write server_default=func.current_date()."),
        ],
    )
    def test_refused(self, column: Any, fix: str) -> None:
        """A value that the database could fill in, with the text that makes it do so."""
        column.nullable = False

        (finding,) = found("server-default", column)

        assert finding.fix == fix

    @pytest.mark.parametrize(
        "column",
        [
            Column("a", Integer, default=3, nullable=True),
            Column("a", Integer, default=3, server_default="3", nullable=False),
            Column("a", Integer, nullable=False),
            Column("a", Integer, Computed("1"), nullable=False),
            Column("a", Integer, Identity(), nullable=False),
            Column("a", Integer, Sequence("numbers"), nullable=False),
            Column("a", Uuid, default=uuid7, nullable=False),
            Column("a", Integer, default=select(func.max(text("1"))).scalar_subquery(), nullable=False),
            Column("a", String(43), default=secrets.token_urlsafe, nullable=False),
        ],
    )
    def test_accepted(self, column: Any) -> None:
        """What may be NULL, has a default in the database, has none, or is made by the program alone."""
        assert not found("server-default", column)

    def test_version(self) -> None:
        """The ORM writes the first version of a row, which another program would have to know."""
        source = """
class Post(Base):
    __tablename__ = "post"
    id: Mapped[int] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column()
    __mapper_args__ = {"version_id_col": version}

class Article(VersionMixin, Base):
    __tablename__ = "article"
    id: Mapped[int] = mapped_column(primary_key=True)
"""

        (finding,) = found_in("server-default", source)

        assert (finding.where, finding.fix) == ("post.version", 'Add server_default="1".')


@pytest.mark.tables(METADATA)
class TestFix:
    async def test_the_fixes_mean_what_they_say(self, db: Database) -> None:
        """What is written in a fix gives the value of the default on every database, of money too."""
        async with db.transaction() as session:
            await session.execute(text("INSERT INTO product (id) VALUES (1)"))
            row = (await session.execute(select(PRODUCT))).one()

        assert row[1:] == (Decimal("9.50"), Decimal("0.00"), {}, True, '"new"')
