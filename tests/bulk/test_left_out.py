"""Rows that a trigger keeps as they are, or leaves out: what the verbs for one row and for objects say of them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

import sqlkeel
from sqlkeel import IntKeyMixin, SoftDeleteMixin, UUIDKeyMixin
from sqlkeel.bulk import UpsertResult, get_or_create, insert_many, insert_many_returning, upsert, upsert_many
from sqlkeel.errors import NotSupported, UniqueViolation
from sqlkeel.repository import Repository
from sqlkeel.sessions import Database
from tests.bulk.models import values_of


class Base(sqlkeel.Base):
    pass


class Counted(IntKeyMixin, SoftDeleteMixin, Base):
    """A key that the database counts."""

    __tablename__ = "left_out_counted"

    code: Mapped[str] = mapped_column(String(10), unique=True)
    n: Mapped[int]


class Made(UUIDKeyMixin, Base):
    """A key that is made in Python."""

    __tablename__ = "left_out_made"

    code: Mapped[str] = mapped_column(String(10), unique=True)
    n: Mapped[int]


class Given(Base):
    """A key that the caller gives."""

    __tablename__ = "left_out_given"

    code: Mapped[str] = mapped_column(String(10), primary_key=True)
    n: Mapped[int]


pytestmark = pytest.mark.tables(Base.metadata)

MODELS = [Counted, Made, Given]
TABLES = [model.__tablename__ for model in MODELS]
FUNCTION = (
    "CREATE FUNCTION left_out() RETURNS trigger LANGUAGE plpgsql AS"
    " $$ BEGIN IF (TG_OP, NEW.n) IN (('INSERT', -1), ('UPDATE', 0)) THEN RETURN NULL; END IF; RETURN NEW; END $$"
)
MAKE = {
    "postgresql": [
        FUNCTION,
        *(
            f"CREATE TRIGGER t BEFORE INSERT OR UPDATE ON {name} FOR EACH ROW EXECUTE FUNCTION left_out()"
            for name in TABLES
        ),
    ],
    "sqlite": [
        f"CREATE TRIGGER {name}_{verb} BEFORE {verb} ON {name} WHEN NEW.n = {n} BEGIN SELECT RAISE(IGNORE); END"
        for name in TABLES
        for verb, n in (("INSERT", -1), ("UPDATE", 0))
    ],
}
DROP = {
    "postgresql": [*(f"DROP TRIGGER t ON {name}" for name in TABLES), "DROP FUNCTION left_out"],
    "sqlite": [f"DROP TRIGGER {name}_{verb}" for name in TABLES for verb in ("INSERT", "UPDATE")],
}


@pytest.fixture(params=["postgres", "psycopg", "sqlite"])
def database(request: pytest.FixtureRequest) -> Database:
    """Each database whose triggers can pass a row over."""
    found: Database = request.getfixturevalue(request.param)
    return found


@pytest.fixture
async def keeping(database: Database) -> AsyncIterator[Database]:
    """The database with triggers that leave a new row out where n is -1, and keep one as it is where n is to be 0."""
    async with database.engine.begin() as connection:
        for statement in MAKE[database.dialect]:
            await connection.exec_driver_sql(statement)
    yield database
    async with database.engine.begin() as connection:
        for statement in DROP[database.dialect]:
            await connection.exec_driver_sql(statement)


class TestManyRows:
    async def test_rows_that_are_left_out_are_not_counted(self, keeping: Database) -> None:
        """An upsert of many rows counts as inserted and updated what is, and nothing less than none."""
        async with keeping.transaction() as session:
            await insert_many(session, Counted, [{"code": "a", "n": 1}, {"code": "b", "n": 1}])
            rows = [{"code": code, "n": n} for code, n in [("a", 2), ("b", 0), ("c", -1), ("d", -1), ("e", 3)]]

            result = await upsert_many(session, Counted, rows, on=[Counted.code])

            assert result == UpsertResult(inserted=1, updated=1, unchanged=3)

    async def test_a_call_of_which_nothing_is_written(self, keeping: Database) -> None:
        """Where all the rows are left out, none is counted."""
        async with keeping.transaction() as session:
            rows = [{"code": code, "n": -1} for code in "abc"]

            result = await upsert_many(session, Counted, rows, on=[Counted.code])

            assert result == UpsertResult(inserted=0, updated=0, unchanged=3)


class TestOneRow:
    async def test_one_that_is_kept_is_returned(self, keeping: Database) -> None:
        """An upsert of a row that a trigger keeps returns the row as it is, and says that it is not new."""
        async with keeping.transaction() as session:
            await insert_many(session, Counted, [{"code": "a", "n": 1}])

            row, created = await upsert(session, Counted, {"code": "a", "n": 0}, on=[Counted.code])

            assert (row.code, row.n, created) == ("a", 1, False)

    async def test_a_held_object_is_fresh(self, keeping: Database) -> None:
        """What the session holds of the row is read again."""
        async with keeping.session() as session:
            await insert_many(session, Counted, [{"code": "a", "n": 1}])
            await session.commit()
            held = (await Repository(session, Counted).get_all())[0]
            await session.commit()
            async with keeping.transaction() as other:
                await upsert(other, Counted, {"code": "a", "n": 2}, on=[Counted.code])

            row, _ = await upsert(session, Counted, {"code": "a", "n": 0}, on=[Counted.code])
            await session.commit()

        assert row is held
        assert row.n == 2

    async def test_an_equal_row_on_postgresql(self, postgres: Database) -> None:
        """The server's own trigger against updates that change nothing makes no error of an upsert."""
        trigger = (
            "CREATE TRIGGER t BEFORE UPDATE ON left_out_counted FOR EACH ROW"
            " EXECUTE FUNCTION suppress_redundant_updates_trigger()"
        )
        async with postgres.engine.begin() as connection:
            await connection.exec_driver_sql(trigger)
        async with postgres.transaction() as session:
            await upsert(session, Counted, {"code": "a", "n": 1}, on=[Counted.code])

            row, created = await upsert(session, Counted, {"code": "a", "n": 1}, on=[Counted.code])

            assert (row.n, created) == (1, False)
        async with postgres.engine.begin() as connection:
            await connection.exec_driver_sql("DROP TRIGGER t ON left_out_counted")

    async def test_a_deleted_one_is_told_apart(self, keeping: Database) -> None:
        """A deleted row in the way is what it was, a trigger or not."""
        async with keeping.transaction() as session:
            await insert_many(session, Counted, [{"code": "a", "n": 1}])
            [row] = await Repository(session, Counted).get_all()
            await Repository(session, Counted).delete(row)

            with pytest.raises(UniqueViolation) as caught:
                await upsert(session, Counted, {"code": "a", "n": 0}, on=[Counted.code])

        assert "is deleted" in str(caught.value)

    async def test_the_trigger_of_new_rows_comes_first(self, keeping: Database) -> None:
        """One that leaves the row out before it meets the row that is there: the call is refused."""
        async with keeping.transaction() as session:
            await insert_many(session, Counted, [{"code": "a", "n": 1}])

            with pytest.raises(NotSupported, match="neither inserted nor updated"):
                await upsert(session, Counted, {"code": "a", "n": -1}, on=[Counted.code])

    async def test_a_new_one_that_is_left_out(self, keeping: Database) -> None:
        """What is not inserted and not there is no violation: the call is refused."""
        async with keeping.transaction() as session:
            with pytest.raises(NotSupported, match="trigger that skips rows"):
                await upsert(session, Counted, {"code": "a", "n": -1}, on=[Counted.code])
            with pytest.raises(NotSupported, match="trigger that skips rows"):
                await get_or_create(session, Counted, {"code": "a"}, {"n": -1})

            assert await values_of(session, Counted.code) == []


class TestObjects:
    @pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
    async def test_fewer_than_rows_are_refused(self, keeping: Database, model: type[Counted]) -> None:
        """Objects in the order of the rows cannot be fewer than these: nothing is inserted."""
        async with keeping.transaction() as session:
            with pytest.raises(NotSupported, match="of 3 rows"):
                await insert_many_returning(
                    session, model, [{"code": code, "n": n} for code, n in zip("abc", (1, -1, 2), strict=True)]
                )

            assert await values_of(session, model.code) == []
