"""Keys of rows: what the database takes for equal brings the row, what it cannot compare is refused."""

from __future__ import annotations

import enum
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import (
    ARRAY,
    CHAR,
    BigInteger,
    ForeignKey,
    Integer,
    LargeBinary,
    Numeric,
    SmallInteger,
    String,
    Uuid,
    event,
    update,
)
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

import sqlkeel
from sqlkeel.errors import InvalidKey, NotFound, SessionClosed
from sqlkeel.models import IntKeyMixin, UUIDKeyMixin
from sqlkeel.models._row_keys import RowKeys, keys_of
from sqlkeel.observe import queries
from sqlkeel.repository import Repository
from sqlkeel.sessions import Database, Session
from sqlkeel.soft_delete import SoftDeleteMixin


class Base(sqlkeel.Base):
    pass


class Email(TypeDecorator[str]):
    """Compares and keeps small letters."""

    impl = String(50)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        """Send small letters."""
        return value and value.lower()


class Colour(enum.Enum):
    red = "red"
    blue = "blue"


class Upload(UUIDKeyMixin, Base):
    __tablename__ = "upload"


class Item(IntKeyMixin, Base):
    __tablename__ = "item"


class Small(Base):
    __tablename__ = "small"
    key: Mapped[int] = mapped_column("small_no", SmallInteger(), primary_key=True, autoincrement=False)


class Middle(Base):
    __tablename__ = "middle"
    key: Mapped[int] = mapped_column(Integer(), primary_key=True, autoincrement=False)


class Code(SoftDeleteMixin, Base):
    __tablename__ = "code"
    code: Mapped[str] = mapped_column(String(20), primary_key=True)


class Fixed(Base):
    __tablename__ = "fixed"
    code: Mapped[str] = mapped_column("fixed_code", CHAR(10), primary_key=True)


class Member(Base):
    __tablename__ = "member"
    email: Mapped[str] = mapped_column(Email(), primary_key=True)


class Price(Base):
    __tablename__ = "price"
    amount: Mapped[Decimal] = mapped_column(Numeric(10, 2), primary_key=True)


class Moment(Base):
    __tablename__ = "moment"
    at: Mapped[datetime] = mapped_column(primary_key=True)


class Hash(Base):
    __tablename__ = "hash"
    digest: Mapped[bytes] = mapped_column(LargeBinary(20).with_variant(String(20), "mariadb"), primary_key=True)


class Paint(Base):
    __tablename__ = "paint"
    colour: Mapped[Colour] = mapped_column(primary_key=True)


class Text(Base):
    __tablename__ = "text"
    token: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)


class Place(Base):
    __tablename__ = "place"
    email: Mapped[str] = mapped_column("place_email", Email(), primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger(), primary_key=True, autoincrement=False)


class ArrayBase(sqlkeel.Base):
    """Models of PostgreSQL alone."""


class Path(ArrayBase):
    __tablename__ = "path"
    name: Mapped[str] = mapped_column(String(10), primary_key=True)
    points: Mapped[tuple[int, ...]] = mapped_column(ARRAY(Integer, as_tuple=True), primary_key=True)


class Animal(Base):
    __tablename__ = "animal"
    name: Mapped[str] = mapped_column(Email(), primary_key=True)
    kind: Mapped[str] = mapped_column(String(10))
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "animal"}


class Dog(Animal):
    __tablename__ = "dog"
    name: Mapped[str] = mapped_column(ForeignKey("animal.name", ondelete="CASCADE"), primary_key=True)
    __mapper_args__ = {"polymorphic_identity": "dog"}


pytestmark = pytest.mark.tables(Base.metadata)

ONE = uuid.UUID(int=1)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
CASES: dict[str, tuple[Any, list[Any]]] = {
    "a UUID as text": (Upload(id=ONE), [str(ONE), ONE.hex, str(ONE).upper(), ONE, f"{{{ONE}}}"]),
    "a number": (Item(id=3), [3, True + 2, (3,), {"id": 3}]),
    "padding": (Fixed(code="ab"), ["ab", {"code": "ab"}]),
    "a type that folds": (Member(email="Ann@X.org"), ["Ann@X.org", "ann@x.org", "ANN@X.ORG"]),
    "a part that folds": (Place(email="A@x", number=1), [("A@x", 1), ("a@X", 1), {"number": 1, "email": "A@X"}]),
    "an amount": (Price(amount=Decimal("9.50")), [Decimal("9.5"), Decimal("9.50"), Decimal("9.500")]),
    "a moment": (Moment(at=NOON), [NOON, NOON.astimezone(timezone(timedelta(hours=2)))]),
    "a member": (Paint(colour=Colour.red), [Colour.red]),
    "a token": (Text(token=str(ONE)), [str(ONE)]),
    "a subclass": (Dog(name="Rex"), ["Rex", "rex", "REX"]),
}


async def add(db: Database, *rows: Any) -> None:
    """Commit rows."""
    async with db.transaction() as session:
        session.add_all(rows)


def again(row: Any) -> Any:
    """Return a new object with the values of a row that stands in a list of cases."""
    mapper = type(row).__mapper__
    values = {column.key: vars(row)[column.key] for column in mapper.column_attrs if column.key in vars(row)}
    return type(row)(**{key: value for key, value in values.items() if key != "kind"})


class TestEqual:
    @pytest.mark.parametrize("name", CASES)
    async def test_get_many_finds_what_get_finds(self, every_driver: Database, name: str) -> None:
        """A key that get() takes is taken by get_many(), alone and beside keys without a row."""
        case, keys = CASES[name]
        model = type(case)
        await add(every_driver, again(case))

        async with every_driver.session() as session:
            repository = Repository(session, model)
            [row] = await repository.get_all()

            assert [await repository.get(key) for key in keys] == [row] * len(keys)
            assert [await repository.get_many([key]) for key in keys] == [[row]] * len(keys)
            assert await repository.get_many(keys) == [row] * len(keys)

    @pytest.mark.parametrize("key", ["ab", "AB", "Ab "])
    async def test_letters_of_another_case_on_mariadb(self, mariadb: Database, key: str) -> None:
        """What MariaDB's collation takes for the key brings its row, beside the key itself too."""
        await add(mariadb, Code(code="Ab"), Code(code="x"))

        async with mariadb.session() as session:
            codes = Repository(session, Code)

            assert [row.code for row in await codes.get_many([key])] == ["Ab"]
            assert [row.code for row in await codes.get_many(["x", key, "Ab", "none"])] == ["x", "Ab", "Ab"]

    @pytest.mark.parametrize("count", [1, 99, 100, 101, 350])
    async def test_any_number_of_such_keys(self, every_driver: Database, count: int) -> None:
        """However many keys Python takes for others, each brings its row, in the order given."""
        await add(every_driver, *(Member(email=f"m{n}") for n in range(count)))

        async with every_driver.session() as session:
            found = await Repository(session, Member).get_many(f"M{n}" for n in reversed(range(count)))

        assert [row.email for row in found] == [f"m{n}" for n in reversed(range(count))]

    async def test_a_deleted_row_stays_hidden(self, every_driver: Database) -> None:
        """Whichever key leads to it, a deleted row is left out."""
        await add(every_driver, Code(code="a"), Code(code="b"))
        async with every_driver.transaction() as session:
            await session.delete(await session.get_one(Code, "a"))

        async with every_driver.session() as session:
            codes = Repository(session, Code)

            assert [row.code for row in await codes.get_many(["a", "b", "A"])] == ["b"]
            assert len(await codes.get_many(["a", "b"], include_deleted=True)) == 2


@pytest.mark.tables(ArrayBase.metadata)
class TestArrays:
    @pytest.mark.parametrize("every_driver", ["asyncpg", "psycopg"], indirect=True)
    @pytest.mark.parametrize("points", [(1, 2), ()])
    async def test_a_part_that_is_an_array(self, every_driver: Database, points: tuple[int, ...]) -> None:
        """The small numbers of psycopg are cast to the type of the column, in a list of keys too."""
        await add(every_driver, Path(name="a", points=points), Path(name="b", points=points))

        async with every_driver.session() as session:
            found = await Repository(session, Path).get_many([("b", points), ("a", points)])

        assert [path.name for path in found] == ["b", "a"]


class TestStatements:
    @pytest.mark.parametrize(
        ("model", "keys", "statements"),
        [
            (Item, [1, 2, 3], 1),
            (Upload, [ONE, uuid.UUID(int=2)], 1),
            (Member, ["a", "b"], 1),
            (Member, ["none"], 1),
            (Member, ["A", "b", "none"], 2),
            (Item, [2**63, None], 0),
        ],
    )
    async def test_only_what_is_in_doubt_is_asked_again(
        self, db: Database, model: Any, keys: list[Any], statements: int
    ) -> None:
        """Numbers, UUIDs, keys that were found, and keys of which no row was, take one statement."""
        await add(db, Item(id=1), Upload(id=ONE), Member(email="a"), Member(email="b"))

        async with db.session() as session, queries(db, exactly=statements):
            await Repository(session, model).get_many(keys)


REFUSED: list[tuple[Any, Any]] = [
    (Item, "3"), (Item, "3abc"), (Item, ""), (Item, 3.0), (Item, Decimal(3)), (Item, [3]), (Item, {3}), (Item, ONE),
    (Item, (1, 2)), (Item, {"key": 1}), (Item, {}), (Item, b"3"),
    (Upload, "x"), (Upload, 1), (Upload, b"x"), (Upload, [ONE]),
    (Code, 3), (Code, b"a"), (Code, ["a"]), (Code, 1.5),
    (Place, "a"), (Place, ("a",)), (Place, ("a", "1")), (Place, {"email": "a"}), (Place, ("a", 1, 2)),
    (Moment, [NOON]), (Price, {}),
]  # fmt: skip


class NoKeys:
    """An asynchronous source."""

    def __aiter__(self) -> NoKeys:
        return self

    async def __anext__(self) -> int:
        raise StopAsyncIteration


class TestRefused:
    @pytest.mark.parametrize(
        ("keys", "hint"),
        [
            (None, "[key, ...]"),
            ({"id": 1}, "[{'id': 1}] for one key, list(mapping) for those of a mapping"),
            (aiter(NoKeys()), "[key async for key in keys]"),
        ],
        ids=["nothing", "a mapping", "asynchronous"],
    )
    async def test_what_is_no_list(self, sqlite: Database, keys: Any, hint: str) -> None:
        """Is refused with what to write, too; the names in the key of one row are no keys."""
        async with sqlite.read() as session:
            with pytest.raises(InvalidKey, match=r"have to be a list") as caught:
                await Repository(session, Small).get_many(keys)

        assert caught.value.hint == hint

    @pytest.mark.parametrize("keys", [1, "12", b"12", bytearray(b"12")])
    async def test_one_key_in_the_place_of_several(self, sqlite: Database, keys: Any) -> None:
        """A key alone is refused with the brackets around it; the letters of a text are no keys."""
        async with sqlite.read() as session:
            with pytest.raises(InvalidKey, match=r"have to be a list") as caught:
                await Repository(session, Small).get_many(keys)

        assert caught.value.hint == f"[{keys!r}]"

    @pytest.mark.parametrize(
        ("key", "hint"),
        [
            ("12", "int('12')"),
            ("", "get(1), the number itself"),
            (object, "get(1), the number itself"),
            ([1], "get_many([key, ...]) takes several keys"),
            (str(ONE), "get(1), the number itself; pass a public id to get_by_public_id(id)"),
            (ONE, "get_by_public_id(id), if the model has the DualIDMixin"),
        ],
        ids=str,
    )
    async def test_what_to_write_for_a_number(self, sqlite: Database, key: Any, hint: str) -> None:
        """A conversion is proposed where it works."""
        async with sqlite.read() as session:
            with pytest.raises(InvalidKey) as caught:
                await Repository(session, Small).get(key)

        assert caught.value.hint == hint

    @pytest.mark.parametrize(("model", "key"), REFUSED)
    async def test_what_cannot_be_compared_is_refused(self, every_driver: Database, model: Any, key: Any) -> None:
        """A key of another shape or type is InvalidKey on every database, before a statement is sent."""
        async with every_driver.session() as session, queries(every_driver, exactly=0):
            repository = Repository(session, model)
            with pytest.raises(InvalidKey):
                await repository.get(key)
            with pytest.raises(InvalidKey):
                await repository.get_many([key])

    @pytest.mark.parametrize(
        ("model", "key"),
        [
            (Item, 2**63), (Item, -(2**63) - 1), (Item, 10**40), (Middle, 2**31), (Middle, 2**63), (Small, 2**15),
            (Small, 2**63), (Item, None), (Upload, None), (Code, None), (Place, (None, 1)), (Place, ("a", None)),
            (Code, "\ud800"), (Code, "a\0"), (Place, ("a", 2**63)),
        ],
    )  # fmt: skip
    async def test_what_no_row_can_have_is_not_found(self, every_driver: Database, model: Any, key: Any) -> None:
        """A number without room, NULL and what is no text are keys without a row, on every database."""
        async with every_driver.session() as session:
            repository = Repository(session, model)

            assert await repository.get(key) is None
            assert await repository.get_many([key]) == []
            with pytest.raises(NotFound):
                await repository.get_one(key)

    async def test_the_largest_numbers_are_keys(self, every_driver: Database) -> None:
        """A number that just fits is found."""
        largest = [Item(id=2**63 - 1), Middle(key=2**31 - 1), Small(key=2**15 - 1)]
        await add(every_driver, *largest)

        async with every_driver.session() as session:
            assert await Repository(session, Item).get(2**63 - 1) is not None
            assert await Repository(session, Middle).get(2**31 - 1) is not None
            assert len(await Repository(session, Small).get_many([2**15 - 1, 2**15])) == 1

    async def test_sqlite_keeps_wide_numbers_anywhere(self, sqlite: Database) -> None:
        """SQLite's INTEGER has 64 bits, whatever the column is called."""
        await add(sqlite, Middle(key=2**40))

        async with sqlite.session() as session:
            assert await Repository(session, Middle).get(2**40) is not None


async def flush(session: Session, key: Any) -> None:
    """Add an object and flush it."""
    session.add(Fixed(code=key))
    await session.flush()


async def flush_by(session: Session, key: Any, call: Callable[[], Awaitable[Any]]) -> None:
    """Add an object, and leave it to another call to flush it."""
    session.add(Fixed(code=key))
    await call()


DOORS: dict[str, Callable[[Session, Any], Awaitable[Any]]] = {
    "create": lambda session, key: Repository(session, Fixed).create(code=key),
    "flush": flush,
    "commit": lambda session, key: flush_by(session, key, session.commit),
    "query": lambda session, key: flush_by(session, key, Repository(session, Item).count),
    "merge": lambda session, key: session.merge(Fixed(code=key)),
    "session.get": lambda session, key: session.get(Fixed, {"code": key}),
    "session.get_one": lambda session, key: session.get_one(Fixed, {"code": key}),
    "update()": lambda session, key: session.execute(update(Fixed), [{"code": key}]),
}


class TestUnhashable:
    @pytest.mark.parametrize("key", [[], {}, ["a"], {"a": 1}, {"a"}, bytearray(b"a")], ids=str)
    @pytest.mark.parametrize("door", DOORS)
    async def test_it_is_refused(self, sqlite: Database, door: str, key: Any) -> None:
        """What Python cannot look up is no key, wherever SQLAlchemy would look for its object."""
        with pytest.raises(InvalidKey, match=r"^fixed\.fixed_code: .* which cannot be part of a key") as caught:
            async with sqlite.session() as session:
                await DOORS[door](session, key)

        assert caught.value.column == "fixed_code"

    async def test_of_several_columns(self, every_driver: Database) -> None:
        """The part is named."""
        with pytest.raises(InvalidKey) as caught:
            async with every_driver.transaction() as session:
                await Repository(session, Place).create(email="a", number=[])

        assert caught.value.column == "number"

    async def test_an_error_of_somebody_else(self, sqlite: Database) -> None:
        """A listener's own TypeError stays what it is."""
        with pytest.raises(TypeError, match="unhashable"):
            async with sqlite.session() as session:
                event.listen(session.sync_session, "before_flush", lambda *_: hash([]))
                await flush(session, "a")


class TestShape:
    @pytest.mark.parametrize("method", ["get", "get_one"])
    @pytest.mark.parametrize(
        ("model", "key", "hint"),
        [
            (Fixed, [], "session.get(Fixed, code)"),
            (Fixed, (), "session.get(Fixed, code)"),
            (Fixed, {}, "session.get(Fixed, code)"),
            (Fixed, ("a", "b"), "session.get(Fixed, code)"),
            (Fixed, {"kind": "a"}, "session.get(Fixed, code)"),
            (Place, "a", "session.get(Place, (email, number))"),
            (Place, ("a",), "session.get(Place, (email, number))"),
            (Place, {"email": "a"}, "session.get(Place, (email, number))"),
        ],
        ids=str,
    )
    async def test_it_is_refused(self, sqlite: Database, method: str, model: type[Any], key: Any, hint: str) -> None:
        """A key of more or fewer values than the model's, in SQLAlchemy's own methods."""
        with pytest.raises(InvalidKey) as caught:
            async with sqlite.session() as session:
                await getattr(session, method)(model, key)

        assert caught.value.message == f"{key!r} is not a key of {model.__name__}."
        assert caught.value.hint == hint

    async def test_what_else_is_wrong_with_a_get(self, sqlite: Database) -> None:
        """A closed session is none of the key's fault."""
        session = sqlite.session()
        await session.close()

        with pytest.raises(SessionClosed):
            await session.get(Place, ("a", 1))


class TestRowKeys:
    def test_only_numbers_and_uuids_are_exact(self, sqlite: Database) -> None:
        """Only of these Python knows what the database takes for equal."""
        dialect = sqlite.engine.dialect
        exact = [
            model
            for model in (Item, Upload, Code, Member, Place, Price)
            if RowKeys(model.__mapper__, dialect).are_exact
        ]

        assert exact == [Item, Upload]

    def test_they_are_made_once_for_each_database(self, sqlite: Database, postgres: Database) -> None:
        """Each repository that reads by key asks for them."""
        one, again, other = (keys_of(Item.__mapper__, db.engine.dialect) for db in (sqlite, sqlite, postgres))

        assert one is again
        assert one is not other
