"""A foreign key has the type of the column that it references.

A ``user_id`` INTEGER that references a BIGINT makes joins slow, because the index of one side cannot be used directly,
and it overflows at 2,147,483,647 while the referenced key keeps counting.

Instead: use the type of the referenced column. If you leave the type out, SQLAlchemy takes it from there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Column, Integer, Table
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import CompileError, NoReferenceError

from .._finding import Problem, Schema

__all__ = ["BAD", "GOOD", "check", "targets_of"]

BAD = """
class User(Base):
    __tablename__ = "user"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)

class Post(Base):
    __tablename__ = "post"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(Integer, ForeignKey("user.id"), index=True)
    legacy_id: Mapped[int]
"""

GOOD = """
class User(Base):
    __tablename__ = "user"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)

class Post(Base):
    __tablename__ = "post"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id"), index=True)

class Payment(Base):
    __tablename__ = "payment"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(comment="of the payment service")
"""

_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy's own


def check(table: Table, schema: Schema) -> Iterator[Problem]:
    """Yield foreign keys whose type differs from that of the column they reference."""
    for column in table.columns:
        for model in targets_of(column):
            ours, theirs = _type(column, schema), _type(model, schema)
            if ours != theirs:
                where = f"{table.name}.{column.name}"
                message = f"{where} is {ours}, and {model.table.name}.{model.name} is {theirs}."
                yield Problem(where, message, f"Make it {theirs}.")
                break


def targets_of(column: Column[Any]) -> Iterator[Column[Any]]:
    """Yield the columns that this column's foreign keys reference, except those of tables that are not loaded."""
    for key in column.foreign_keys:
        try:
            yield key.column
        except NoReferenceError:  # the table is in another MetaData, which we do not have
            continue


def _type(column: Column[Any], schema: Schema) -> str:
    if schema.database == "sqlite" and isinstance(column.type, Integer):
        return "INTEGER"  # always 64 bits, whatever its declared name
    try:
        return str(column.type.compile(_DIALECT))
    except CompileError:
        return repr(column.type)
