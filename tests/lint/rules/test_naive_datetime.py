"""Tests of naive-datetime: moments keep their zone."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, Date, DateTime
from sqlalchemy.types import TypeDecorator

from tests.lint.examples import found


class Moment(TypeDecorator[Any]):
    """Another word for a datetime."""

    impl = DateTime
    cache_ok = True


class Stored(TypeDecorator[Any]):
    """A type that keeps moments in UTC."""

    impl = DateTime
    cache_ok = True

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        """Return it as it is."""
        return value


class TestNaiveDatetime:
    def test_naive_datetime(self) -> None:
        """Only a datetime without a zone is found; a date has none to keep."""
        assert found("naive-datetime", Column("sent_at", DateTime))
        assert not found("naive-datetime", Column("sent_at", DateTime(timezone=True)), Column("due_date", Date))

    def test_types_of_the_project(self) -> None:
        """One that converts values answers for itself, another is what it is made of."""
        assert found("naive-datetime", Column("sent_at", Moment()))
        assert not found("naive-datetime", Column("sent_at", Stored()))

    def test_where_none_has_a_zone(self) -> None:
        """That is one finding; beside moments with a zone, each without is one."""
        naive = [Column("sent_at", DateTime), Column("read_at", DateTime)]
        aware = Column("made_at", DateTime(timezone=True))

        assert [one.where for one in found("naive-datetime", *naive)] == ["thing.read_at"]
        mixed = [Column("sent_at", DateTime), Column("read_at", DateTime), aware]
        assert [one.where for one in found("naive-datetime", *mixed)] == ["thing.read_at", "thing.sent_at"]
