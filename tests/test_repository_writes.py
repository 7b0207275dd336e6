"""What a repository writes: one row, or the rows of a list."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import func, select

from sqlkeel.errors import (
    ForeignKeyViolation,
    NotFound,
    NotSupported,
    RestoreConflict,
    TransactionAborted,
    UniqueViolation,
    UnknownField,
    UnloadedAttribute,
    VersionConflict,
)
from sqlkeel.observe import queries
from sqlkeel.repository import Repository
from sqlkeel.sessions import Database
from tests.repository_models import Article, Base, Cell, Loan, Tag, User, add, users

pytestmark = pytest.mark.tables(Base.metadata)


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
            with pytest.raises(VersionConflict, match="the client expected one of 1, 7") as caught:
                await repository.update(user, {"email": "newer"}, expected_version={1, 7})

        assert (caught.value.expected, caught.value.current) == (frozenset({1, 7}), 2)


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
