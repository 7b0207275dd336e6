"""Tests of unjustified-varchar: lengths that the values have."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import CHAR, Column, Enum, ForeignKey, Index, String, Text, Unicode, UniqueConstraint
from sqlalchemy.dialects.mysql import LONGTEXT, SET, VARCHAR
from sqlalchemy.types import TypeDecorator

from tests.lint.examples import found


class Name(TypeDecorator[str]):
    """Another word for a text."""

    impl = String(255)
    cache_ok = True


class Secret(TypeDecorator[str]):
    """A text that is stored as something else."""

    impl = String(255)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        """Return it as it is."""
        return value


class TestUnjustifiedVarchar:
    def test_it_is_told_once(self) -> None:
        """The habit is one, in however many columns."""
        columns = [Column(name, String(255)) for name in ("name", "title", "street")]

        assert [one.where for one in found("unjustified-varchar", *columns)] == ["thing.name"]

    @pytest.mark.parametrize("length", [191, 255, 256])
    def test_refused(self, length: int) -> None:
        """Lengths that come from a database and not from a value."""
        (finding,) = found("unjustified-varchar", Column("name", String(length)))

        assert finding.message == f"thing.name is String(length={length}): a length out of habit."

    @pytest.mark.parametrize("kind", [Unicode(255), VARCHAR(255, collation="utf8mb4_bin"), Name()])
    def test_its_other_names(self, kind: Any) -> None:
        """All that is a VARCHAR is found."""
        assert found("unjustified-varchar", Column("name", kind))

    @pytest.mark.parametrize(
        "kind",
        [
            String(190),
            String(192),
            String(254),
            String(257),
            String(320),
            String(),
            Text(),
            Text(255),
            LONGTEXT(),
            CHAR(255),
            Enum("a", native_enum=False, length=255),
            SET("a" * 255),
            Text().with_variant(String(255), "mariadb"),
            Secret(),
        ],
    )
    def test_accepted(self, kind: Any) -> None:
        """Other lengths, no length, and texts that are no VARCHAR."""
        assert not found("unjustified-varchar", Column("name", kind))

    @pytest.mark.parametrize("part", [Index(None, "name"), Index(None, "other", "name"), UniqueConstraint("name")])
    def test_indexed(self, part: Any) -> None:
        """MariaDB indexes no text without a length: a key or an index is a reason."""
        assert not found("unjustified-varchar", Column("name", String(255)), Column("other", String(9)), part)

    def test_keys(self) -> None:
        """So is a primary key, and a foreign key, which is as long as its target."""
        target = Column("shop_code", String(255), ForeignKey("shop.code"))

        assert not found("unjustified-varchar", Column("code", String(255), primary_key=True), target)
