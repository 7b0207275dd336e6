"""Tests of sqlkeel.bulk._copying: what COPY does not take arrives all the same, as INSERT would have written it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import (
    ARRAY,
    DDL,
    JSON,
    BigInteger,
    CheckConstraint,
    Float,
    Integer,
    Numeric,
    String,
    Text,
    event,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import (
    BIT,
    CITEXT,
    ENUM,
    HSTORE,
    INET,
    INT4MULTIRANGE,
    INT4RANGE,
    JSONPATH,
    MACADDR,
    MONEY,
    REGCLASS,
    TSVECTOR,
    Range,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import TypeDecorator, UserDefinedType

import sqlkeel
from sqlkeel import queries
from sqlkeel.bulk import UpsertResult, delete_many, insert_many, insert_many_returning, update_many, upsert, upsert_many
from sqlkeel.bulk._copying import _place
from sqlkeel.errors import CheckViolation, ConstraintViolation, DatabaseFault, UniqueViolation, ValueRefused
from sqlkeel.repository import Repository
from sqlkeel.sessions import Database


class Base(sqlkeel.Base):
    pass


class Native(UserDefinedType[Any]):
    """A type of the server that SQLAlchemy does not know."""

    cache_ok = True

    def __init__(self, name: str) -> None:
        self.name = name

    def get_col_spec(self, **kw: Any) -> str:
        """Be that type."""
        return self.name


class Lower(TypeDecorator[str]):
    """A decorated citext."""

    impl = CITEXT
    cache_ok = True


MOOD = ENUM("sad", "ok", name="copying_mood", metadata=Base.metadata)
TYPES: dict[str, tuple[Any, Any, Any]] = {
    "citext": (CITEXT(), "a@X.org", "A@x.org"),
    "decorated_citext": (Lower(), "a@X.org", "A@x.org"),
    "citext_array": (ARRAY(CITEXT()), ["a", "B"], ["A"]),
    "citext_domain": (Native("copying_email"), "a@X.org", "A@x.org"),
    "hstore": (HSTORE(), {"a": "1", "b": None}, {"a": "2"}),
    "ltree": (Native("ltree"), "a.b", "a.c"),
    "tsvector": (TSVECTOR(), "'fat'", "'thin'"),
    "macaddr": (MACADDR(), "08:00:2b:01:02:03", "08:00:2b:01:02:04"),
    "money": (MONEY(), "$1.50", "$2.50"),
    "regclass": (REGCLASS(), "pg_class", "pg_type"),
    "xml": (Native("xml"), "<a/>", "<b/>"),
    "jsonpath": (JSONPATH(), '$."a"', '$."b"'),
    "json": (JSON(), {"a": "\\u0000"}, {"a": "\\ud800"}),
    "json_array": (ARRAY(JSON()), [{"a": 1}], [{"a": 2}]),
    "enum": (MOOD, "sad", "ok"),
    "enum_array": (ARRAY(MOOD), ["sad", "ok"], ["ok"]),
    "int_range": (INT4RANGE(), Range(1, 5), Range(2, 6)),
    "int_multirange": (INT4MULTIRANGE(), [Range(1, 3)], [Range(1, 2), Range(5, 9)]),
    "bits": (BIT(4), None, None),
    "inet": (INET(), None, None),
    "texts": (ARRAY(Text()), [["a", "b"], ["c", None]], [["d", "e"]]),
}


def _model(name: str, kind: Any) -> type[Any]:
    columns = {
        "__tablename__": f"copying_{name}",
        "__annotations__": {"id": Mapped[int], "code": Mapped[str], "value": Mapped[Any]},
        "id": mapped_column(Integer, primary_key=True),
        "code": mapped_column(String(20), unique=True),
        "value": mapped_column(kind, nullable=True),
    }
    return type(f"Of{name.title().replace('_', '')}", (Base,), columns)


MODELS = {name: _model(name, kind) for name, (kind, _, _) in TYPES.items()}


class Reading(Base):
    """Numbers that clients send with and without a point."""

    __tablename__ = "copying_reading"
    __table_args__ = (CheckConstraint("weight > -1", name="weight"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    weight: Mapped[float] = mapped_column(Float)
    price: Mapped[Decimal | None] = mapped_column(Numeric(10, 2))
    word: Mapped[str | None] = mapped_column(String(5))


class Flag(Base):
    """What may be given a bool."""

    __tablename__ = "copying_flag"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    number: Mapped[int | None] = mapped_column(Integer)
    large: Mapped[int | None] = mapped_column(BigInteger)
    word: Mapped[str | None] = mapped_column(String(5))
    note: Mapped[str | None] = mapped_column(Text)
    is_set: Mapped[bool | None]


class Day(Base):
    """A partitioned table; the model knows."""

    __tablename__ = "copying_day"
    __table_args__ = {"postgresql_partition_by": "RANGE (day)"}

    day: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    n: Mapped[int]


for extension in ("citext", "hstore", "ltree"):
    event.listen(Base.metadata, "before_create", DDL(f"CREATE EXTENSION IF NOT EXISTS {extension}"))
event.listen(Base.metadata, "before_create", DDL("CREATE DOMAIN copying_email AS citext"))
event.listen(Day.__table__, "after_create", DDL("CREATE TABLE copying_day_all PARTITION OF copying_day DEFAULT"))

pytestmark = pytest.mark.tables(Base.metadata)


@pytest.fixture(params=["asyncpg", "psycopg"])
def database(request: pytest.FixtureRequest) -> Database:
    """PostgreSQL through each of its drivers."""
    found: Database = request.getfixturevalue({"asyncpg": "postgres"}.get(request.param, request.param))
    return found


async def stored_texts(session: AsyncSession, model: type[Any]) -> list[Any]:
    """Return the values as the server writes them, in the order of the keys."""
    statement = text(f"SELECT value::text FROM {model.__tablename__} ORDER BY id")
    return [*(await session.scalars(statement))]


@pytest.mark.parametrize("name", TYPES)
class TestTypes:
    async def test_every_verb_stores_what_the_orm_stores(self, database: Database, name: str) -> None:
        """Each verb stores a value of the type as ``session.add()`` does, and tells a change of it."""
        model, (_, old, new) = MODELS[name], TYPES[name]
        async with database.transaction() as session:
            session.add_all([model(id=1, code="a", value=old), model(id=2, code="b", value=new)])
            await session.flush()
            before, after = await stored_texts(session, model)
            await insert_many(session, model, [{"id": 3, "code": "c", "value": old}])
            await insert_many_returning(session, model, [{"id": 4, "code": "d", "value": old}])
            await upsert_many(session, model, [{"id": 5, "code": "e", "value": old}], on=[model.code])
            session.expunge_all()

            assert await stored_texts(session, model) == [before, after, before, before, before]

            same = await upsert_many(session, model, [{"code": "c", "value": old}], on=[model.code])
            await update_many(session, model, [{"id": 1, "value": new}])
            changed = await upsert_many(
                session, model, [{"code": code, "value": new} for code in ("c", "d", "e")], on=[model.code]
            )

            assert same.unchanged == 1
            assert changed.updated == (3 if before != after else 0)
            assert await stored_texts(session, model) == [after] * 5


class TestMixedNumbers:
    async def test_as_json_clients_send_them(self, database: Database) -> None:
        """Whole numbers, fractions and decimals may stand in one column."""
        rows = [
            {"id": 1, "weight": 1, "price": 5},
            {"id": 2, "weight": 2.5, "price": Decimal("7.25")},
            {"id": 3, "weight": True, "price": None},
        ]
        async with database.transaction() as session:
            await insert_many_returning(session, Reading, rows[:2])
            await insert_many(session, Reading, [{"id": 3, "weight": 1.5}])
            await update_many(session, Reading, [{**row, "weight": row["weight"] * 2} for row in rows[:2]])

            found = (await session.execute(select(Reading.weight, Reading.price).order_by(Reading.id))).all()

        assert [tuple(row) for row in found] == [(2.0, Decimal(5)), (5.0, Decimal("7.25")), (1.5, None)]


class TestPartitionedTables:
    async def test_one_row(self, database: Database) -> None:
        """Whether a row is new is told without the system columns that a partition hides."""
        on = [Day.day, Day.number]
        async with database.transaction() as session:
            _, first = await upsert(session, Day, {"day": 1, "number": 1, "n": 1}, on=on)
            day, second = await upsert(session, Day, {"day": 1, "number": 1, "n": 2}, on=on)

            assert (first, second, day.n) == (True, False, 2)

    async def test_many_rows(self, database: Database) -> None:
        """New, changed and equal rows are counted."""
        on = [Day.day, Day.number]
        rows = [{"day": 1, "number": number, "n": 1} for number in range(4)]
        async with database.transaction() as session:
            await insert_many(session, Day, rows[:3])

            done = await upsert_many(session, Day, [{**rows[0], "n": 2}, {**rows[1], "n": 2}, *rows[2:]], on=on)

        assert done == (1, 2, 1, 0)

    async def test_a_table_that_was_a_plain_one(self, database: Database) -> None:
        """A table that a migration or the search path replaces is not taken for the one that was there before."""
        async with database.transaction() as session:
            await session.execute(text("CREATE SCHEMA copying_plain"))
            await session.execute(text("CREATE TABLE copying_plain.copying_day (LIKE copying_day INCLUDING ALL)"))
            await session.execute(text("SET LOCAL search_path TO copying_plain, public"))
            await self._write_each_way(session)
            await session.execute(text("DROP SCHEMA copying_plain CASCADE"))

            assert await self._write_each_way(session) == (True, False, (1, 1, 1, 0))

    async def _write_each_way(self, session: AsyncSession) -> tuple[bool, bool, UpsertResult]:
        on, rows = [Day.day, Day.number], [{"day": 1, "number": number, "n": 1} for number in range(3)]
        _, first = await upsert(session, Day, rows[0], on=on)
        _, second = await upsert(session, Day, rows[0], on=on)
        await insert_many(session, Day, rows[1:2])
        given = [rows[0], {**rows[1], "n": 2}, rows[2]]
        return first, second, await upsert_many(session, Day, given, on=on)


class Secret(Base):
    """Rows of several tenants in one table."""

    __tablename__ = "copying_secret"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    tenant: Mapped[int]


class TestTablesWithoutCopy:
    @pytest.fixture
    async def policed(self, database: Database) -> AsyncIterator[Database]:
        """The database as a role that row-level security lets see one tenant only."""
        role = "copying_role"
        async with database.engine.begin() as connection:
            for statement in (
                f"CREATE ROLE {role} LOGIN",
                f"GRANT USAGE ON SCHEMA public TO {role}",
                f"GRANT ALL ON copying_secret TO {role}",
                "ALTER TABLE copying_secret ENABLE ROW LEVEL SECURITY",
                f"CREATE POLICY mine ON copying_secret TO {role} USING (tenant = 1) WITH CHECK (tenant = 1)",
            ):
                await connection.exec_driver_sql(statement)
        yield database
        async with database.engine.begin() as connection:
            for statement in (
                "DROP POLICY mine ON copying_secret",
                "ALTER TABLE copying_secret DISABLE ROW LEVEL SECURITY",
                f"REVOKE ALL ON copying_secret FROM {role}",
                f"REVOKE ALL ON SCHEMA public FROM {role}",
                f"DROP ROLE {role}",
            ):
                await connection.exec_driver_sql(statement)

    async def test_row_level_security(self, policed: Database) -> None:
        """A table with policies, into which COPY is refused, is written by INSERT."""
        async with policed.transaction() as session:
            await session.execute(text("SET LOCAL ROLE copying_role"))
            await insert_many(session, Secret, [{"id": 1, "tenant": 1}, {"id": 2, "tenant": 1}])
            await upsert_many(session, Secret, [{"id": 3, "tenant": 1}], on=[Secret.id])

            deleted = await delete_many(session, Secret, [1])

            assert deleted == 1
            assert (await session.scalars(select(Secret.id).order_by(Secret.id))).all() == [2, 3]


class TestOneCopy:
    async def test_it_is_tried_once(self, database: Database) -> None:
        """The second call sends its rows and nothing else: what COPY takes is known."""
        async with database.transaction() as session:
            await insert_many(session, Secret, [{"id": 1, "tenant": 1}])

            async with queries(database, exactly=1) as seen:
                await insert_many(session, Secret, [{"id": 2, "tenant": 1}])

        assert seen.statements[0].startswith("COPY")


@pytest.mark.parametrize(
    "write",
    [
        lambda session, rows: insert_many(session, Flag, rows),
        lambda session, rows: upsert_many(session, Flag, rows, on=[Flag.id]),
    ],
    ids=["insert_many", "upsert_many"],
)
class TestBools:
    async def test_they_are_stored_as_one_row_stores_them(self, psycopg: Database, write: Any) -> None:
        """A bool for a number is one, and for a text what a cast makes of it, in whichever row it comes."""
        values = {"number": True, "word": False, "note": True, "is_set": True}
        async with psycopg.transaction() as session:
            await Repository(session, Flag).create(id=0, **values)

            await write(
                session, [{**dict.fromkeys(values), "id": n} for n in range(1, 3_000)] + [{**values, "id": 3_000}]
            )

            columns = "number, word, note, is_set"
            ends = [*(await session.execute(text(f"SELECT {columns} FROM copying_flag WHERE id IN (0, 3000)")))]
            assert [tuple(row) for row in ends] == [(1, "false", "true", True)] * 2
            assert await session.scalar(text("SELECT count(*) FROM copying_flag WHERE word IS NULL")) == 2_999

    async def test_other_numbers_are_refused(self, psycopg: Database, write: Any) -> None:
        """A column of another width takes none, as it takes none in one row."""
        async with psycopg.transaction() as session:
            with pytest.raises(DatabaseFault):
                async with session.begin_nested():
                    await Repository(session, Flag).create(id=0, large=True)

            with pytest.raises(DatabaseFault):
                await write(session, [{"id": 1, "large": True}])


class TestRefusedValues:
    @pytest.mark.parametrize(
        ("bad", "column"),
        [({"word": "too long"}, "word"), ({"price": Decimal("1e12")}, "price"), ({"word": 5}, "word")],
    )
    async def test_the_row_is_named(self, postgres: Database, bad: dict[str, Any], column: str) -> None:
        """The error tells which row it is about, and which column."""
        rows = [{"id": number, "weight": 1.0, "price": Decimal(1), "word": "a"} for number in range(1_500)]
        rows[1_233] |= bad
        async with postgres.transaction() as session:
            with pytest.raises(ValueRefused) as caught:
                await insert_many(session, Reading, rows)

            assert (caught.value.row, caught.value.column) == (1_234, column)
            assert "row 1234" in str(caught.value)


class TestRefusedRows:
    @pytest.mark.parametrize(("bad", "error"), [({"id": 5}, UniqueViolation), ({"weight": -1.0}, CheckViolation)])
    async def test_the_row_is_named(
        self, postgres: Database, psycopg: Database, bad: dict[str, Any], error: type[ConstraintViolation]
    ) -> None:
        """The server tells in which line of a COPY a row breaks a constraint."""
        rows = [{"id": number, "weight": 1.0} for number in range(1_500)]
        rows[1_233] |= bad

        with pytest.raises(error, match="Row 1234 ") as by_asyncpg:
            async with postgres.transaction() as session:
                await insert_many(session, Reading, rows)
        with pytest.raises(error) as by_psycopg:
            async with psycopg.transaction() as session:
                await insert_many(session, Reading, rows)

        assert (by_asyncpg.value.row, by_psycopg.value.row) == (1_234, 1_234)

    @pytest.mark.parametrize(
        ("context", "found"),
        [
            ('COPY author_2, line 7, column name: "x: 9"', (7, "name")),
            ("COPY author_2, line 7", (7, None)),
            ("COPY author_2, Zeile 7, Spalte name: »x«", (7, "name")),
            ("COPY author_2, ligne 7, colonne line : « x »", (7, "line")),
            ('author_2のCOPY、行 7、列 name: "x"', (7, "name")),
            ('author_2 복사, 7번째 줄, name 열: "x"', (7, "name")),
            ("COPY author_2, 第 7 行, 列 first name: NULL", (7, "first name")),
            (
                'PL/pgSQL function author_2() line 3 at RAISE\nCOPY author_2, line 7: "1\nCOPY author_2, line 8"',
                (7, None),
            ),
            ("SQL statement 9", (None, None)),
            ("", (None, None)),
        ],
    )
    def test_the_server_speaks_another_language(self, context: str, found: tuple[int | None, str | None]) -> None:
        """The row and the column stand in the same places; where they are not found, no row is named."""
        assert _place(context, "author_2", ["name", "first name", "line"]) == found

    async def test_no_row_is_made_up(self, postgres: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where nothing can be read of what the server says, the last row that was sent is not blamed."""
        monkeypatch.setattr("sqlkeel.bulk._copying._context", lambda error: "?")
        rows = [{"id": number, "weight": 1.0} for number in range(9)]
        rows[3]["weight"] = -1.0

        with pytest.raises(CheckViolation) as caught:
            async with postgres.transaction() as session:
                await insert_many(session, Reading, rows)

        assert caught.value.row is None
