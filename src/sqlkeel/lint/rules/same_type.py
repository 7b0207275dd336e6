"""A key has the same type wherever it stands.

A ``user_id`` INTEGER that points to a BIGINT compares slowly, because the index of one side cannot be used as
it is, and the narrower one ends at 2,147,483,647 while the wider goes on.

Instead: the type of the column that the foreign key points to; leave the type out, and it is taken over.
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
    """Yield foreign keys whose type is not that of the column they point to."""
    for column in table.columns:
        for model in targets_of(column):
            ours, theirs = _type(column, schema), _type(model, schema)
            if ours != theirs:
                where = f"{table.name}.{column.name}"
                message = f"{where} is {ours}, and {model.table.name}.{model.name} is {theirs}."
                yield Problem(where, message, f"Make it {theirs}.")
                break


def targets_of(column: Column[Any]) -> Iterator[Column[Any]]:
    """Yield the columns that the foreign keys of this one point to, as far as their tables are here."""
    for key in column.foreign_keys:
        try:
            yield key.column
        except NoReferenceError:  # a table of another metadata, which is not here to compare with
            continue


def _type(column: Column[Any], schema: Schema) -> str:
    if schema.database == "sqlite" and isinstance(column.type, Integer):
        return "INTEGER"  # of 64 bits, whatever it is called
    try:
        return str(column.type.compile(_DIALECT))
    except CompileError:
        return repr(column.type)
