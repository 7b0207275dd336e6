"""Tests of table-prefix: one prefix for the tables of a module."""

from __future__ import annotations

from sqlkeel.lint import check
from sqlkeel.models import metadata_with_names
from tests.lint.examples import found, table


class TestTablePrefix:
    def test_alone(self) -> None:
        """A plural prefix that no other table has in the singular is fine."""
        assert not found("table-prefix", name="payments_refund")

    def test_three_in_a_group(self) -> None:
        """Each one that is written differently is found; the others are not."""
        metadata = metadata_with_names()
        for name in ("order_line", "order_note", "orders_tax", "orderly"):
            table(name=name, metadata=metadata)

        assert {(one.code, one.where) for one in check(metadata)} == {("table-prefix", "orders_tax")}

    def test_a_table_between_two(self) -> None:
        """It is told once, with both words in the singular."""
        metadata = metadata_with_names()
        for name in ("role", "role_note", "user", "roles_users"):
            table(name=name, metadata=metadata)

        assert [(one.code, one.fix) for one in check(metadata)] == [("singular-table", 'Call it "role_user".')]
