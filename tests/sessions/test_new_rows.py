"""New rows: a relation is called empty where its rows cannot be there, and only there."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import ForeignKey, ForeignKeyConstraint, Integer, String, and_, insert, or_, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import (
    Mapped,
    WriteOnlyMapped,
    attribute_keyed_dict,
    foreign,
    mapped_column,
    relationship,
    remote,
)

import sqlkeel
from sqlkeel.errors import UnloadedAttribute
from sqlkeel.models import DualIDMixin, IntKeyMixin, UUIDKeyMixin, association, child, children, parent
from sqlkeel.observe import queries
from sqlkeel.repository import Repository
from sqlkeel.sessions import Database


class Base(sqlkeel.Base):
    pass


class User(DualIDMixin, Base):
    __tablename__ = "user"
    code: Mapped[str | None] = mapped_column(String(10), unique=True)
    boss_id: Mapped[int | None] = mapped_column(ForeignKey("user.id"), index=True)
    boss: Mapped[User | None] = parent(remote_side="User.id", on_delete="set null")
    articles: Mapped[list[Article]] = children(back_populates="author")
    by_title: Mapped[dict[str, Article]] = relationship(
        collection_class=attribute_keyed_dict("title"), overlaps="articles,author"
    )
    live: Mapped[list[Article]] = relationship(
        primaryjoin=lambda: and_(User.id == foreign(Article.author_id), Article.title == "live"),
        overlaps="articles,author,by_title",
    )
    public: Mapped[list[Article]] = relationship(
        primaryjoin=lambda: or_(User.id == foreign(Article.author_id), Article.title == "public"),
        overlaps="articles,author,by_title,live",
    )
    shown: Mapped[list[Article]] = relationship(viewonly=True)
    archive: WriteOnlyMapped[Article] = relationship(viewonly=True)
    profile: Mapped[Profile | None] = child()
    logs: Mapped[list[Log]] = relationship(primaryjoin=lambda: User.id == foreign(Log.user_no))
    groups: Mapped[set[Group]] = association("user_group")
    stamps: Mapped[list[Stamp]] = relationship(passive_deletes=True, cascade="all")
    badges: Mapped[list[Badge]] = relationship(passive_deletes=True, cascade="all")


class Article(IntKeyMixin, Base):
    __tablename__ = "article"
    title: Mapped[str] = mapped_column(String(10), default="t")
    author_id: Mapped[int | None] = mapped_column(ForeignKey("user.id"), index=True)
    author: Mapped[User | None] = parent(back_populates="articles")


class Profile(IntKeyMixin, Base):
    __tablename__ = "profile"
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id"), unique=True)


class Log(IntKeyMixin, Base):
    __tablename__ = "log"
    user_no: Mapped[int] = mapped_column(Integer())


class Group(IntKeyMixin, Base):
    __tablename__ = "group"


class UserGroup(Base):
    __tablename__ = "user_group"
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id"), primary_key=True)
    group_id: Mapped[int] = mapped_column(ForeignKey("group.id"), primary_key=True)


class Stamp(IntKeyMixin, Base):
    """Points to the user by what the program makes, not by the key."""

    __tablename__ = "stamp"
    user: Mapped[uuid.UUID] = mapped_column(ForeignKey("user.public_id", ondelete="CASCADE"), index=True)


class Badge(IntKeyMixin, Base):
    """Points to the user by a code that the caller chooses."""

    __tablename__ = "badge"
    code: Mapped[str] = mapped_column(ForeignKey("user.code", ondelete="CASCADE"), index=True)


class Customer(Base):
    __tablename__ = "customer"
    code: Mapped[str] = mapped_column(String(10), primary_key=True)
    orders: Mapped[list[Order]] = relationship(primaryjoin=lambda: Customer.code == foreign(Order.customer_code))
    bills: Mapped[list[Bill]] = children()


class Order(IntKeyMixin, Base):
    __tablename__ = "order"
    customer_code: Mapped[str] = mapped_column(String(10))


class Bill(IntKeyMixin, Base):
    __tablename__ = "bill"
    customer_code: Mapped[str] = mapped_column(ForeignKey("customer.code"), index=True)


class Shop(UUIDKeyMixin, Base):
    __tablename__ = "shop"
    goods: Mapped[list[Good]] = children()


class Good(IntKeyMixin, Base):
    __tablename__ = "good"
    shop_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("shop.id"), index=True)


class Folder(IntKeyMixin, Base):
    __tablename__ = "folder"
    path: Mapped[str] = mapped_column(String(50), default="/a")
    below: Mapped[list[Folder]] = relationship(
        primaryjoin=lambda: remote(foreign(Folder.path)).like(Folder.path.concat("/%")), viewonly=True
    )


class Animal(IntKeyMixin, Base):
    __tablename__ = "animal"
    kind: Mapped[str] = mapped_column(String(10))
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "animal"}


class Dog(Animal):
    __tablename__ = "dog"
    id: Mapped[int] = mapped_column(ForeignKey("animal.id", ondelete="CASCADE"), primary_key=True)
    toys: Mapped[list[Toy]] = relationship(passive_deletes=True, cascade="all")
    __mapper_args__ = {"polymorphic_identity": "dog"}


class Toy(IntKeyMixin, Base):
    __tablename__ = "toy"
    dog_id: Mapped[int] = mapped_column(ForeignKey("dog.id", ondelete="CASCADE"), index=True)


class Tenant(Base):
    __tablename__ = "tenant"
    region: Mapped[str] = mapped_column(String(5), primary_key=True)
    number: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    seats: Mapped[list[Seat]] = children()


class Seat(IntKeyMixin, Base):
    __tablename__ = "seat"
    region: Mapped[str] = mapped_column(String(5))
    number: Mapped[uuid.UUID] = mapped_column()
    __table_args__ = (ForeignKeyConstraint(["region", "number"], ["tenant.region", "tenant.number"]),)


pytestmark = pytest.mark.tables(Base.metadata)


class TestEmpty:
    async def test_what_cannot_be_there_is_empty(self, every_driver: Database) -> None:
        """Rows that point by a foreign key to what was made with the row are not there, whatever else is demanded."""
        async with every_driver.transaction() as session:
            user = await Repository(session, User).create()
            async with queries(every_driver, exactly=0):
                assert (user.articles, user.by_title, user.live, user.stamps) == ([], {}, [], [])
                assert (user.groups, user.profile, user.boss) == (set(), None, None)

    @pytest.mark.parametrize(
        ("model", "relation", "values"),
        [(Shop, "goods", {}), (Dog, "toys", {}), (Tenant, "seats", {"region": "eu"})],
    )
    async def test_whoever_made_the_key(
        self, every_driver: Database, model: Any, relation: str, values: dict[str, Any]
    ) -> None:
        """A UUID, the key of two joined tables, and a key of which a part was made are new to everybody."""
        async with every_driver.transaction() as session:
            obj = await Repository(session, model).create(**values)

            assert getattr(obj, relation) == []

    async def test_an_empty_collection_takes_rows(self, every_driver: Database) -> None:
        """Lists, sets and dictionaries can be filled, and are written."""
        async with every_driver.transaction() as session:
            users = Repository(session, User)
            user = await users.create()
            user.by_title["x"] = Article(title="x")
            user.groups.add(Group())
            user.profile = Profile()
            await session.flush()

        async with every_driver.session() as session:
            [user] = await Repository(session, User).get_all(load=[User.articles, User.groups, User.profile])
            assert (len(user.articles), len(user.groups)) == (1, 1)
            assert user.profile is not None


class TestUnknown:
    @pytest.mark.parametrize("relation", ["public", "shown", "logs", "badges"])
    async def test_what_may_be_there_is_not_called_empty(self, every_driver: Database, relation: str) -> None:
        """A join by another condition, without a foreign key, or by a value that was not made here is to be loaded."""
        async with every_driver.transaction() as session:
            user = await Repository(session, User).create(code="chosen")
            with pytest.raises(UnloadedAttribute):
                getattr(user, relation)

            await user.awaitable_attrs.articles

    async def test_rows_that_were_there_are_found(self, every_driver: Database) -> None:
        """Rows without a foreign key, and public ones, belong to the new row."""
        async with every_driver.transaction() as session:
            session.add_all([Log(user_no=7), Article(title="public"), Order(customer_code="x")])
            await session.flush()
            user = await Repository(session, User).create(id=7)
            customer = await Repository(session, Customer).create(code="x")

            assert len(await user.awaitable_attrs.logs) == 1
            assert len(await user.awaitable_attrs.public) == 1
            assert len(await customer.awaitable_attrs.orders) == 1

    async def test_rows_that_wait_for_the_key_are_found(self, every_driver: Database) -> None:
        """Rows that name a key which the caller chose are written with the row, and found."""
        key = uuid.uuid4()

        async with every_driver.transaction() as session:
            session.add(Good(shop_id=key))
            shop = await Repository(session, Shop).create(id=key)
            session.add(Bill(customer_code="x"))
            customer = await Repository(session, Customer).create(code="x")

            assert len(await shop.awaitable_attrs.goods) == 1
            assert len(await customer.awaitable_attrs.bills) == 1

    async def test_two_relations_to_the_same_rows(self, every_driver: Database) -> None:
        """Where rows were given by one relation, another one to the same table is not called empty."""
        async with every_driver.transaction() as session:
            user = await Repository(session, User).create(articles=[Article(title="live")])

            assert len(await user.awaitable_attrs.live) == 1
            assert list(await user.awaitable_attrs.by_title) == ["live"]
            assert user.profile is None

    async def test_a_tree_by_its_path(self, every_driver: Database) -> None:
        """A join that is no equality says nothing of a new row."""
        async with every_driver.transaction() as session:
            folders = Repository(session, Folder)
            await folders.create(path="/a/b")
            top = await folders.create()

            assert [folder.path for folder in await top.awaitable_attrs.below] == ["/a/b"]

    async def test_a_named_parent_is_to_be_loaded(self, every_driver: Database) -> None:
        """A row that names its parent by key has one."""
        async with every_driver.transaction() as session:
            users = Repository(session, User)
            boss = await users.create()
            user = await users.create(boss_id=boss.id)

            assert await user.awaitable_attrs.boss is boss


INSERTS: dict[str, Callable[[AsyncSession, int, int], Awaitable[Any]]] = {
    "create": lambda session, key, there: Repository(session, Article).create(author_id=key),
    "insert_many": lambda session, key, there: Repository(session, Article).insert_many([{"author_id": key}]),
    "statement": lambda session, key, there: session.execute(insert(Article).values(author_id=key)),
    "update_many": lambda session, key, there: Repository(session, Article).update_many(
        [{"id": there, "author_id": key}]
    ),
    "update": lambda session, key, there: session.execute(update(Article).values(author_id=key)),
}


class TestRowsOfThisSession:
    @pytest.mark.parametrize("verb", INSERTS)
    async def test_a_collection_that_got_rows_is_not_called_empty(self, every_driver: Database, verb: str) -> None:
        """A row that this session writes below the new one makes the collection unknown, by whatever verb."""
        async with every_driver.transaction() as session:
            there = await Repository(session, Article).create(author=User())

        async with every_driver.transaction() as session:
            user = await Repository(session, User).create()
            await INSERTS[verb](session, user.id, there.id)

            with pytest.raises(UnloadedAttribute):
                _ = user.articles
            assert len(await user.awaitable_attrs.articles) == 1

    async def test_a_collection_that_has_rows_gets_others(self, every_driver: Database) -> None:
        """One that was filled by hand, and lacks a row that was inserted by its key, is unknown, too."""
        async with every_driver.transaction() as session:
            user = await Repository(session, User).create()
            user.articles.append(Article())
            await session.flush()
            await Repository(session, Article).create(author_id=user.id)

            assert len(await user.awaitable_attrs.articles) == 2

    async def test_rows_of_others_leave_it_empty(self, every_driver: Database) -> None:
        """What is inserted below another row says nothing."""
        async with every_driver.transaction() as session:
            user, other = await Repository(session, User).create(), await Repository(session, User).create()
            await Repository(session, Article).create(author_id=other.id)

            assert user.articles == []

    async def test_what_is_appended_stays(self, every_driver: Database) -> None:
        """A collection that is filled itself has what it was given."""
        async with every_driver.transaction() as session:
            user = await Repository(session, User).create()
            await Repository(session, Article).create(author=user)
            user.articles.append(Article())
            await session.flush()

            assert len(user.articles) == 2
