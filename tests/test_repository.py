"""The repository: one question, one answer, inside the caller's transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker
from sqlalchemy.orm import selectinload, undefer

from sqlkeel.errors import InvalidKey, MultipleFound, NotFound, NotSupported, UsageError
from sqlkeel.observe import queries
from sqlkeel.repository import Repository
from sqlkeel.sessions import Database, Session
from sqlkeel.sessions._session import SyncSession
from tests.repository_models import Article, Base, Cell, Crate, Memo, Parcel, Tag, User, add, users

pytestmark = pytest.mark.tables(Base.metadata)

UNKNOWN = UUID("0190a0b0-0000-7000-8000-000000000000")


class UserRepository(Repository[User]):
    async def get_by_email(self, email: str) -> User | None:
        """A question of the domain."""
        return await self.one_or_none(User.email == email)


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

        with pytest.raises(UsageError, match="is detached from its session"):
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
