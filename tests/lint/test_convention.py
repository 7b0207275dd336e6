"""Tests of sqlkeel.lint._convention: the name that a constraint would get is the name that it gets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
    column,
    func,
    text,
)

from sqlkeel.lint._convention import convention_name
from sqlkeel.models import metadata_with_names

LONG = "a_rather_long_name_of_a_column_as_one_finds_it"


def on(table: str, item: Any, metadata: MetaData | None = None) -> Any:
    """Put a constraint on a table."""
    columns = [Column(name, Integer) for name in ("a", "b", LONG)]
    Table(table, MetaData() if metadata is None else metadata, *columns, item)
    return item


MADE: dict[str, Callable[[], Any]] = {
    "primary key": lambda: PrimaryKeyConstraint("a"),
    "foreign key": lambda: ForeignKeyConstraint(["a", "b"], ["team.x", "team.y"]),
    "unique": lambda: UniqueConstraint("a", "b"),
    "index": lambda: Index(None, "a", "b"),
    "cut": lambda: UniqueConstraint(LONG, "a", "b"),
    "check": lambda: CheckConstraint(column("a") > 0, name="positive"),
}


class TestConventionName:
    @pytest.mark.parametrize("kind", MADE)
    def test_same_as_the_convention(self, kind: str) -> None:
        """Every kind is called as `metadata_with_names` calls it."""
        made = on("thing", MADE[kind](), metadata_with_names())

        assert convention_name(on("thing", MADE[kind]()), table="thing", columns={}) == str(made.name)

    @pytest.mark.parametrize(
        ("kind", "name"),
        [
            ("primary key", "item_pkey"),
            ("foreign key", "item_x_b_fkey"),
            ("unique", "item_x_b_key"),
            ("index", "item_x_b_idx"),
            ("check", "item_positive_check"),
        ],
    )
    def test_new_names(self, kind: str, name: str) -> None:
        """The names that table and columns will have are taken."""
        assert convention_name(on("thing", MADE[kind]()), table="item", columns={"a": "x"}) == name

    def test_check_of_the_convention(self) -> None:
        """A CHECK that is named right keeps what it is about."""
        check = on("thing", CheckConstraint("a > 0", name="thing_positive_check"))

        assert convention_name(check, table="item", columns={}) == "item_positive_check"

    def test_index_over_an_expression_of_columns(self) -> None:
        """The columns in it name it."""
        assert convention_name(on("thing", Index("x", func.abs(column("a")))), table="t", columns={}) is None
        table = Table("thing", MetaData(), Column("a", Integer))
        assert convention_name(Index("x", func.abs(table.c.a)), table="thing", columns={}) == "thing_a_idx"

    @pytest.mark.parametrize("item", [CheckConstraint("a > 0"), Index("x", text("abs(a)"))], ids=["check", "index"])
    def test_nothing_tells(self, item: Any) -> None:
        """What is known as text only has no name."""
        assert convention_name(on("thing", item), table="thing", columns={}) is None
