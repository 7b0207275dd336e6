"""Questions to a repository for many rows: a list, a page, a stream, a number."""

from __future__ import annotations

from typing import Any

import pytest

from sqlkeel.errors import InvalidCursor, InvalidValue
from sqlkeel.observe import queries
from sqlkeel.repository import Repository
from sqlkeel.sessions import Database
from sqlkeel.types import utc_now
from tests.repository_models import Article, Base, Cell, User, add, users

pytestmark = pytest.mark.tables(Base.metadata)


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

    @pytest.mark.parametrize("bound", [-1, 2**63 - 1, 2**63, 2**64, 1.5, "2", True])
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
                await anext(Repository(session, User).iterate(batch=batch))

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
            streamed = [user async for user in repository.iterate(User.created_at <= utc_now(), batch=1)]
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
            streamed = [user.id async for user in repository.iterate(batch=1, include_deleted=True)]
            with pytest.raises(InvalidCursor):
                await repository.page(size=3, after=first.next)

        assert [user.id for user in (*first, *rest)] == streamed == keys


class TestStream:
    async def test_in_order_and_batches(self, every_driver: Database) -> None:
        """All rows come, in their order, a batch at a time."""
        keys = await add(every_driver, *users(25))

        async with every_driver.session() as session:
            found = [user.id async for user in Repository(session, User).iterate(batch=10)]

        assert found == keys

    async def test_with_what_is_to_be_loaded(self, every_driver: Database) -> None:
        """The children of each batch are loaded with it."""
        await add(every_driver, *(User(email=str(n), articles=[Article(title=str(n))]) for n in range(5)))

        async with every_driver.session() as session:
            stream = Repository(session, User).iterate(load=[User.articles, User.manager], batch=2)
            found = [(user.email, [article.title for article in user.articles]) async for user in stream]

        assert found == [(str(n), [str(n)]) for n in range(5)]

    async def test_the_session_is_free_in_between(self, every_driver: Database) -> None:
        """Each row may be changed, and others asked for, while the stream goes on."""
        await add(every_driver, *users(5))

        async with every_driver.transaction() as session:
            repository = Repository(session, User)
            async for user in repository.iterate(batch=2):
                await repository.update(user, {"name": str(await repository.count())})

        async with every_driver.session() as session:
            assert [user.name for user in await Repository(session, User).get_all()] == ["5"] * 5

    async def test_a_reading_session_streams(self, every_driver: Database) -> None:
        """A stream needs no transaction."""
        await add(every_driver, *users(5))

        async with every_driver.read() as session:
            found = [user async for user in Repository(session, User).iterate(batch=2)]

        assert len(found) == 5

    @pytest.mark.parametrize(("rows", "statements"), [(4, 2), (5, 3)])
    async def test_a_batch_is_a_statement(self, db: Database, rows: int, statements: int) -> None:
        """Four rows in batches of two take two statements, and one row more takes a third."""
        await add(db, *users(rows))

        async with db.session() as session, queries(db, exactly=statements):
            found = [user async for user in Repository(session, User).iterate(batch=2)]

        assert len(found) == rows

    async def test_it_may_be_left_early(self, every_driver: Database) -> None:
        """A stream that is closed before its end frees the connection for the next statement."""
        await add(every_driver, *users(5))

        async with every_driver.session() as session:
            stream = Repository(session, User).iterate(batch=2)
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
