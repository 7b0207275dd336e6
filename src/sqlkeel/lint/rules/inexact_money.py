"""An amount of money is exact.

Binary floating point cannot represent 0.10. Sums drift, and two ways to compute the same total differ by a cent.

The rule ignores names that end in the word for a measure: ``price_index``, ``fee_rate``.

Instead: ``sqlkeel.Money``, which ``Mapped[Decimal]`` means on ``sqlkeel.Base``; ``Numeric(18, 2)`` elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sqlalchemy import Float, Table

from .._finding import Problem, Schema

__all__ = ["BAD", "GOOD", "check"]

BAD = """
class Product(Base):
    __tablename__ = "product"
    id: Mapped[int] = mapped_column(primary_key=True)
    unit_price: Mapped[float]
"""

GOOD = """
class Product(Base):
    __tablename__ = "product"
    id: Mapped[int] = mapped_column(primary_key=True)
    unit_price: Mapped[Decimal]
    weight: Mapped[float]
"""

# Last words of names that measure something about money, but are not amounts.
_MEASURES: Final = frozenset(
    {"factor", "index", "multiplier", "percent", "percentage", "rate", "ratio", "score", "weight"}
)
_WORDS: Final = frozenset(
    {"amount", "balance", "cost", "deposit", "fee", "money", "payment", "price", "revenue", "salary", "wage"}
)


def check(table: Table, schema: Schema) -> Iterator[Problem]:
    """Yield floating point columns with a word for money in their name."""
    for column in table.columns:
        words = column.name.lower().split("_")
        if isinstance(column.type, Float) and _WORDS & set(words) and words[-1] not in _MEASURES:
            where = f"{table.name}.{column.name}"
            yield Problem(where, f"{where} stores money in floating point.", "Use Money(), or Numeric(18, 2).")
