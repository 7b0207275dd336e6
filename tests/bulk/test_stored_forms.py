"""Types, names and triggers between a value and what is stored: a bulk verb writes what the ORM writes."""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import JSON, Column, Enum, Integer, String, Table, UniqueConstraint, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import TypeDecorator, UserDefinedType

import sqlkeel
from sqlkeel import IntKeyMixin, Money, SyncSession, VersionMixin
from sqlkeel.bulk import (
    delete_many,
    get_or_create,
    insert_many,
    insert_many_returning,
    update_many,
    upsert,
    upsert_many,
)
from sqlkeel.errors import InvalidKey, NotFound, NoTransaction, NotSupported
from sqlkeel.sessions import Database
from tests.bulk.models import values_of


class Base(sqlkeel.Base):
    pass


class Email(TypeDecorator[str]):
    impl = String(12)
    cache_ok = True


class Folded(TypeDecorator[str]):
    """A text whose own comparison folds the case."""

    impl = String(20)
    cache_ok = True

    class comparator_factory(TypeDecorator.Comparator[str]):  # noqa: D106 - its name is SQLAlchemy's
        def __eq__(self, other: object) -> Any:  # type: ignore[override]
            return func.lower(self.expr) == func.lower(other)


class Document(TypeDecorator[Any]):
    impl = JSON
    cache_ok = True


class Sealed(UserDefinedType[str]):
    """Stands for an encrypting type: what is stored, and read, goes through a function of SQL."""

    cache_ok = True

    def get_col_spec(self, **kw: Any) -> str:
        """Be a text."""
        return "VARCHAR(50)"

    def bind_expression(self, bindvalue: Any) -> Any:
        """Store it in small letters."""
        return func.lower(bindvalue, type_=self)

    def column_expression(self, colexpr: Any) -> Any:
        """Read it in capitals."""
        return func.upper(colexpr, type_=self)


class Case(enum.Enum):
    LOWER = "a"
    UPPER = "A"


class Account(IntKeyMixin, Base):
    __tablename__ = "forms_account"

    code: Mapped[str] = mapped_column(String(20), unique=True)
    email: Mapped[str | None] = mapped_column(Email())
    either: Mapped[str | None] = mapped_column(Integer().with_variant(String(20), "sqlite", "mariadb", "postgresql"))
    folded: Mapped[str | None] = mapped_column(Folded())
    case: Mapped[Case | None] = mapped_column(
        Enum(Case, native_enum=False, length=5, values_callable=lambda kind: [member.value for member in kind])
    )
    settings: Mapped[Any] = mapped_column(Document(), nullable=True)
    secret: Mapped[str | None] = mapped_column(Sealed())


class Tier(IntKeyMixin, Base):
    """An amount in a unique key."""

    __tablename__ = "forms_tier"
    __table_args__ = (UniqueConstraint("plan", "amount"),)

    plan: Mapped[str] = mapped_column(String(10))
    amount: Mapped[Decimal] = mapped_column(Money(12, 2))
    note: Mapped[str | None] = mapped_column(String(10))


class Price(Base):
    """An amount that is the key."""

    __tablename__ = "forms_price"

    amount: Mapped[Decimal] = mapped_column(Money(12, 2), primary_key=True)
    note: Mapped[str | None] = mapped_column(String(10))


class Order(Base):
    """Columns whose keys are not their names."""

    __table__ = Table(
        "forms_order",
        Base.metadata,
        Column("ID", Integer, key="ident", primary_key=True, autoincrement=False),
        Column("Order", String(20), key="number", unique=True),
        Column("Qty", Integer, key="quantity"),
        Column("kept", Integer, key="made", default=7),
    )


class Share(Base):
    """Names with percent signs, which drivers take for the marks of parameters."""

    __tablename__ = "forms_share"

    code: Mapped[str] = mapped_column("%s", String(20), primary_key=True)
    name: Mapped[str] = mapped_column("100%_name", String(20), unique=True)
    part: Mapped[int] = mapped_column("%(part)s")
    secret: Mapped[str | None] = mapped_column("%%", Sealed())


class Item(IntKeyMixin, Base):
    __tablename__ = "forms_item"

    n: Mapped[int]


class Versioned(IntKeyMixin, VersionMixin, Base):
    __tablename__ = "forms_versioned"

    n: Mapped[int]


pytestmark = pytest.mark.tables(Base.metadata)
CHANGES: dict[str, tuple[str, Any, Any]] = {
    "decorated_text": ("email", "ann@x.org", "Ann@x.org"),
    "trailing_space": ("email", "ann", "ann "),
    "variant": ("either", "a", "A"),
    "own_comparison": ("folded", "a", "A"),
    "enum_in_text": ("case", Case.LOWER, Case.UPPER),
    "json_in_a_decorator": ("settings", {"x": 1}, {"x": 2}),
    "json_null": ("settings", {"x": 1}, []),
}


class TestChanges:
    @pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
    async def test_each_is_written(self, every_driver: Database, change: tuple[str, Any, Any]) -> None:
        """A change that a collation or a comparison does not see is written, and counted; none is not."""
        field, old, new = change
        async with every_driver.transaction() as session:
            await insert_many(session, Account, [{"code": "a", field: old}])

            same = await upsert_many(session, Account, [{"code": "a", field: old}], on=[Account.code])
            done = await upsert_many(session, Account, [{"code": "a", field: new}], on=[Account.code])

            assert (same.unchanged, done.updated) == (1, 1)
            assert (await session.scalars(select(getattr(Account, field)))).all() == [new]

    async def test_a_text_that_is_too_long(self, postgres: Database) -> None:
        """A decorated text is refused by `update_many` where it is too long, and not cut."""
        async with postgres.transaction() as session:
            await insert_many(session, Account, [{"id": 1, "code": "a"}])

            with pytest.raises(Exception, match="does not fit"):
                await update_many(session, Account, [{"id": 1, "email": "far.too.long@x.org"}])


class TestFunctionsOfSQL:
    async def test_every_verb_applies_them(self, every_driver: Database) -> None:
        """A type that puts its value into a function of SQL does so in every verb, once."""
        async with every_driver.transaction() as session:
            await insert_many(session, Account, [{"id": 1, "code": "a", "secret": "First"}])
            await upsert_many(session, Account, [{"code": "b", "secret": "Second"}], on=[Account.code])
            await upsert_many(session, Account, [{"code": "b", "secret": "Third"}], on=[Account.code])
            await update_many(session, Account, [{"id": 1, "secret": "Fourth"}])

            stored = await session.scalars(text("SELECT secret FROM forms_account ORDER BY code"))

            assert stored.all() == ["fourth", "third"]
            assert await values_of(session, Account.secret) == [("FOURTH",), ("THIRD",)]


class TestAmounts:
    async def test_in_a_unique_key(self, every_driver: Database) -> None:
        """A row is found by an amount."""
        key, on = {"plan": "a", "amount": Decimal("9.50")}, [Tier.plan, Tier.amount]
        async with every_driver.transaction() as session:
            await upsert(session, Tier, {**key, "note": "x"}, on=on)
            tier, created = await get_or_create(session, Tier, key, {})
            done = await upsert_many(session, Tier, [{**key, "note": "y"}], on=on)

            assert (created, tier.note, done.updated) == (False, "y", 1)

    async def test_as_the_key(self, every_driver: Database) -> None:
        """Rows are updated and deleted by an amount."""
        async with every_driver.transaction() as session:
            await insert_many(session, Price, [{"amount": Decimal("1.50")}, {"amount": Decimal("2.50")}])
            await update_many(session, Price, [{"amount": Decimal("1.50"), "note": "x"}])

            deleted = await delete_many(session, Price, [Decimal("2.50"), Decimal("3.50")])

            assert deleted == 1
            assert await values_of(session, Price.amount, Price.note) == [(Decimal("1.50"), "x")]


class TestNames:
    async def test_keys_that_are_not_names(self, every_driver: Database) -> None:
        """Each verb finds a column by its attribute, whatever key and name it has."""
        async with every_driver.transaction() as session:
            await insert_many(session, Order, [{"ident": 1, "number": "a", "quantity": 1}])
            rows = [{"ident": 1, "number": "a", "quantity": 2}, {"ident": 2, "number": "b", "quantity": 2}]
            done = await upsert_many(session, Order, rows, on=[Order.number])
            await update_many(session, Order, [{"ident": 2, "quantity": 3}])
            await upsert(session, Order, {"ident": 3, "number": "c"}, on=[Order.number])
            await delete_many(session, Order, [3])

            assert done[:2] == (1, 1)
            assert await values_of(session, Order.number, Order.quantity, Order.made) == [("a", 2, 7), ("b", 3, 7)]

    async def test_percent_signs(self, every_driver: Database) -> None:
        """Each verb writes columns with percent signs in their names."""
        async with every_driver.transaction() as session:
            await insert_many(session, Share, [{"code": "a", "name": "A", "part": 1}])
            rows = [{"code": "a", "name": "A", "part": 2}, {"code": "b", "name": "B", "part": 2}]
            done = await upsert_many(session, Share, rows, on=[Share.name])
            await upsert_many(session, Share, [{"code": "b", "name": "B", "part": 2, "secret": "x"}], on=[Share.code])
            await update_many(session, Share, [{"code": "b", "part": 3, "secret": "y"}])
            await upsert(session, Share, {"code": "b", "name": "B", "part": 4}, on=[Share.name])
            share, created = await get_or_create(session, Share, {"name": "C"}, {"code": "c", "part": 5})
            [other] = await insert_many_returning(session, Share, [{"code": "d", "name": "D", "part": 6}])
            await delete_many(session, Share, ["a"])

            assert (done[:2], created, share.part, other.part) == ((1, 1), True, 5, 6)
            assert await values_of(session, Share.code, Share.part, Share.secret) == [
                ("b", 4, "Y"),
                ("c", 5, None),
                ("d", 6, None),
            ]


@pytest.fixture
async def suppressing(postgres: Database) -> AsyncIterator[Database]:
    """PostgreSQL with a trigger that leaves a row as it is where nothing changes, or where n is to be 0."""
    async with postgres.engine.begin() as connection:
        for statement in (
            "CREATE FUNCTION forms_keep() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN IF NEW.n = 0 THEN RETURN NULL; END IF; RETURN NEW; END $$",
            "CREATE TRIGGER a BEFORE UPDATE ON forms_item FOR EACH ROW"
            " EXECUTE FUNCTION suppress_redundant_updates_trigger()",
            "CREATE TRIGGER b BEFORE UPDATE ON forms_item FOR EACH ROW EXECUTE FUNCTION forms_keep()",
            "CREATE TRIGGER b BEFORE UPDATE ON forms_versioned FOR EACH ROW EXECUTE FUNCTION forms_keep()",
        ):
            await connection.exec_driver_sql(statement)
    yield postgres
    async with postgres.engine.begin() as connection:
        for statement in (
            "DROP TRIGGER a ON forms_item",
            "DROP TRIGGER b ON forms_item",
            "DROP TRIGGER b ON forms_versioned",
            "DROP FUNCTION forms_keep",
        ):
            await connection.exec_driver_sql(statement)


class TestTriggersThatKeepRows:
    async def test_what_was_written_is_counted(self, suppressing: Database) -> None:
        """Rows that a trigger leaves as they are do not count, and are no error; the others are written."""
        async with suppressing.transaction() as session:
            await insert_many(session, Item, [{"id": n, "n": n} for n in (1, 2, 3)])

            written = await update_many(session, Item, [{"id": 1, "n": 1}, {"id": 2, "n": 0}, {"id": 3, "n": 5}])

            assert written == 1
            assert await values_of(session, Item.id, Item.n) == [(1, 1), (2, 2), (3, 5)]

    async def test_a_missing_row_is_still_one(self, suppressing: Database) -> None:
        """A key without a row is NotFound beside rows that a trigger keeps."""
        async with suppressing.transaction() as session:
            await insert_many(session, Item, [{"id": 1, "n": 1}])

            with pytest.raises(NotFound) as caught:
                await update_many(session, Item, [{"id": 1, "n": 1}, {"id": 404, "n": 1}])

            assert caught.value.key == 404

    async def test_versions_cannot_be_checked(self, suppressing: Database) -> None:
        """A row that is kept though it has the version that was given is no conflict: the call is refused."""
        async with suppressing.transaction() as session:
            await insert_many(session, Versioned, [{"id": 1, "n": 1}])

            with pytest.raises(NotSupported, match="were not updated"):
                await update_many(session, Versioned, [{"id": 1, "version": 1, "n": 0}])

    async def test_two_keys_of_one_row(self, sqlite: Database) -> None:
        """Two keys that only the database calls equal are refused."""
        async with sqlite.transaction() as session:
            await insert_many(session, Item, [{"id": 1, "n": 1}])

            with pytest.raises(InvalidKey, match="same key"):
                await update_many(session, Item, [{"id": 1, "n": 2}, {"id": "1", "n": 3}])


Verb = Callable[[AsyncSession], Awaitable[Any]]
VERBS: dict[str, Verb] = {
    "insert_many": lambda session: insert_many(session, Item, [{"id": 2, "n": 1}]),
    "update_many": lambda session: update_many(session, Item, [{"id": 1, "n": 2}]),
    "upsert_many": lambda session: upsert_many(session, Item, [{"id": 1, "n": 2}], on=[Item.id]),
    "delete_many": lambda session: delete_many(session, Item, [1]),
    "upsert": lambda session: upsert(session, Item, {"id": 1, "n": 2}, on=[Item.id]),
    "get_or_create": lambda session: get_or_create(session, Item, {"id": 2}, {"n": 1}),
}


class TestStockEngines:
    @pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
    @pytest.mark.parametrize("session_class", [SyncSession, None], ids=["SyncSession", "stock"])
    async def test_a_rollback_takes_everything_back(
        self, every_driver: Database, verb: Verb, session_class: type[SyncSession] | None
    ) -> None:
        """In a session on an engine of SQLAlchemy's own, ``rollback()`` takes back what a verb wrote."""
        engine = create_async_engine(every_driver.url)
        options = {} if session_class is None else {"sync_session_class": session_class}
        sessions = async_sessionmaker(engine, **options)
        async with every_driver.transaction() as session:
            session.add(Item(id=1, n=1))

        async with sessions() as session:
            await verb(session)
            await session.rollback()
        async with sessions() as session:
            found = (await session.execute(select(Item.id, Item.n))).all()
        await engine.dispose()

        assert [tuple(row) for row in found] == [(1, 1)]

    async def test_a_failed_call_leaves_the_rest(self, every_driver: Database) -> None:
        """What the transaction did before a call that failed is committed, and nothing of the call."""
        engine = create_async_engine(every_driver.url)

        async with async_sessionmaker(engine, sync_session_class=SyncSession)() as session:
            await insert_many(session, Item, [{"id": 1, "n": 1}])
            with pytest.raises(Exception, match=r"(?i)unique|duplicate"):
                await insert_many(session, Item, [{"id": 2, "n": 2}, {"id": 1, "n": 1}])
            await session.commit()
        await engine.dispose()

        async with every_driver.transaction() as session:
            assert await values_of(session, Item.id) == [(1,)]

    @pytest.mark.parametrize("verb", ["insert_many", "update_many", "upsert_many", "delete_many"])
    async def test_a_connection_that_commits_by_itself(self, mariadb: Database, verb: str) -> None:
        """In AUTOCOMMIT, half of the rows would stay where the other half fails: refused."""
        engine = create_async_engine(mariadb.url, isolation_level="AUTOCOMMIT")
        async with async_sessionmaker(engine)() as session:
            with pytest.raises(NoTransaction):
                await VERBS[verb](session)
        await engine.dispose()
