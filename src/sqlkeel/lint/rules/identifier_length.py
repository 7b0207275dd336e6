"""No name is longer than 63 bytes.

PostgreSQL truncates a longer identifier and reports that in a NOTICE, which is easily overlooked (manual, 4.1.1,
"Identifiers and Key Words"). The name in the models is then not the name in the database, and two names that differ
only at the end collide. A letter outside ASCII takes two bytes or more.

Instead: a shorter name. Names that a convention produces are shortened with a hash and always fit.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Constraint, Index, Table
from sqlalchemy.sql.elements import conv

from ...models._naming import MAX_BYTES
from .._finding import Problem, Schema

__all__ = ["BAD", "GOOD", "check"]

BAD = """
class Consent(Base):
    __tablename__ = "consent"
    id: Mapped[int] = mapped_column(primary_key=True)
    agreed_to_the_general_terms_and_conditions_of_the_service_by_letter: Mapped[bool]
"""

GOOD = """
class Consent(Base):
    __tablename__ = "consent"
    id: Mapped[int] = mapped_column(primary_key=True)
    agreed_by_letter: Mapped[bool]
"""


def check(table: Table, schema: Schema) -> Iterator[Problem]:
    """Yield tables, columns, constraints and indexes with longer names."""
    places = {table.name: table.name}
    places |= {f"{table.name}.{column.name}": column.name for column in table.columns}
    named: list[Constraint | Index] = [*table.constraints, *table.indexes]
    # SQLAlchemy shortens a name from a convention with a hash.
    given = [(table.name, one.name) for one in named if isinstance(one.name, str) and not isinstance(one.name, conv)]
    for where, name in [*places.items(), *given]:
        size = len(name.encode())
        if size > MAX_BYTES:
            message = f'"{name}" is {size} bytes long, and PostgreSQL keeps {MAX_BYTES}.'
            yield Problem(where, message, f"Shorten it by {size - MAX_BYTES}.")
