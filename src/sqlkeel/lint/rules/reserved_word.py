"""No name is a reserved word that SQLAlchemy does not quote.

A table ``user`` or ``order`` is fine: SQLAlchemy knows these words and quotes them everywhere, so this rule ignores
them. SQLAlchemy does not know a few others, and a statement that contains one is a syntax error: ``lateral``,
``collation``, ``concurrently`` and ``tablesample`` on PostgreSQL, ``portion`` and three longer ones on MariaDB.

Instead: choose another word, or add one (``time_portion``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sqlalchemy import Table

from .._finding import Problem, Schema

__all__ = ["BAD", "GOOD", "UNQUOTED", "check"]

BAD = """
class Share(Base):
    __tablename__ = "share"
    id: Mapped[int] = mapped_column(primary_key=True)
    portion: Mapped[int]
"""

GOOD = """
class Order(Base):
    __tablename__ = "order"
    id: Mapped[int] = mapped_column(primary_key=True)
    group: Mapped[int]
"""

UNQUOTED: Final = {
    "collation": "PostgreSQL",
    "concurrently": "PostgreSQL",
    "lateral": "PostgreSQL",
    "tablesample": "PostgreSQL",
    "delete_domain_id": "MariaDB",
    "master_demote_to_replica": "MariaDB",
    "master_demote_to_slave": "MariaDB",
    "portion": "MariaDB",
}
"""The words that a database reserves and SQLAlchemy does not quote; a test asks the servers."""


def check(table: Table, schema: Schema) -> Iterator[Problem]:
    """Yield tables and columns with such names."""
    places = {table.name: table.name} | {f"{table.name}.{column.name}": column.name for column in table.columns}
    for where, name in places.items():
        product = UNQUOTED.get(name.lower())
        if product is not None and schema.database in {None, product.lower()}:
            message = f'"{name}" is a reserved word of {product}, which SQLAlchemy does not quote.'
            yield Problem(where, message, "Use another word, or add one to it.")
