"""What the service takes in."""

from __future__ import annotations

from decimal import Decimal

import pytest
from pydantic import ValidationError

from sqlkeel.demo.schemas import AccountIn, TransferIn
from sqlkeel.models import uuid7


class TestAmount:
    @pytest.mark.parametrize("text", ["0", "0.01", "9999999999999999.99"])
    def test_exact_amounts_pass(self, text: str) -> None:
        """An amount keeps its digits."""
        assert AccountIn(holder="Ada", balance=Decimal(text)).balance == Decimal(text)

    @pytest.mark.parametrize("text", ["-0.01", "0.001", "10000000000000000.00", "NaN", "Infinity"])
    def test_other_amounts_are_refused(self, text: str) -> None:
        """Debt, fractions of a cent, too many digits and what is no number do not come in."""
        with pytest.raises(ValidationError):
            AccountIn(holder="Ada", balance=Decimal(text))


class TestTransferIn:
    def test_each_has_a_key_of_its_own(self) -> None:
        """A sender who gives no id gets a UUIDv7."""
        first, second = (TransferIn(sender=uuid7(), recipient=uuid7(), amount=Decimal(1)) for _ in range(2))

        assert first.id.version == 7
        assert first.id < second.id
