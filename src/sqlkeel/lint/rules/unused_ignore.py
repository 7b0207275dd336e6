"""An exception that suppresses nothing is itself reported.

An exception that no longer matches a finding hides the next mistake at the same place, and nobody reads a long list of
them. Its model was fixed or renamed, or its place is misspelled.

Instead: delete the entry of ``ignore`` in pyproject.toml, or the ``allow()`` in the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .._allowing import Allowance
from .._finding import Problem

__all__ = ["BAD", "GOOD", "check_idle"]

BAD = """
from sqlkeel.lint import allow

class Product(Base):
    __tablename__ = "product"
    id: Mapped[int] = mapped_column(primary_key=True)
    unit_price: Mapped[Decimal] = mapped_column(info=allow("inexact-money", "an estimate"))
"""

GOOD = """
from sqlkeel.lint import allow

class Product(Base):
    __tablename__ = "product"
    id: Mapped[int] = mapped_column(primary_key=True)
    unit_price: Mapped[float] = mapped_column(info=allow("inexact-money", "an estimate"))
"""


def check_idle(idle: Iterable[Allowance]) -> Iterator[Problem]:
    """Yield exceptions that suppress no finding."""
    for one in idle:
        where = one.text.partition(":")[2] or one.text
        message = f'Nothing here breaks "{one.code}". The exception gives the reason: {one.reason}'
        message = message if message.endswith(".") else f"{message}."
        yield Problem(where, message, "Delete the exception.", source=one.source)
