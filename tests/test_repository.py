"""The repository: one question, one answer, inside the caller's transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import ForeignKey, String, func, select
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker
from sqlalchemy.ext.declarative import ConcreteBase
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    WriteOnlyMapped,
    deferred,
    mapped_column,
    relationship,
    selectinload,
    undefer,
)

import sqlkeel
from sqlkeel.errors import (
    ForeignKeyViolation,
    InvalidCursor,
    InvalidKey,
    InvalidValue,
    MultipleFound,
    NotFound,
    NotSupported,
    RestoreConflict,
    TransactionAborted,
    UniqueViolation,
    UnknownField,
    UnloadedAttribute,
    UsageError,
    VersionConflict,
)
from sqlkeel.models import DualIDMixin, IntKeyMixin, UUIDKeyMixin, association, children, parent, unique_live
from sqlkeel.observe import queries
from sqlkeel.repository import Repository
from sqlkeel.sessions import Database, Session
from sqlkeel.sessions._session import SyncSession
from sqlkeel.soft_delete import SoftDeleteMixin
from sqlkeel.timestamps import TimestampMixin
from sqlkeel.types import utc_now
from sqlkeel.versions import VersionMixin


class Base(sqlkeel.Base):
    pass


class User(DualIDMixin, TimestampMixin, SoftDeleteMixin, VersionMixin, Base):
    __tablename__ = "user"
    __table_args__ = (unique_live("email"),)
    email: Mapped[str] = mapped_column(String(320))
    name: Mapped[str | None] = mapped_column(String(50))
    biography: Mapped[str | None] = deferred(mapped_column(String(50)))
    manager_id: Mapped[int | None] = mapped_column(ForeignKey("user.id"), index=True)
    articles: Mapped[list[Article]] = children(back_populates="author", order_by="Article.id")
    archive: WriteOnlyMapped[Article] = relationship(viewonly=True)
    loans: Mapped[list[Loan]] = children(back_populates="user", on_delete="restrict")
    manager: Mapped[User | None] = parent(remote_side="User.id", on_delete="set null")

    @property
    def password(self) -> str:
        """Nobody may read it."""
        raise AttributeError("write only")

    @password.setter
    def password(self, value: str) -> None:
        self.name = value[::-1]

    @hybrid_property
    def domain(self) -> str:
        """What follows the @."""
        return self.email.rpartition("@")[2]


class Article(IntKeyMixin, SoftDeleteMixin, Base):
    __tablename__ = "article"
    title: Mapped[str] = mapped_column(String(50))
    author_id: Mapped[int] = mapped_column(ForeignKey("user.id"), index=True)
    author: Mapped[User] = parent(back_populates="articles")
    tags: Mapped[set[Tag]] = association("article_tag")


class ArticleTag(Base):
    __tablename__ = "article_tag"
    article_id: Mapped[int] = mapped_column(ForeignKey("article.id"), primary_key=True)
    tag_id: Mapped[UUID] = mapped_column(ForeignKey("tag.id"), primary_key=True)


class Loan(IntKeyMixin, SoftDeleteMixin, Base):
    __tablename__ = "loan"
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id"), index=True)
    user: Mapped[User] = parent(back_populates="loans")


class Tag(UUIDKeyMixin, Base):
    __tablename__ = "tag"
    name: Mapped[str] = mapped_column(String(50), unique=True)


class Cell(Base):
    __tablename__ = "cell"
    row: Mapped[int] = mapped_column("row_no", primary_key=True, autoincrement=False)
    column: Mapped[int] = mapped_column("column_no", primary_key=True, autoincrement=False)
    text: Mapped[str | None] = mapped_column(String(50))


class Stock(DeclarativeBase):
    pass


class Memo(Stock):
    """A model that has nothing of ours."""

    __tablename__ = "memo"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str | None] = mapped_column(String(50))


Memo.__table__.to_metadata(Base.metadata)

pytestmark = pytest.mark.tables(Base.metadata)

UNKNOWN = UUID("0190a0b0-0000-7000-8000-000000000000")


class UserRepository(Repository[User]):
    async def get_by_email(self, email: str) -> User | None:
        """A question of the domain."""
        return await self.one_or_none(User.email == email)


async def add(db: Database, *rows: Any) -> list[Any]:
    """Commit rows, and return their keys."""
    async with db.transaction() as session:
        for row in rows:
            session.add(row)
            await session.flush()
        return [_key(row) for row in rows]


def _key(row: Any) -> Any:
    key = type(row).__mapper__.primary_key_from_instance(row)
    return key[0] if len(key) == 1 else tuple(key)


def users(count: int) -> list[User]:
    """Make users with an address each."""
    return [User(email=f"{n}@x.org") for n in range(count)]


class TestGet:
    async def test_a_row_or_nothing(self, every_driver: Database) -> None:
        """get() returns the row with this key, or None."""
        [key] = await add(every_driver, *users(1))

        async with every_driver.session() as session:
            found = await Repository(session, User).get(key)
            missing = await Repository(session, User).get(key + 1)

        assert found is not None
        assert found.email == "0@x.org"
        assert missing is None

    async def test_a_row_that_is_there_costs_nothing(self, db: Database) -> None:
        """A row that the session has is not asked for again."""
        [key] = await add(db, *users(1))

        async with db.session() as session:
            first = await Repository(session, User).get(key)
            async with queries(db, exactly=0):
                second = await Repository(session, User).get(key)

        assert first is second

    async def test_a_row_that_is_there_gets_what_is_to_be_loaded(self, db: Database) -> None:
        """load= holds for a row that the session has, too."""
        [key] = await add(db, User(email="a", articles=[Article(title="t")]))

        async with db.session() as session:
            there = await Repository(session, User).get(key)
            found = await Repository(session, User).get_one(key, load=[User.articles])

            assert found is there
            assert [article.title for article in found.articles] == ["t"]

    async def test_loading_loses_no_change(self, every_driver: Database) -> None:
        """A row that was changed and not yet written keeps the change when more of it is loaded."""
        [key] = await add(every_driver, *users(1))

        async with every_driver.session() as session:
            user = await Repository(session, User).get_one(key)
            user.email = "changed"
            await Repository(session, User).get_one(key, load=[User.articles])

            assert user.email == "changed"

    @pytest.mark.parametrize("key", [(1, 2), {"row": 1, "column": 2}])
    async def test_a_key_of_several_columns(self, every_driver: Database, key: Any) -> None:
        """A composite key is a tuple, or a mapping by the names of the model."""
        await add(every_driver, Cell(row=1, column=2, text="x"), Cell(row=2, column=1))

        async with every_driver.session() as session:
            found = await Repository(session, Cell).get_one(key)

        assert found.text == "x"

    @pytest.mark.parametrize("key", [1, (1,), (1, 2, 3), {"row": 1}, {"row_no": 1, "column_no": 2}, {}, ()])
    async def test_a_key_of_the_wrong_shape_is_refused(self, sqlite: Database, key: Any) -> None:
        """Too few, too many or wrong names are refused before a statement is sent."""
        async with sqlite.session() as session:
            with pytest.raises(InvalidKey):
                await Repository(session, Cell).get(key)

    @pytest.mark.parametrize("key", [(1, 2), {"row": 1}])
    async def test_a_single_key_of_the_wrong_shape_is_refused(self, sqlite: Database, key: Any) -> None:
        """A key of one column takes one value."""
        async with sqlite.session() as session:
            with pytest.raises(InvalidKey):
                await Repository(session, User).get(key)

    async def test_a_single_key_may_be_written_as_several(self, db: Database) -> None:
        """A tuple or mapping of one is that one."""
        [key] = await add(db, Tag(name="t"))

        async with db.session() as session:
            tags = Repository(session, Tag)

            assert await tags.get((key,)) is await tags.get({"id": key}) is await tags.get_one(key)

    async def test_get_one_raises(self, db: Database) -> None:
        """get_one() says which key of which model is not there."""
        async with db.session() as session:
            with pytest.raises(NotFound) as caught:
                await Repository(session, User).get_one(404)

        assert (caught.value.model, caught.value.key) == ("User", 404)

    async def test_a_deleted_row_is_not_there(self, db: Database) -> None:
        """A deleted row is found on request only."""
        [key] = await add(db, *users(1))
        async with db.transaction() as session:
            repository = Repository(session, User)
            await repository.delete(await repository.get_one(key))

        async with db.session() as session:
            repository = Repository(session, User)

            assert await repository.get(key) is None
            assert (await repository.get_one(key, include_deleted=True)).is_deleted
            assert await repository.get(key) is None

    async def test_a_session_that_shows_deleted_rows_is_respected(self, db: Database) -> None:
        """A session with include_deleted needs no further word."""
        [key] = await add(db, *users(1))
        async with db.transaction() as session:
            await session.delete(await session.get_one(User, key))

        async with Session(db.engine, execution_options={"include_deleted": True}) as session:
            repository = Repository(session, User)

            assert await repository.count() == 1
            assert await repository.exists()
            assert await repository.get(key) is not None
            assert len(await repository.get_all()) == 1


class TestPublicID:
    @pytest.mark.parametrize("form", [UUID, str])
    async def test_the_outside_names_it(self, every_driver: Database, form: Callable[[Any], Any]) -> None:
        """A row is found by the id that the outside knows, as a UUID or as text."""
        user = User(email="a")
        await add(every_driver, user)

        async with every_driver.session() as session:
            found = await Repository(session, User).get_one_by_public_id(form(str(user.public_id)))

        assert found.id == user.id

    @pytest.mark.parametrize(
        "public_id", ["", "1", "x" * 36, str(UNKNOWN), UNKNOWN, pytest.param(10**5_000, id="of 5000 digits")]
    )
    async def test_what_is_no_id_is_not_found(self, sqlite: Database, public_id: Any) -> None:
        """To the outside, a malformed id and an unknown one are the same."""
        async with sqlite.session() as session:
            repository = Repository(session, User)
            with pytest.raises(NotFound):
                await repository.get_one_by_public_id(public_id)

            assert await repository.get_by_public_id(public_id) is None

    async def test_a_model_without_is_refused(self, sqlite: Database) -> None:
        """A model without a public id has no rows by it."""
        async with sqlite.session() as session:
            with pytest.raises(NotSupported, match="DualIDMixin"):
                await Repository(session, Cell).get_one_by_public_id(UNKNOWN)


class TestGetMany:
    async def test_in_the_order_of_the_keys(self, every_driver: Database) -> None:
        """The rows come in the order asked for, a key twice gives the row twice, an unknown one none."""
        first, second, third = await add(every_driver, *users(3))

        async with every_driver.session() as session:
            found = await Repository(session, User).get_many([third, first, 10**9, third, second])

        assert [user.id for user in found] == [third, first, third, second]

    @pytest.mark.parametrize("keys", [[], iter([])])
    async def test_no_keys_are_no_statement(self, db: Database, keys: Any) -> None:
        """Nothing is asked when nothing is wanted."""
        async with db.session() as session, queries(db, exactly=0):
            assert await Repository(session, User).get_many(keys) == []

    async def test_more_keys_than_a_statement_takes(self, every_driver: Database) -> None:
        """40,000 keys are asked in parts: PostgreSQL takes 32,767 parameters in one statement."""
        keys = await add(every_driver, *users(2))

        async with every_driver.session() as session:
            found = await Repository(session, User).get_many([*range(10**6, 10**6 + 40_000), *keys])

        assert [user.id for user in found] == keys

    async def test_keys_of_several_columns(self, every_driver: Database) -> None:
        """Composite keys, many of them, are found in their order, as tuples or mappings."""
        await add(every_driver, Cell(row=1, column=2), Cell(row=2, column=1), Cell(row=2, column=2))

        async with every_driver.session() as session:
            wanted = [(2, 1), {"row": 1, "column": 2}, *((n, 7) for n in range(6_000))]
            found = await Repository(session, Cell).get_many(wanted)

        assert [(cell.row, cell.column) for cell in found] == [(2, 1), (1, 2)]

    async def test_uuid_keys(self, every_driver: Database) -> None:
        """UUIDs are keys like others."""
        keys = await add(every_driver, Tag(name="a"), Tag(name="b"))

        async with every_driver.session() as session:
            found = await Repository(session, Tag).get_many(reversed(keys))

        assert [tag.name for tag in found] == ["b", "a"]


class Parcel(IntKeyMixin, ConcreteBase, Base):
    __tablename__ = "parcel"
    __mapper_args__ = {"polymorphic_identity": "parcel", "concrete": True}


class Crate(Parcel):
    __tablename__ = "crate"
    __mapper_args__ = {"polymorphic_identity": "crate", "concrete": True}
    id: Mapped[int] = mapped_column(primary_key=True)


class TestGetManyOfSeveralTables:
    async def test_a_key_of_two_rows_is_refused(self, every_driver: Database) -> None:
        """In a union of tables a key may name a row in each: to return one of them would hide the other."""
        async with every_driver.transaction() as session:
            session.add_all([Parcel(id=1), Crate(id=1), Crate(id=2)])
            await session.flush()
            parcels = Repository(session, Parcel)

            assert [type(one).__name__ for one in await parcels.get_many([2])] == ["Crate"]
            with pytest.raises(MultipleFound):
                await parcels.get_many([2, 1])

    @pytest.mark.parametrize("load", [[], [undefer("*")]], ids=["plain", "load"])
    async def test_get_of_such_a_key_is_refused(self, every_driver: Database, load: Any) -> None:
        """get() raises as get_many() does."""
        async with every_driver.transaction() as session:
            session.add_all([Parcel(id=1), Crate(id=1)])
        async with every_driver.transaction() as session:
            with pytest.raises(MultipleFound):
                await Repository(session, Parcel).get(1, load=load)


class TestOne:
    async def test_the_only_row(self, every_driver: Database) -> None:
        """one_or_none() returns the row that matches, or None."""
        await add(every_driver, *users(3))

        async with every_driver.session() as session:
            found = await UserRepository(session).get_by_email("1@x.org")
            missing = await UserRepository(session).get_by_email("4@x.org")

        assert found is not None
        assert found.email == "1@x.org"
        assert missing is None

    async def test_one_has_to_be_there(self, every_driver: Database) -> None:
        """one() returns the row that matches, and none is an error."""
        await add(every_driver, *users(3))

        async with every_driver.session() as session:
            repository = Repository(session, User)
            found = await repository.one(User.email == "1@x.org", load=[User.articles])
            with pytest.raises(NotFound, match="no User that matches"):
                await repository.one(User.email == "4@x.org")

        assert (found.email, found.articles) == ("1@x.org", [])

    @pytest.mark.parametrize("verb", ["one", "one_or_none"])
    async def test_several_are_an_error(self, db: Database, verb: str) -> None:
        """More than one row is an error, not the first of them."""
        await add(db, *users(3))

        async with db.session() as session:
            with pytest.raises(MultipleFound):
                await getattr(Repository(session, User), verb)(User.name.is_(None))

    async def test_one_row_with_many_children_is_one(self, db: Database) -> None:
        """Loading a collection does not make one row several."""
        await add(db, User(email="a", articles=[Article(title=str(n)) for n in range(3)]))

        async with db.session() as session:
            found = await Repository(session, User).one_or_none(User.email == "a", load=[User.articles])

        assert found is not None
        assert len(found.articles) == 3


class TestGetAll:
    async def test_the_order_is_always_the_same(self, every_driver: Database) -> None:
        """Without an order the key is it; ties of an order are broken by the key."""
        keys = await add(every_driver, *users(5))

        async with every_driver.session() as session:
            repository = Repository(session, User)

            assert [user.id for user in await repository.get_all()] == keys
            assert [user.id for user in await repository.get_all(order_by=User.name)] == keys
            assert [user.id for user in await repository.get_all(order_by=[User.email.desc()])] == keys[::-1]

    @pytest.mark.parametrize(
        ("skip", "limit", "expected"),
        [(0, 2, [0, 1]), (3, None, [3, 4]), (1, 3, [1, 2, 3]), (5, 1, []), (0, 0, []), (0, None, [0, 1, 2, 3, 4])],
    )
    async def test_a_numbered_part(self, db: Database, skip: int, limit: int | None, expected: list[int]) -> None:
        """Skip and limit cut a part out, on every database."""
        keys = await add(db, *users(5))

        async with db.session() as session:
            found = await Repository(session, User).get_all(skip=skip, limit=limit)

        assert [keys.index(user.id) for user in found] == expected

    @pytest.mark.parametrize("bound", [-1, 2**63 - 1, 2**63, 2**64, 1.5, "2"])
    @pytest.mark.parametrize("name", ["skip", "limit"])
    async def test_what_is_no_number_of_rows_is_refused(self, every_driver: Database, name: str, bound: Any) -> None:
        """A bound that one database would refuse and another take for none is refused before a statement is sent."""
        async with every_driver.session() as session, queries(every_driver, exactly=0):
            with pytest.raises(InvalidValue, match=f"{name}= is a number of rows"):
                await Repository(session, User).get_all(**{name: bound})

    @pytest.mark.parametrize("batch", [0, -1, 2**63 - 1])
    async def test_a_batch_has_a_row_at_least(self, sqlite: Database, batch: int) -> None:
        """A stream in batches of nothing would never end."""
        async with sqlite.session() as session:
            with pytest.raises(InvalidValue, match="batch="):
                await anext(Repository(session, User).stream(batch=batch))

    async def test_the_largest_bounds_are_allowed(self, every_driver: Database) -> None:
        """As many rows as a database can count may be asked for, or skipped."""
        await add(every_driver, *users(1))

        async with every_driver.session() as session:
            assert len(await Repository(session, User).get_all(limit=2**63 - 2)) == 1
            assert await Repository(session, User).get_all(skip=2**63 - 2) == []

    async def test_conditions_are_joined_by_and(self, db: Database) -> None:
        """Each condition narrows the list."""
        keys = await add(db, *users(3))

        async with db.session() as session:
            found = await Repository(session, User).get_all(User.id > keys[0], User.id < keys[2])

        assert [user.id for user in found] == [keys[1]]

    async def test_loading_costs_a_statement_a_collection(self, db: Database) -> None:
        """Loading the children of ten rows costs one statement more."""
        await add(db, *(User(email=str(n), articles=[Article(title="t")]) for n in range(10)))

        async with db.session() as session, queries(db, exactly=2):
            found = await Repository(session, User).get_all(load=[User.articles, User.manager])

        assert sum(len(user.articles) for user in found) == 10

    async def test_deleted_rows_are_shown_on_request(self, db: Database) -> None:
        """include_deleted lists the deleted rows too."""
        [key, _] = await add(db, *users(2))
        async with db.transaction() as session:
            await session.delete(await session.get_one(User, key))

        async with db.session() as session:
            repository = Repository(session, User)

            assert len(await repository.get_all()) == await repository.count() == 1
            shown = await repository.get_all(include_deleted=True)
            assert len(shown) == await repository.count(include_deleted=True) == 2


class TestPage:
    async def test_a_walk_meets_every_row(self, every_driver: Database) -> None:
        """The pages, one after the other, are the list."""
        keys = await add(every_driver, *users(5))

        async with every_driver.session() as session:
            repository = Repository(session, User)
            first = await repository.page(order_by=User.name, size=2)
            second = await repository.page(order_by=User.name, size=2, after=first.next)
            third = await repository.page(order_by=User.name, size=2, after=second.next)
            back = await repository.page(order_by=User.name, size=2, before=third.previous)

        assert [user.id for page in (first, second, third) for user in page] == keys
        assert back.items == second.items
        assert third.next is None

    async def test_a_page_loads(self, db: Database) -> None:
        """The children of a page come with it."""
        await add(db, *(User(email=str(n), articles=[Article(title="t")]) for n in range(3)))

        async with db.session() as session, queries(db, exactly=2):
            page = await Repository(session, User).page(size=2, load=[User.articles])

        assert [len(user.articles) for user in page] == [1, 1]

    async def test_the_secret_of_the_class_signs(self, db: Database) -> None:
        """Cursors of a repository with a secret are of no use without it."""

        class Signed(Repository[User]):
            cursor_secret = b"secret"

        await add(db, *users(3))

        async with db.session() as session:
            page = await Signed(session).page(size=1)
            with pytest.raises(InvalidCursor):
                await Repository(session, User).page(size=1, after=page.next)

    async def test_a_condition_of_one_database_is_kept(self, every_driver: Database) -> None:
        """A function that is written for each database in its own way is a condition of pages and streams."""
        await add(every_driver, *users(3))

        async with every_driver.session() as session:
            repository = Repository(session, User)
            first = await repository.page(User.created_at <= utc_now(), size=2)
            second = await repository.page(User.created_at <= utc_now(), size=2, after=first.next)
            streamed = [user async for user in repository.stream(User.created_at <= utc_now(), batch=1)]
            with pytest.raises(InvalidCursor):
                await repository.page(User.created_at > utc_now(), size=2, after=first.next)

        assert [*first, *second] == streamed
        assert len(streamed) == 3

    async def test_deleted_rows_are_on_no_page(self, db: Database) -> None:
        """A page holds living rows only, and is full."""
        keys = await add(db, *users(4))
        async with db.transaction() as session:
            await session.delete(await session.get_one(User, keys[0]))

        async with db.session() as session:
            page = await Repository(session, User).page(size=3)

        assert [user.id for user in page] == keys[1:]

    async def test_unless_they_are_asked_for(self, db: Database) -> None:
        """A list of what was deleted has pages, too; its cursors are not those of the living."""
        keys = await add(db, *users(4))
        async with db.transaction() as session:
            await session.delete(await session.get_one(User, keys[0]))

        async with db.session() as session:
            repository = Repository(session, User)
            first = await repository.page(size=3, include_deleted=True)
            rest = await repository.page(size=3, include_deleted=True, after=first.next)
            streamed = [user.id async for user in repository.stream(batch=1, include_deleted=True)]
            with pytest.raises(InvalidCursor):
                await repository.page(size=3, after=first.next)

        assert [user.id for user in (*first, *rest)] == streamed == keys


class TestStream:
    async def test_in_order_and_batches(self, every_driver: Database) -> None:
        """All rows come, in their order, a batch at a time."""
        keys = await add(every_driver, *users(25))

        async with every_driver.session() as session:
            found = [user.id async for user in Repository(session, User).stream(batch=10)]

        assert found == keys

    async def test_with_what_is_to_be_loaded(self, every_driver: Database) -> None:
        """The children of each batch are loaded with it."""
        await add(every_driver, *(User(email=str(n), articles=[Article(title=str(n))]) for n in range(5)))

        async with every_driver.session() as session:
            stream = Repository(session, User).stream(load=[User.articles, User.manager], batch=2)
            found = [(user.email, [article.title for article in user.articles]) async for user in stream]

        assert found == [(str(n), [str(n)]) for n in range(5)]

    async def test_the_session_is_free_in_between(self, every_driver: Database) -> None:
        """Each row may be changed, and others asked for, while the stream goes on."""
        await add(every_driver, *users(5))

        async with every_driver.transaction() as session:
            repository = Repository(session, User)
            async for user in repository.stream(batch=2):
                await repository.update(user, {"name": str(await repository.count())})

        async with every_driver.session() as session:
            assert [user.name for user in await Repository(session, User).get_all()] == ["5"] * 5

    async def test_a_reading_session_streams(self, every_driver: Database) -> None:
        """A stream needs no transaction."""
        await add(every_driver, *users(5))

        async with every_driver.read() as session:
            found = [user async for user in Repository(session, User).stream(batch=2)]

        assert len(found) == 5

    @pytest.mark.parametrize(("rows", "statements"), [(4, 2), (5, 3)])
    async def test_a_batch_is_a_statement(self, db: Database, rows: int, statements: int) -> None:
        """Four rows in batches of two take two statements, and one row more takes a third."""
        await add(db, *users(rows))

        async with db.session() as session, queries(db, exactly=statements):
            found = [user async for user in Repository(session, User).stream(batch=2)]

        assert len(found) == rows

    async def test_it_may_be_left_early(self, every_driver: Database) -> None:
        """A stream that is closed before its end frees the connection for the next statement."""
        await add(every_driver, *users(5))

        async with every_driver.session() as session:
            stream = Repository(session, User).stream(batch=2)
            first = await anext(stream)
            await stream.aclose()
            count = await Repository(session, User).count()

        assert first.email == "0@x.org"
        assert count == 5


class TestCount:
    async def test_rows_that_match(self, every_driver: Database) -> None:
        """count() counts, exists() tells."""
        await add(every_driver, *users(3))

        async with every_driver.session() as session:
            repository = Repository(session, User)

            assert await repository.count() == 3
            assert await repository.count(User.email == "1@x.org") == 1
            assert await repository.count(User.email == "nobody") == 0
            assert await repository.exists(User.email == "1@x.org") is True
            assert await repository.exists(User.email == "nobody") is False

    async def test_keys_of_several_columns(self, db: Database) -> None:
        """A model with a composite key is counted like any other."""
        await add(db, Cell(row=1, column=1), Cell(row=1, column=2))

        async with db.session() as session:
            assert await Repository(session, Cell).count() == 2
            assert await Repository(session, Cell).exists()


class TestCreate:
    async def test_the_row_is_complete(self, every_driver: Database) -> None:
        """What the database fills in is there, and collections are empty instead of unloaded."""
        async with every_driver.transaction() as session:
            user = await Repository(session, User).create(email="a")

            assert user.id is not None
            assert user.created_at == user.updated_at
            assert (user.version, user.is_deleted) == (1, False)
            assert (user.articles, user.loans, user.manager) == ([], [], None)

    async def test_collections_take_rows(self, every_driver: Database) -> None:
        """An empty collection of a new row can be filled."""
        async with every_driver.transaction() as session:
            user = await Repository(session, User).create(email="a")
            user.articles.append(Article(title="t"))

        async with every_driver.session() as session:
            assert await Repository(session, Article).count() == 1

    async def test_related_rows_are_saved_with_it(self, every_driver: Database) -> None:
        """A new parent and new children that are given are written too."""
        async with every_driver.transaction() as session:
            article = await Repository(session, Article).create(
                title="t", author=User(email="a"), tags={Tag(name="new")}
            )

            assert article.author.id == article.author_id
            assert len(article.tags) == 1

    async def test_a_parent_that_was_named_by_key_is_not_loaded(self, db: Database) -> None:
        """A row that names its parent by key has one, which has to be loaded."""
        [key] = await add(db, *users(1))

        async with db.transaction() as session:
            article = await Repository(session, Article).create(title="t", author_id=key)
            with pytest.raises(UnloadedAttribute):
                _ = article.author

    async def test_an_unknown_field_is_refused(self, sqlite: Database) -> None:
        """A field that the model does not have is named."""
        async with sqlite.session() as session:
            with pytest.raises(UnknownField, match="User has no field 'emial'"):
                await Repository(session, User).create(emial="a")

    @pytest.mark.parametrize("field", ["metadata", "registry", "__class__", "awaitable_attrs", "__tablename__"])
    async def test_what_is_no_data_is_refused(self, sqlite: Database, field: str) -> None:
        """Attributes of the class that hold no data are no fields: they come from outside, perhaps."""
        async with sqlite.session() as session:
            with pytest.raises(UnknownField):
                await Repository(session, User).update(User(email="a"), {field: "x"})

    async def test_a_property_is_a_field(self, db: Database) -> None:
        """A property of the model's own can be set."""
        async with db.transaction() as session:
            user = await Repository(session, User).create(email="a", password="abc")

        assert user.name == "cba"

    async def test_the_database_refuses(self, every_driver: Database) -> None:
        """What a constraint refuses is an error that names it."""
        await add(every_driver, User(email="a"))

        with pytest.raises(UniqueViolation) as caught:
            async with every_driver.transaction() as session:
                await Repository(session, User).create(email="a")

        assert caught.value.table == "user"


class TestUpdate:
    async def test_the_new_values_are_there(self, every_driver: Database) -> None:
        """The object has the new values, and the times and version of the database."""
        [key] = await add(every_driver, *users(1))

        async with every_driver.transaction() as session:
            repository = Repository(session, User)
            user = await repository.update(await repository.get_one(key), {"email": "new"})

            assert (user.email, user.version) == ("new", 2)
            assert user.updated_at >= user.created_at

    async def test_the_expected_version_passes(self, every_driver: Database) -> None:
        """A change on the version that the client saw is made."""
        [key] = await add(every_driver, *users(1))

        async with every_driver.transaction() as session:
            repository = Repository(session, User)
            user = await repository.update(await repository.get_one(key), {"email": "new"}, expected_version=1)

        assert user.version == 2

    @pytest.mark.parametrize("values", [{"email": "mine"}, {"email": "theirs"}, {}])
    async def test_another_version_is_a_conflict(self, every_driver: Database, values: dict[str, Any]) -> None:
        """A change on an older version is refused, even one that would change nothing; the row is shown."""
        [key] = await add(every_driver, *users(1))
        async with every_driver.transaction() as session:
            (await session.get_one(User, key)).email = "theirs"

        with pytest.raises(VersionConflict) as caught:
            async with every_driver.transaction() as session:
                repository = Repository(session, User)
                await repository.update(await repository.get_one(key), values, expected_version=1)

        conflict = caught.value
        assert (conflict.key, conflict.expected, conflict.current) == (key, 1, 2)
        assert conflict.current_row["email"] == "theirs"  # type: ignore[index]  # a dict

    @pytest.mark.parametrize("values", [{"email": "0@x.org"}, {}, {"articles": []}])
    async def test_a_change_that_the_session_has_not_seen_is_a_conflict(
        self, every_driver: Database, values: dict[str, Any]
    ) -> None:
        """Values that change nothing send no UPDATE, which would find that the held object is an old one."""
        [key] = await add(every_driver, *users(1))

        async with every_driver.session() as session:
            user = await Repository(session, User).get_one(key, load=[User.articles])
            await session.commit()
            async with every_driver.transaction() as other:
                (await other.get_one(User, key)).email = "theirs"
            with pytest.raises(VersionConflict) as caught:
                await Repository(session, User).update(user, values, expected_version=1)

        conflict = caught.value
        assert (conflict.key, conflict.expected, conflict.current) == (key, 1, 2)
        assert conflict.current_row["email"] == "theirs"  # type: ignore[index]  # a dict

    async def test_a_conflict_that_is_swallowed_writes_nothing(self, every_driver: Database) -> None:
        """Relations that were changed for a row that is an old one are not written by the commit."""
        [key] = await add(every_driver, *users(1))

        async with every_driver.session() as session:
            user = await Repository(session, User).get_one(key, load=[User.articles])
            await session.commit()
            async with every_driver.transaction() as other:
                (await other.get_one(User, key)).email = "theirs"
            with pytest.raises(VersionConflict):
                await Repository(session, User).update(user, {"articles": [Article(title="t")]}, expected_version=1)
            with pytest.raises(TransactionAborted):
                await session.commit()

        async with every_driver.session() as session:
            assert await Repository(session, Article).count() == 0

    @pytest.mark.parametrize("values", [{"email": "0@x.org"}, {}])
    async def test_values_that_change_nothing_cost_a_statement(self, db: Database, values: dict[str, Any]) -> None:
        """The row is asked for its version where one is expected; else nothing is sent."""
        [key] = await add(db, *users(1))

        async with db.transaction() as session:
            user = await Repository(session, User).get_one(key)
            async with queries(db, exactly=1):
                await Repository(session, User).update(user, values, expected_version=1)
            async with queries(db, exactly=0):
                await Repository(session, User).update(user, values)

        assert user.version == 1

    async def test_a_model_without_version_is_refused(self, db: Database) -> None:
        """Nothing can be expected of a model that does not count."""
        [key] = await add(db, Tag(name="t"))

        async with db.session() as session:
            repository = Repository(session, Tag)
            with pytest.raises(NotSupported, match="VersionMixin"):
                await repository.update(await repository.get_one(key), {"name": "n"}, expected_version=1)

    async def test_nothing_is_set_when_a_field_is_unknown(self, db: Database) -> None:
        """An unknown field refuses the whole change."""
        [key] = await add(db, *users(1))

        async with db.session() as session:
            user = await Repository(session, User).get_one(key)
            with pytest.raises(UnknownField):
                await Repository(session, User).update(user, {"email": "new", "emial": "new"})

            assert user.email == "0@x.org"

    async def test_one_of_several_versions_passes(self, sqlite: Database) -> None:
        """A client that knows several versions, all of which suit it, may change any of them."""
        [key] = await add(sqlite, *users(1))

        async with sqlite.transaction() as session:
            repository = Repository(session, User)
            user = await repository.update(await repository.get_one(key), {"email": "new"}, expected_version={1, 7})
            with pytest.raises(VersionConflict, match="another one") as caught:
                await repository.update(user, {"email": "newer"}, expected_version={1, 7})

        assert (caught.value.expected, caught.value.current) == (None, 2)


class TestTouch:
    async def test_it_counts_and_writes_what_waits(self, every_driver: Database) -> None:
        """The root of an aggregate is counted with the change of its child, and its time moves."""
        [key] = await add(every_driver, User(email="a", articles=[Article(title="t")]))

        async with every_driver.transaction() as session:
            repository = Repository(session, User)
            user = await repository.get_one(key, load=[User.articles])
            user.articles[0].title = "new"
            touched = await repository.touch(user, expected_version=1)

        async with every_driver.session() as session:
            assert (await session.scalars(select(Article.title))).all() == ["new"]
        assert touched is user
        assert user.version == 2
        assert user.updated_at > user.created_at

    async def test_another_version_is_a_conflict(self, every_driver: Database) -> None:
        """Who saw another version is told, and nothing is written."""
        [key] = await add(every_driver, User(email="a", articles=[Article(title="t")]))

        with pytest.raises(VersionConflict) as caught:
            async with every_driver.transaction() as session:
                repository = Repository(session, User)
                user = await repository.get_one(key, load=[User.articles])
                user.articles[0].title = "new"
                await repository.touch(user, expected_version=7)

        async with every_driver.session() as session:
            assert (await session.scalars(select(Article.title))).all() == ["t"]
        assert (caught.value.expected, caught.value.current) == (7, 1)

    async def test_a_model_without_version_is_refused(self, sqlite: Database) -> None:
        """There is nothing to count."""
        [key] = await add(sqlite, Tag(name="t"))

        async with sqlite.session() as session:
            repository = Repository(session, Tag)
            with pytest.raises(NotSupported, match="VersionMixin"):
                await repository.touch(await repository.get_one(key))

    async def test_a_change_that_the_session_has_not_seen_is_a_conflict(self, every_driver: Database) -> None:
        """The UPDATE of a touch compares the version, though it writes nothing else."""
        [key] = await add(every_driver, *users(1))

        async with every_driver.session() as session:
            user = await Repository(session, User).get_one(key)
            await session.commit()
            async with every_driver.transaction() as other:
                (await other.get_one(User, key)).email = "theirs"
            with pytest.raises(VersionConflict):
                await Repository(session, User).touch(user, expected_version=1)


class TestDelete:
    async def test_another_version_is_a_conflict(self, every_driver: Database) -> None:
        """A row that is not what the client saw is not deleted."""
        [key] = await add(every_driver, *users(1))

        with pytest.raises(VersionConflict) as caught:
            async with every_driver.transaction() as session:
                repository = Repository(session, User)
                await repository.delete(await repository.get_one(key), expected_version=7)

        async with every_driver.session() as session:
            assert await Repository(session, User).count() == 1
        assert (caught.value.expected, caught.value.current) == (7, 1)

    async def test_a_soft_deletable_row_comes_back(self, every_driver: Database) -> None:
        """delete() hides the row with its children, restore() brings them back."""
        [key] = await add(every_driver, User(email="a", articles=[Article(title="t")]))

        async with every_driver.transaction() as session:
            repository = Repository(session, User)
            user = await repository.get_one(key)
            await repository.delete(user)
            gone = await Repository(session, Article).count()
            back = await repository.restore(user)

            assert gone == 0
            assert back is user
            assert await Repository(session, Article).count() == 1

    async def test_another_row_is_removed(self, every_driver: Database) -> None:
        """A row that cannot be marked is gone."""
        [key] = await add(every_driver, Tag(name="t"))

        async with every_driver.transaction() as session:
            repository = Repository(session, Tag)
            await repository.delete(await repository.get_one(key))

        async with every_driver.session() as session:
            assert await session.scalar(select(func.count()).select_from(Tag.__table__)) == 0

    async def test_a_restriction_refuses(self, db: Database) -> None:
        """A row that others hold on to is not deleted."""
        [key] = await add(db, User(email="a", loans=[Loan()]))

        async with db.transaction() as session:
            repository = Repository(session, User)
            with pytest.raises(ForeignKeyViolation):
                await repository.delete(await repository.get_one(key))

    async def test_a_second_time_is_not_found(self, db: Database) -> None:
        """What is deleted cannot be deleted."""
        [key] = await add(db, *users(1))

        async with db.transaction() as session:
            repository = Repository(session, User)
            user = await repository.get_one(key)
            await repository.delete(user)
            with pytest.raises(NotFound):
                await repository.delete(user)

    async def test_a_taken_value_keeps_it_deleted(self, db: Database) -> None:
        """restore() tells that a living row has the unique value."""
        [key] = await add(db, User(email="a"))

        async with db.transaction() as session:
            repository = Repository(session, User)
            user = await repository.get_one(key)
            await repository.delete(user)
            await repository.create(email="a")
            with pytest.raises(RestoreConflict):
                await repository.restore(user)

    async def test_a_model_without_soft_delete_restores_nothing(self, db: Database) -> None:
        """What is not marked cannot come back."""
        [key] = await add(db, Tag(name="t"))

        async with db.session() as session:
            repository = Repository(session, Tag)
            with pytest.raises(NotSupported, match="SoftDeleteMixin"):
                await repository.restore(await repository.get_one(key))


class TestMany:
    async def test_get_or_create(self, every_driver: Database) -> None:
        """The first call makes the row, the second gets it."""
        async with every_driver.transaction() as session:
            repository = Repository(session, User)
            made, first = await repository.get_or_create({"email": "a"}, {"name": "n"})
            found, second = await repository.get_or_create({"email": "a"}, {"name": "other"})

        assert (first, second) == (True, False)
        assert (found.id, found.name) == (made.id, "n")

    async def test_upsert(self, every_driver: Database) -> None:
        """The first call inserts, the second updates."""
        async with every_driver.transaction() as session:
            repository = Repository(session, Tag)
            made, first = await repository.upsert({"name": "a"}, on=[Tag.name])
            found, second = await repository.upsert({"name": "a"}, on=[Tag.name])

        assert (first, second) == (True, False)
        assert found.id == made.id

    async def test_many_rows(self, every_driver: Database) -> None:
        """Rows are inserted, updated, upserted and deleted in bulk."""
        async with every_driver.transaction() as session:
            repository = Repository(session, Cell)
            inserted = await repository.insert_many({"row": n, "column": n} for n in range(10))
            updated = await repository.update_many([{"row": 1, "column": 1, "text": "new"}])
            await repository.upsert_many([{"row": 2, "column": 2, "text": "u"}], on=[Cell.row, Cell.column])
            deleted = await repository.delete_many([(3, 3), (4, 4)])

            assert (inserted, updated, deleted) == (10, 1, 2)
            assert [cell.text for cell in await repository.get_many([(1, 1), (2, 2), (3, 3)])] == ["new", "u"]


async def _of(repository: Repository[User]) -> User:
    return await repository.get_one((await repository.get_all())[0].id)


WRITES: dict[str, Callable[[Repository[User]], Awaitable[Any]]] = {
    "create": lambda repository: repository.create(email="new"),
    "get_or_create": lambda repository: repository.get_or_create({"email": "new"}),
    "insert_many": lambda repository: repository.insert_many([{"email": "new"}]),
    "upsert_many": lambda repository: repository.upsert_many([{"email": "new"}], on=[User.email]),
}


async def _update(repository: Repository[User]) -> None:
    await repository.update(await _of(repository), {"email": "new"})


async def _delete(repository: Repository[User]) -> None:
    await repository.delete(await _of(repository))


async def _update_many(repository: Repository[User]) -> None:
    await repository.update_many([{"id": (await _of(repository)).id, "email": "new"}])


WRITES |= {"update": _update, "delete": _delete, "update_many": _update_many}


class TestTransaction:
    @pytest.mark.parametrize("name", WRITES)
    async def test_nothing_is_committed(self, every_driver: Database, name: str) -> None:
        """No method commits: after a rollback everything is as it was."""
        await add(every_driver, *users(1))

        async with every_driver.session() as session:
            await WRITES[name](UserRepository(session))
            await session.rollback()

        async with every_driver.session() as session:
            assert [(user.email, user.version) for user in await UserRepository(session).get_all()] == [("0@x.org", 1)]

    async def test_a_bulk_delete_is_not_committed(self, every_driver: Database) -> None:
        """delete_many() removes for good, when the caller commits."""
        [key] = await add(every_driver, Tag(name="t"))

        async with every_driver.session() as session:
            deleted = await Repository(session, Tag).delete_many([key])
            await session.rollback()

        async with every_driver.session() as session:
            assert deleted == 1
            assert await Repository(session, Tag).count() == 1


class TestModels:
    async def test_a_model_that_has_nothing_of_ours(self, every_driver: Database) -> None:
        """Any mapped class in any AsyncSession has a repository."""
        make = async_sessionmaker(every_driver.engine, expire_on_commit=False)

        async with make.begin() as session:
            repository = Repository(session, Memo)
            memo = await repository.create(text="a")
            await repository.create(text="b")
            await repository.update(memo, {"text": "c"})
            page = await repository.page(order_by=Memo.text, size=1)
            await repository.delete(memo)

            assert [memo.text for memo in page] == ["b"]
            assert await repository.count() == 1
            assert isinstance(session, AsyncSession)

    async def test_a_session_for_each_task(self, db: Database) -> None:
        """An async_scoped_session is a session, too: it reads, loads, writes and refuses what it does not hold."""
        make = async_sessionmaker(db.engine, expire_on_commit=False, sync_session_class=SyncSession)
        scoped: Any = async_scoped_session(make, scopefunc=asyncio.current_task)
        repository = Repository[User](scoped, User)

        user = await repository.create(email="a")
        await repository.update(await repository.get_one(user.id, load=[User.articles]), {"email": "b"})
        await scoped.commit()
        await scoped.remove()

        with pytest.raises(UsageError, match="in no session"):
            await repository.update(user, {"email": "c"})
        assert [user.email for user in await repository.get_all()] == ["b"]
        await scoped.remove()

    async def test_a_stock_session_would_show_deleted_rows(self, sqlite: Database) -> None:
        """A model with soft delete in a session without our listeners is refused."""
        async with async_sessionmaker(sqlite.engine)() as session:
            with pytest.raises(NotSupported, match="sync_session_class=SyncSession"):
                Repository(session, User)

    async def test_a_stock_session_over_ours_is_fine(self, sqlite: Database) -> None:
        """An existing project needs no more than the class of the session below."""
        async with async_sessionmaker(sqlite.engine, sync_session_class=SyncSession)() as session:
            assert await Repository(session, User).count() == 0

    async def test_a_repository_without_a_model_is_refused(self, sqlite: Database) -> None:
        """A repository has to know its model."""
        async with sqlite.session() as session:
            with pytest.raises(NotSupported, match="no model"):
                Repository(session)

    async def test_a_subclass_of_a_subclass_knows_its_model(self, sqlite: Database) -> None:
        """The model is found through a repository class of the project's own."""

        class Special(UserRepository):
            pass

        async with sqlite.session() as session:
            assert Special(session).model is User

    async def test_an_option_of_sqlalchemy_loads(self, db: Database) -> None:
        """load= takes what SQLAlchemy has."""
        await add(db, User(email="a", articles=[Article(title="t")]))

        async with db.session() as session:
            [user] = await Repository(session, User).get_all(load=[selectinload(User.articles)])

        assert len(user.articles) == 1
