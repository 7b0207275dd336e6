"""Tests of naive-datetime: moments keep their zone."""

from __future__ import annotations

from sqlalchemy import Column, Date, DateTime

from tests.lint.examples import found


class TestNaiveDatetime:
    def test_naive_datetime(self) -> None:
        """Only a datetime without a zone is found; a date has none to keep."""
        assert found("naive-datetime", Column("sent_at", DateTime))
        assert not found("naive-datetime", Column("sent_at", DateTime(timezone=True)), Column("due_date", Date))
