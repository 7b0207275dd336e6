"""What a type checker refuses; a line that is accepted fails, because what it says beside it is not needed then.

Neither checker can tell whose attribute it is given: ``Article.title`` is an ``InstrumentedAttribute[str]``, as
``User.email`` is, and so is what a relationship gives. Such a line is refused when it runs.
"""

from __future__ import annotations

from sqlalchemy import desc
from sqlalchemy.orm import Mapped

import sqlkeel
from sqlkeel import Database, DualIDMixin, Repository, Session, bulk, children
from sqlkeel.sessions import IsolationLevel, retry_on_conflict


class Base(sqlkeel.Base):
    """A project's base."""


class Article(DualIDMixin, Base):
    """Something written."""

    __tablename__ = "article"
    title: Mapped[str]


class User(DualIDMixin, Base):
    """Somebody."""

    __tablename__ = "user"
    email: Mapped[str]
    articles: Mapped[list[Article]] = children()


async def orders(users: Repository[User]) -> None:
    """An order is made of columns: one or several, plain or turned."""
    await users.get_all(order_by=User.email)
    await users.get_all(order_by=[User.email.desc(), User.id])
    await users.page(order_by=(desc(User.email), User.__table__.c.id))
    await users.get_all(order_by="email")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await users.get_all(order_by=["email"])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    await users.page(order_by="-email")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    users.iterate(order_by="email")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def loads(users: Repository[User]) -> None:
    """What is loaded is a list of relationships, paths and options."""
    await users.get(1, load=[User.articles])
    await users.get(1, load=User.articles)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await users.get_one(1, load="articles")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await users.get_all(load=["articles"])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    await users.page(load=[("articles",)])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]


async def attributes(session: Session, users: Repository[User]) -> None:
    """A unique key and what is updated are lists of attributes, not their names."""
    row = {"email": "a"}
    await users.upsert(row, on=[User.email], update=[User.email])
    await users.upsert(row, on="email")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await users.upsert(row, on=["email"])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    await users.upsert(row, on=User.email)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await users.upsert(row, on=[User.email], update=["email"])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    await users.upsert_many([row], on=["email"])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    await users.upsert_many([row], on=[User.email], update="email")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await bulk.upsert(session, User, row, on=["email"])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    await bulk.upsert_many(session, User, [row], on="email")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def values(users: Repository[User], user: User) -> None:
    """What a row is given is a mapping, or keywords, or both."""
    await users.create({"email": "a"}, email="b")
    await users.update(user, email="b", expected_version=1)
    await users.get_or_create(email="b", defaults={"email": "c"})
    await users.upsert(email="b", on=[User.email])
    await users.create(user)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await users.update(user, [("email", "b")])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await users.upsert(email="b")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def conditions(users: Repository[User]) -> None:
    """A condition is a comparison."""
    await users.one(User.email == "a")
    await users.get_all({"email": "a"})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await users.count(email="a")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await users.one(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def objects(users: Repository[User], article: Article) -> None:
    """What changes one row takes its object, of the right model."""
    await users.update(1, {"email": "b"})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await users.touch(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await users.delete(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await users.delete(article)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await users.restore(article)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def repositories(session: Session, db: Database) -> None:
    """A repository is made of a session and a model, in this order."""
    Repository(session, User)
    Repository(User, session)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Repository(db, User)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def work(session: Session) -> None:
    """Be a unit of work."""


async def levels(db: Database, level: str) -> None:
    """An isolation level is one of four words."""
    known: IsolationLevel = "repeatable read"
    async with db.transaction(isolation=known):
        await db.run_transaction(work, isolation="READ COMMITTED")
    async with db.transaction(isolation="serialisable"):  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        pass
    async with db.transaction(isolation=level):  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        pass
    await db.run_transaction(work, isolation="snapshot")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    db.transactional(isolation="snapshot")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    retry_on_conflict(db, isolation="snapshot")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def blocks(db: Database, session: Session) -> None:
    """A block is entered by ``async with``."""
    with db.transaction():  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues]
        pass
    with session.savepoint():  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues]
        pass
