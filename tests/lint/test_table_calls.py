"""Tests of sqlkeel.lint._table_calls: the line of a table that has no class."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import Column, Integer, MetaData, String, Table

from sqlkeel.lint import check
from sqlkeel.lint._table_calls import source_of_table

LINES = Path(__file__).read_text().splitlines()
CALLED = "computed"

metadata = MetaData()
reading = Table(
    "reading",
    metadata,
    Column("id", Integer, primary_key=True),
    sa.Column("takenBy", String(20)),
)
sa.Table("not_assigned", metadata, Column("id", Integer, primary_key=True))
named_elsewhere = Table(CALLED, metadata, Column("id", Integer, primary_key=True))
first = Table("twice", MetaData(), Column("id", Integer, primary_key=True))
second = Table("twice", MetaData(), Column("id", Integer, primary_key=True))


def line(table: Table, column: str | None = None) -> str:
    """Return the text of the line that was found."""
    found = source_of_table(table, column)
    assert found is not None
    assert found.path == Path(__file__)
    return LINES[found.line - 1].strip()


class TestSourceOfTable:
    def test_table(self) -> None:
        """A table is where the call begins."""
        assert line(reading) == "reading = Table("

    def test_column(self) -> None:
        """A column is on its own line, also under the name of its module."""
        assert line(reading, "takenBy") == 'sa.Column("takenBy", String(20)),'

    def test_column_that_something_else_has_added(self) -> None:
        """It is taken for written at the table."""
        assert line(reading, "added") == "reading = Table("

    def test_without_a_name_in_the_module(self) -> None:
        """Its MetaData has one there."""
        assert line(metadata.tables["not_assigned"]).startswith("sa.Table(")

    def test_another_way_of_writing(self) -> None:
        """Nothing is guessed where the name does not stand in the call, or stands in two of them."""
        assert [source_of_table(one, None) for one in (named_elsewhere, first)] == [None, None]

    def test_no_module(self) -> None:
        """A table that was made by a function is not found."""
        assert source_of_table(Table("link", MetaData()), None) is None


class TestCheck:
    def test_findings_have_lines(self) -> None:
        """In a MetaData without classes, too."""
        (found,) = [one for one in check(metadata) if one.code == "snake-case"]

        assert found.source is not None
        assert LINES[found.source.line - 1].strip() == 'sa.Column("takenBy", String(20)),'
