"""Fields that rows leave out, of types that store something for ``None``: each verb writes what a flush writes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import JSON, String, func, text
from sqlalchemy.exc import StatementError
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import TypeDecorator, UserDefinedType

import sqlkeel
from sqlkeel.bulk import get_or_create, insert_many, insert_many_returning, upsert, upsert_many
from sqlkeel.sessions import Database, Session


class Base(sqlkeel.Base):
    pass


class Marked(TypeDecorator[str]):
    """A text that is stored as "none" where there is none."""

    impl = String(20)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str:
        """Return what is stored."""
        return "none" if value is None else value


class Document(TypeDecorator[Any]):
    """A document, of which ``None`` is one."""

    impl = JSON
    cache_ok = True


class Named(UserDefinedType[str]):
    """A text that a function of SQL replaces where there is none."""

    cache_ok = True

    def get_col_spec(self, **kw: Any) -> str:
        """Be a text."""
        return "VARCHAR(50)"

    def bind_expression(self, bindvalue: Any) -> Any:
        """Store another text for NULL."""
        return func.coalesce(bindvalue, "nobody", type_=self)


class Needed(TypeDecorator[str]):
    """A text that may not be missing."""

    impl = String(20)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str:
        """Return what is stored; there is nothing for ``None``."""
        assert value is not None
        return value


class Blank(Base):
    """Every kind of type that may store something for ``None``, and defaults, which go first."""

    __tablename__ = "left_blank"

    id: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[int] = mapped_column(unique=True)
    marked: Mapped[str | None] = mapped_column("mark", Marked)
    told: Mapped[str | None] = mapped_column(Marked, default="told")
    filled: Mapped[str | None] = mapped_column(Marked, server_default="filled")
    asked: Mapped[str | None] = mapped_column(Marked().evaluates_none())
    document: Mapped[Any | None] = mapped_column(Document)
    data: Mapped[Any | None] = mapped_column(JSON)
    plain: Mapped[Any | None] = mapped_column(JSON(none_as_null=True))


class Caller(Base):
    """A column that goes through a function of SQL."""

    __tablename__ = "left_blank_caller"

    id: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[int] = mapped_column(unique=True)
    name: Mapped[str | None] = mapped_column(Named)


class Strict(Base):
    """A column that a row has to have."""

    __tablename__ = "left_blank_strict"

    id: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[int] = mapped_column(unique=True)
    name: Mapped[str] = mapped_column(Needed)


pytestmark = pytest.mark.tables(Base.metadata)
Verb = Callable[[Session, Any, dict[str, Any]], Awaitable[Any]]
VERBS: dict[str, Verb] = {
    "insert_many": lambda session, model, row: insert_many(session, model, [row]),
    "insert_many_returning": lambda session, model, row: insert_many_returning(session, model, [row]),
    "upsert": lambda session, model, row: upsert(session, model, row, on=[model.code]),
    "upsert_many": lambda session, model, row: upsert_many(session, model, [row], on=[model.code]),
    "get_or_create": lambda session, model, row: get_or_create(session, model, row, {}),
}


async def stored(session: Session, model: Any, *, code: int) -> tuple[Any, ...]:
    """Return what the row holds behind its key, as the database has it."""
    found = await session.execute(text(f"SELECT * FROM {model.__tablename__} WHERE code = {code}"))
    return tuple(map(str, found.one()))[2:]


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
class TestNewRows:
    @pytest.mark.parametrize("model", [Blank, Caller])
    async def test_as_a_flush(self, every_driver: Database, verb: Verb, model: Any) -> None:
        """What a row leaves out is stored as it is for an object that leaves it out."""
        async with every_driver.transaction() as session:
            session.add(model(code=1))
            await session.flush()

            await verb(session, model, {"code": 2})

            assert await stored(session, model, code=2) == await stored(session, model, code=1)

    async def test_a_type_that_takes_no_none(self, every_driver: Database, verb: Verb) -> None:
        """A type that fails for ``None`` fails for a row that leaves its field out, as for such an object."""
        async with every_driver.transaction() as session:
            with pytest.raises(StatementError):
                await verb(session, Strict, {"code": 2})


class TestRowsThatAreThere:
    async def test_they_keep_what_is_left_out(self, every_driver: Database) -> None:
        """An update by an upsert writes nothing to the fields that its row leaves out."""
        async with every_driver.transaction() as session:
            await insert_many(session, Caller, [{"code": 1, "name": "Ann"}, {"code": 2, "name": "Bob"}])

            await upsert(session, Caller, {"code": 1}, on=[Caller.code])
            await upsert_many(session, Caller, [{"code": 2}], on=[Caller.code])

            assert [await stored(session, Caller, code=code) for code in (1, 2)] == [("Ann",), ("Bob",)]
