"""Loading again: what a second read asks for is fresh, and what the first one loaded stays."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import ForeignKey, String, update
from sqlalchemy.orm import Mapped, deferred, mapped_column, relationship, selectinload, undefer

import sqlkeel
from sqlkeel.errors import UnknownField, UnloadedAttribute
from sqlkeel.models import IntKeyMixin, association, child, children, parent
from sqlkeel.observe import queries
from sqlkeel.repository import Repository
from sqlkeel.sessions import Database
from sqlkeel.versions import VersionMixin


class Base(sqlkeel.Base):
    pass


class User(IntKeyMixin, VersionMixin, Base):
    __tablename__ = "user"
    name: Mapped[str] = mapped_column(String(20))
    note: Mapped[str | None] = deferred(mapped_column(String(20)))
    articles: Mapped[list[Article]] = children(back_populates="author", order_by="Article.id")
    roles: Mapped[list[Role]] = children()
    profile: Mapped[Profile | None] = child()


class Article(IntKeyMixin, Base):
    __tablename__ = "article"
    author_id: Mapped[int] = mapped_column(ForeignKey("user.id"), index=True)
    author: Mapped[User] = parent(back_populates="articles")
    tags: Mapped[list[Tag]] = children()
    labels: Mapped[set[Label]] = association("article_label")


class ArticleLabel(Base):
    __tablename__ = "article_label"
    article_id: Mapped[int] = mapped_column(ForeignKey("article.id"), primary_key=True)
    label_id: Mapped[int] = mapped_column(ForeignKey("label.id"), primary_key=True)


class Label(IntKeyMixin, Base):
    __tablename__ = "label"


class Tag(IntKeyMixin, Base):
    __tablename__ = "tag"
    article_id: Mapped[int] = mapped_column(ForeignKey("article.id"), index=True)


class Role(IntKeyMixin, Base):
    __tablename__ = "role"
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id"), index=True)


class Profile(IntKeyMixin, Base):
    __tablename__ = "profile"
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id"), unique=True)


class Owner(IntKeyMixin, Base):
    __tablename__ = "owner"
    animals: Mapped[list[Animal]] = children(back_populates="owner")


class Animal(IntKeyMixin, Base):
    __tablename__ = "animal"
    kind: Mapped[str] = mapped_column(String(20))
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("owner.id"), index=True)
    owner: Mapped[Owner | None] = parent(back_populates="animals")
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "animal"}


class Dog(Animal):
    __tablename__ = "dog"
    id: Mapped[int] = mapped_column(ForeignKey("animal.id", ondelete="CASCADE"), primary_key=True)
    breed: Mapped[str | None] = mapped_column(String(20))
    kennel_id: Mapped[int | None] = mapped_column(ForeignKey("kennel.id"), index=True)
    kennel: Mapped[Kennel | None] = parent(on_delete="set null")
    toys: Mapped[list[Toy]] = relationship(passive_deletes=True, cascade="all")
    __mapper_args__ = {"polymorphic_identity": "dog"}


class Cat(Animal):
    lives: Mapped[list[Life]] = relationship(passive_deletes=True, cascade="all")
    __mapper_args__ = {"polymorphic_identity": "cat"}


class Kennel(IntKeyMixin, Base):
    __tablename__ = "kennel"


class Toy(IntKeyMixin, Base):
    __tablename__ = "toy"
    dog_id: Mapped[int] = mapped_column(ForeignKey("dog.id", ondelete="CASCADE"), index=True)
    parts: Mapped[list[Part]] = children()


class Part(IntKeyMixin, Base):
    __tablename__ = "part"
    toy_id: Mapped[int] = mapped_column(ForeignKey("toy.id"), index=True)


class Life(IntKeyMixin, Base):
    __tablename__ = "life"
    cat_id: Mapped[int] = mapped_column(ForeignKey("animal.id", ondelete="CASCADE"), index=True)


pytestmark = pytest.mark.tables(Base.metadata)


async def fill(db: Database) -> int:
    """Commit a user with two articles, a role and a profile, and return the key."""
    async with db.transaction() as session:
        articles = [Article(tags=[Tag()], labels={Label()}), Article(tags=[Tag(), Tag()])]
        user = User(name="old", note="n", articles=articles, roles=[Role()], profile=Profile())
        session.add(user)
        await session.flush()
        return user.id


async def add_elsewhere(db: Database, *rows: Any) -> None:
    """Commit rows as another program would."""
    async with db.transaction(durable=True) as session:
        session.add_all(rows)


class TestKept:
    async def test_other_relations_stay(self, every_driver: Database) -> None:
        """A second get() of an object unloads no relation and no column that the first one has loaded."""
        key = await fill(every_driver)

        async with every_driver.session() as session:
            users = Repository(session, User)
            user = await users.get_one(key, load=[User.roles, User.profile, undefer(User.note)])
            again = await users.get_one(key, load=[User.articles])

            assert again is user
            assert (len(user.roles), user.note, len(user.articles)) == (1, "n", 2)
            assert user.profile is not None

    async def test_what_the_path_reaches_stays(self, every_driver: Database) -> None:
        """Other objects that the second read reaches keep what they have loaded."""
        key = await fill(every_driver)

        async with every_driver.session() as session:
            articles = await Repository(session, Article).get_all(load=[Article.tags, Article.labels])
            user = await Repository(session, User).get_one(key, load=[User.articles])

            assert user.articles == articles
            assert [len(article.tags) for article in articles] == [1, 2]
            assert [len(article.labels) for article in articles] == [1, 0]
            assert articles[0].author is user

    async def test_what_a_new_row_has_stays(self, every_driver: Database) -> None:
        """The empty collections of a row that create() made stay when another is loaded."""
        async with every_driver.transaction() as session:
            users = Repository(session, User)
            user = await users.create(name="new")
            await users.get_one(user.id, load=[User.articles])

            assert (user.articles, user.roles, user.profile) == ([], [], None)

    @pytest.mark.parametrize("autoflush", [True, False])
    async def test_a_change_that_waits_stays(self, every_driver: Database, autoflush: bool) -> None:
        """What was changed and is not written is neither overwritten nor lost, flushed by the read or not."""
        key = await fill(every_driver)

        async with every_driver.session() as session:
            session.sync_session.autoflush = autoflush
            users = Repository(session, User)
            user = await users.get_one(key, load=[User.articles])
            user.name = "new"
            user.articles.append(Article())
            await users.get_one(key, load=[User.articles, User.roles])
            await session.commit()

        async with every_driver.session() as session:
            user = await Repository(session, User).get_one(key, load=[User.articles])
            assert (user.name, len(user.articles), user.version) == ("new", 3, 2)

    async def test_what_the_query_does_not_bring_comes_back(self, every_driver: Database) -> None:
        """A row that is gone meanwhile leaves the object as it was."""
        key = await fill(every_driver)

        async with every_driver.read() as session:
            users = Repository(session, User)
            user = await users.get_one(key, load=[(User.articles, Article.tags)])
            async with every_driver.transaction(durable=True) as other:
                await other.delete(await other.get_one(User, key))
            gone = await users.get(key, load=[(User.articles, Article.tags)])

            assert gone is None
            assert [len(article.tags) for article in user.articles] == [1, 2]

    async def test_a_column_stays_as_it_was_read(self, every_driver: Database) -> None:
        """As with get() of SQLAlchemy, what was read of a column before is not read anew."""
        key = await fill(every_driver)

        async with every_driver.read() as session:
            users = Repository(session, User)
            user = await users.get_one(key)
            async with every_driver.transaction(durable=True) as other:
                await other.execute(update(User).values(name="elsewhere"))
            await users.get_one(key, load=[User.articles])

            assert user.name == "old"


class TestFresh:
    async def test_what_is_asked_for_is_read_anew(self, every_driver: Database) -> None:
        """A collection that is named shows what others have added since it was loaded, at each step of a path."""
        key = await fill(every_driver)

        async with every_driver.read() as session:
            users = Repository(session, User)
            user = await users.get_one(key, load=[(User.articles, Article.tags), User.profile])
            await add_elsewhere(
                every_driver, Article(author_id=key), *(Tag(article_id=article.id) for article in user.articles)
            )
            await users.get_one(key, load=[(User.articles, Article.tags), User.profile])

            assert [len(article.tags) for article in user.articles] == [2, 3, 0]

    async def test_two_paths_through_one_relation_are_read_anew(self, every_driver: Database) -> None:
        """Each of two paths that begin with the same step shows what others have added at its end."""
        key = await fill(every_driver)
        load: list[Any] = [(User.articles, Article.tags), (User.articles, Article.labels)]

        async with every_driver.read() as session:
            users = Repository(session, User)
            user = await users.get_one(key, load=load)
            async with every_driver.transaction(durable=True) as writer:
                for article in await Repository(writer, Article).get_all(load=[Article.labels]):
                    article.labels.add(Label())
                    writer.add(Tag(article_id=article.id))
            await users.get_one(key, load=load)

            assert [len(article.tags) for article in user.articles] == [2, 3]
            assert [len(article.labels) for article in user.articles] == [2, 1]

    async def test_a_circle_is_read_anew(self, every_driver: Database) -> None:
        """A path that leads back to where it began ends there."""
        key = await fill(every_driver)

        async with every_driver.session() as session:
            users = Repository(session, User)
            load: list[Any] = [(User.articles, Article.author, User.roles)]
            user = await users.get_one(key, load=load)
            await users.get_one(key, load=load)

            assert (len(user.roles), user.articles[0].author is user) == (1, True)

    async def test_a_single_row_is_read_anew(self, every_driver: Database) -> None:
        """A parent that has changed is the new one, and one that was set and is not written stays."""
        key = await fill(every_driver)
        async with every_driver.transaction() as session:
            other = (await Repository(session, User).create(name="other")).id

        async with every_driver.read() as session:
            articles = Repository(session, Article)
            article = (await articles.get_all(load=[Article.author]))[0]
            async with every_driver.transaction(durable=True) as writer:
                await writer.execute(update(Article).values(author_id=other))
            await articles.get_one(article.id, load=[Article.author])

            assert (key, article.author.id) == (key, other)

    @pytest.mark.parametrize("question", ["get_one", "one_or_none", "get_many", "get_all", "page", "iterate"])
    async def test_what_was_called_empty_is_looked_at(self, every_driver: Database, question: str) -> None:
        """A collection that was empty when its row was made shows the rows that came by their foreign key."""
        async with every_driver.transaction() as session:
            users = Repository(session, User)
            user = await users.create(name="new")
            await Repository(session, Article).create(author_id=user.id)
            await ask(users, question, user.id)

            assert len(user.articles) == 1
            assert user.roles == []

    async def test_what_was_called_empty_elsewhere_stays(self, every_driver: Database) -> None:
        """A row that the query does not bring keeps its empty collection."""
        async with every_driver.transaction() as session:
            users = Repository(session, User)
            first, second = await users.create(name="a"), await users.create(name="b")
            await users.get_all(User.id == second.id, load=[User.articles])

            assert first.articles == second.articles == []

    async def test_it_costs_no_statement_more(self, db: Database) -> None:
        """A second read of a collection is the two statements of the first."""
        key = await fill(db)

        async with db.session() as session:
            users = Repository(session, User)
            user = await users.get_one(key, load=[User.articles])
            async with queries(db, exactly=2):
                assert await users.get_one(key, load=[User.articles]) is user
            async with queries(db, exactly=0):
                await users.get_one(key)


async def ask(users: Repository[User], question: str, key: int) -> None:
    """Load the articles of a user with one of the questions."""
    load = [User.articles]
    asked: dict[str, Any] = {
        "get_one": lambda: users.get_one(key, load=load),
        "one_or_none": lambda: users.one_or_none(User.id == key, load=load),
        "get_many": lambda: users.get_many([key], load=load),
        "get_all": lambda: users.get_all(load=load),
        "page": lambda: users.page(load=load),
        "iterate": lambda: anext(users.iterate(load=load)),
    }
    await asked[question]()


async def fill_animals(db: Database) -> None:
    """Commit an owner with a dog, a cat, and what belongs to them."""
    async with db.transaction() as session:
        dog = Dog(breed="pug", toys=[Toy(parts=[Part(), Part()])], kennel=Kennel())
        session.add(Owner(animals=[dog, Cat(lives=[Life()]), Animal()]))


class TestSubclasses:
    async def test_a_relation_of_a_subclass_is_loaded(self, every_driver: Database) -> None:
        """Rows of the base class come with what only a subclass has, single rows and collections."""
        await fill_animals(every_driver)

        async with every_driver.session() as session:
            animals = await Repository(session, Animal).get_all(
                load=[(Dog.toys, Toy.parts), Dog.kennel, Cat.lives, Animal.owner]
            )

            dog, cat, other = animals
            assert [len(toy.parts) for toy in dog.toys] == [2]  # type: ignore[attr-defined]
            assert dog.kennel is not None  # type: ignore[attr-defined]
            assert dog.breed == "pug"  # type: ignore[attr-defined]
            assert len(cat.lives) == 1  # type: ignore[attr-defined]
            assert other.owner is cat.owner

    @pytest.mark.parametrize("question", ["get_one", "page", "iterate", "one_or_none", "get_many"])
    async def test_by_every_question(self, every_driver: Database, question: str) -> None:
        """Each question loads it."""
        await fill_animals(every_driver)

        async with every_driver.session() as session:
            animals: Any = Repository(session, Animal)
            [dog] = await Repository(session, Dog).get_all()
            session.expunge_all()
            load: list[Any] = [Dog.toys]
            asked: dict[str, Any] = {
                "get_one": lambda: animals.get_one(dog.id, load=load),
                "one_or_none": lambda: animals.one_or_none(Animal.id == dog.id, load=load),
                "get_many": lambda: animals.get_many([dog.id], load=load),
                "page": lambda: animals.page(load=load),
                "iterate": lambda: anext(animals.iterate(load=load)),
            }
            answer = await asked[question]()
            found = next(iter(answer)) if question in {"get_many", "page"} else answer

            assert len(found.toys) == 1

    async def test_in_the_middle_of_a_path(self, every_driver: Database) -> None:
        """A path may go on from rows of a subclass, and loads the others too."""
        await fill_animals(every_driver)

        async with every_driver.session() as session:
            [owner] = await Repository(session, Owner).get_all(
                load=[(Owner.animals, Dog.toys, Toy.parts), (Owner.animals, Cat.lives)]
            )

            assert len(owner.animals) == 3
            assert len(owner.animals[0].toys[0].parts) == 2  # type: ignore[attr-defined]
            assert len(owner.animals[1].lives) == 1  # type: ignore[attr-defined]

    async def test_of_a_type_named_by_the_caller(self, every_driver: Database) -> None:
        """of_type() says itself what is loaded."""
        await fill_animals(every_driver)

        async with every_driver.session() as session:
            [owner] = await Repository(session, Owner).get_all(load=[(Owner.animals.of_type(Dog), Dog.toys)])

            assert len(next(animal for animal in owner.animals if isinstance(animal, Dog)).toys) == 1

    async def test_a_relation_of_the_base_class_is_the_subclass_s(self, every_driver: Database) -> None:
        """What the base class has, the subclass has."""
        await fill_animals(every_driver)

        async with every_driver.session() as session:
            [dog] = await Repository(session, Dog).get_all(load=[Animal.owner, (Animal.owner, Owner.animals)])

            assert dog.owner is not None
            assert len(dog.owner.animals) == 3


class TestMisuse:
    @pytest.mark.parametrize("load", [User.articles, selectinload(User.articles), "articles", None, 1])
    @pytest.mark.parametrize("question", ["get_all", "get", "one_or_none", "page"])
    async def test_missing_brackets_are_named(self, sqlite: Database, question: str, load: Any) -> None:
        """What is not a list is refused with the brackets to type."""
        key: list[Any] = [1] if question == "get" else []

        async with sqlite.session() as session:
            with pytest.raises(UnknownField, match=r"not a list of relationships[\s\S]*load=\["):
                await getattr(Repository(session, User), question)(*key, load=load)

    @pytest.mark.parametrize(
        "load", [[User.articles, Article.tags], (User.articles, Article.tags), [(User.articles, User.roles)], [Tag]]
    )
    async def test_a_relation_of_another_model_is_refused(self, sqlite: Database, load: Any) -> None:
        """A path whose brackets are missing, or that goes on from elsewhere, is named before a statement is sent."""
        async with sqlite.session() as session:
            with pytest.raises(UnknownField):
                await Repository(session, User).get_all(load=load)

    async def test_what_is_not_asked_for_stays_unloaded(self, sqlite: Database) -> None:
        """Loading one relation loads no other."""
        key = await fill(sqlite)

        async with sqlite.session() as session:
            user = await Repository(session, User).get_one(key, load=[User.roles])
            with pytest.raises(UnloadedAttribute):
                _ = user.articles
