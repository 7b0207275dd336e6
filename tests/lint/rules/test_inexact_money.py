"""Tests of inexact-money: amounts are no floats."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Column, Float, Numeric

from tests.lint.examples import found


class TestInexactMoney:
    @pytest.mark.parametrize(
        "column",
        [
            Column("price", Numeric(9, 2)),
            *(Column(name, Float) for name in ("priceless", "rate", "price_index", "fee_rate", "price_change_percent")),
        ],
    )
    def test_money_accepted(self, column: Any) -> None:
        """Exact types, and floats that are no money."""
        assert not found("inexact-money", column)

    @pytest.mark.parametrize("name", ["price", "unit_price", "balance_before"])
    def test_money_refused(self, name: str) -> None:
        """A float is found by a whole word of its name."""
        assert found("inexact-money", Column(name, Float))
