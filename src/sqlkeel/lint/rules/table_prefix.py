"""Tables of one module begin with the same word, written the same way.

``payment_account`` and ``payment_bill`` are sorted together in every list; ``payments_refund`` is not.

Instead: one form of the word for the whole group, the singular.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Table

from .._finding import Problem, Rename, Schema
from .singular_table import singular_name, singular_of

__all__ = ["BAD", "GOOD", "check"]

BAD = """
class Account(Base):
    __tablename__ = "payment_account"
    id: Mapped[int] = mapped_column(primary_key=True)

class Refund(Base):
    __tablename__ = "payments_refund"
    id: Mapped[int] = mapped_column(primary_key=True)
"""

GOOD = """
class Account(Base):
    __tablename__ = "payment_account"
    id: Mapped[int] = mapped_column(primary_key=True)

class Refund(Base):
    __tablename__ = "payment_refund"
    id: Mapped[int] = mapped_column(primary_key=True)
"""


def check(table: Table, schema: Schema) -> Iterator[Problem]:
    """Yield a table whose prefix is the plural of another table's."""
    prefix, _, rest = table.name.partition("_")
    one = singular_of(prefix, schema) if rest else None
    if one is None or singular_name(table.name, schema) == f"{one}_{singular_of(rest, schema)}":
        return  # singular-table reports it
    group = sorted(
        other.name
        for other in table.metadata.tables.values()
        if other.name.startswith(f"{one}_") and other.schema == table.schema
    )
    if group:
        name = f"{one}_{rest}"
        message = f'"{table.name}" is sorted apart from "{group[0]}".'
        yield Problem(table.name, message, f'Call it "{name}".', Rename("table", table.name, name))
