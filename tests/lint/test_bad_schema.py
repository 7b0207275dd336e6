"""Every rule over one deliberately bad schema: each fires where it should, and nowhere else."""

from __future__ import annotations

from sqlkeel.lint import check, load_rules
from tests.lint import bad_schema

LONG = "a_column_whose_name_says_everything_that_there_is_to_know_about_it"
EXPECTED = [
    ("association-key", "shop_product_tag"),
    ("cascade-mismatch", "shop_orders.customer_id"),
    ("constraint-name", "customer"),
    ("foreign-key-index", "shop_orders.customer_id"),
    ("identifier-length", f"shop_orders.{LONG}"),
    ("inexact-money", "shop_orders.total_price"),
    ("internal-id", "CustomerOut.id"),
    ("json-type", "shop_orders.document"),
    ("naive-datetime", "shop_orders.sent_at"),
    ("native-enum", "shop_orders.state"),
    ("nullable-boolean", "customer.active"),
    ("orphan-of-soft-delete", "shop_product"),
    ("random-uuid-key", "shop_orders.id"),
    ("reserved-word", "shop_orders.portion"),
    ("same-name", "shop_review.reviewer"),
    ("same-type", "shop_review.product_id"),
    ("server-default", "shop_orders.note"),
    ("singular-table", "shop_orders"),
    ("snake-case", "customer.phoneNumber"),
    ("soft-delete-unique", "customer.city"),
    ("soft-delete-unique", "customer.email"),
    ("table-prefix", "shops_voucher"),
    ("time-suffix", "customer.birth_at"),
    ("time-suffix", "customer.joined"),
    ("unescaped-colon", "shop_orders.options"),
    ("unjustified-varchar", "customer.street"),
    ("unused-ignore", "shop_product.price"),
]


class TestBadSchema:
    def test_every_rule_fires(self) -> None:
        """There is no rule that the schema does not break."""
        assert {code for code, _ in EXPECTED} == {rule.code for rule in load_rules()}

    def test_each_where_it_should(self) -> None:
        """The findings are these and no others, each once."""
        assert sorted((one.code, one.where) for one in check(bad_schema)) == EXPECTED

    def test_each_has_a_line(self) -> None:
        """All but that on a table without a class are shown in the file."""
        without = [one.code for one in check(bad_schema) if one.source is None]

        assert without == ["association-key"]
