"""Models that a project has made in its own way: with the mixins they do what a class of `sqlkeel.Base` does."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    DateTime,
    Integer,
    MetaData,
    StaticPool,
    String,
    Table,
    Uuid,
    create_engine,
    select,
    text,
    update,
)
from sqlalchemy.ext.automap import automap_base
from sqlalchemy.ext.declarative import DeferredReflection
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, declarative_base, mapped_column, registry

from sqlkeel import DualIDMixin, IntKeyMixin, Repository, SoftDeleteMixin, TimestampMixin, UTCDateTime, VersionMixin
from sqlkeel.errors import ConfigurationError, VersionConflict
from sqlkeel.models._mixed_columns import with_columns
from sqlkeel.sessions import Database

LONG_AGO = text("'2020-01-01 00:00:00'")


def columns() -> list[Column[Any]]:
    """Return what stands in the database already."""
    return [
        Column("id", Integer, primary_key=True),
        Column("name", String(20), unique=True),
        Column("version", Integer, nullable=False, server_default="1"),
        Column("deleted_at", UTCDateTime()),
        Column("deletion_id", Uuid()),
        Column("created_at", UTCDateTime(), server_default=LONG_AGO, nullable=False),
        Column("updated_at", UTCDateTime(), server_default=LONG_AGO, nullable=False),
    ]


metadata = MetaData()
Table("doc", metadata, *columns())
ENGINE = create_engine("sqlite://", poolclass=StaticPool)
metadata.create_all(ENGINE)
pytestmark = pytest.mark.tables(metadata)


class Plain(DeclarativeBase):
    """A plain base."""


class PlainDoc(SoftDeleteMixin, VersionMixin, TimestampMixin, Plain):
    """A class of a plain base."""

    __tablename__ = "doc"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(20))


class Data(MappedAsDataclass, DeclarativeBase, kw_only=True):
    """A base of dataclasses."""


class DataDoc(SoftDeleteMixin, VersionMixin, TimestampMixin, Data):
    """A dataclass."""

    __tablename__ = "doc"
    id: Mapped[int] = mapped_column(primary_key=True, init=False)
    name: Mapped[str] = mapped_column(String(20))


OldBase = declarative_base()


class OldDoc(SoftDeleteMixin, VersionMixin, TimestampMixin, OldBase):  # type: ignore[valid-type,misc]
    """A class as one wrote them for SQLAlchemy 1."""

    __tablename__ = "doc"
    id = Column(Integer, primary_key=True)
    name = Column(String(20))


class ImperativeDoc(SoftDeleteMixin, VersionMixin, TimestampMixin):
    """A class that knows nothing of its table."""

    def __init__(self, name: str) -> None:
        self.name = name


registry(metadata=(imperative := MetaData())).map_imperatively(ImperativeDoc, Table("doc", imperative, *columns()))


class Deferred(DeferredReflection, DeclarativeBase):
    """A base of classes that ask the database."""


class DeferredDoc(SoftDeleteMixin, VersionMixin, TimestampMixin, Deferred):
    """A class whose columns are those of the database."""

    __tablename__ = "doc"


Deferred.prepare(ENGINE)
Auto = automap_base()


class AutoDoc(SoftDeleteMixin, VersionMixin, TimestampMixin, Auto):  # type: ignore[valid-type,misc]
    """A class of automap that is there before the others are made."""

    __tablename__ = "doc"


Auto.prepare(autoload_with=ENGINE)


class Hybrid(DeclarativeBase):
    """A base of classes with tables."""


class HybridDoc(SoftDeleteMixin, VersionMixin, TimestampMixin, Hybrid):
    """A class with a reflected table, of which the columns that no database tells apart are written out."""

    __table__ = Table("doc", Hybrid.metadata, *columns()[3:], autoload_with=ENGINE)


class NamesItself:
    """What Flask-SQLAlchemy does: the base of a model finds its table's name."""

    def __init_subclass__(cls, **options: Any) -> None:
        if DeclarativeBase not in cls.__bases__:
            cls.__tablename__ = cls.__name__.removeprefix("Flask").lower()  # type: ignore[attr-defined]
        super().__init_subclass__(**options)


class Model(NamesItself, DeclarativeBase):
    """The base of such a library."""


class FlaskDoc(SoftDeleteMixin, VersionMixin, TimestampMixin, Model):
    """A class of such a base."""

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(20))


ENGINE.dispose()
MODELS: list[Any] = [PlainDoc, DataDoc, OldDoc, ImperativeDoc, DeferredDoc, AutoDoc, HybridDoc, FlaskDoc]
every_model = pytest.mark.parametrize("model", MODELS)
SHOWN = {"include_deleted": True}


@every_model
class TestModels:
    async def test_a_change_is_counted_and_dated(self, db: Database, model: Any) -> None:
        """By a flush, by ``update()``, in bulk: what the mixin says, whoever made the table."""
        async with db.transaction() as session:
            doc = model(name="one")
            session.add(doc)
            await session.flush()
            before, doc.name = doc.updated_at, "two"
            await session.flush()
            flushed = doc.version, doc.updated_at
            await session.execute(update(model).values(name="three"))
            stated = doc.version
            await Repository(session, model).update_many([{"id": doc.id, "name": "four"}])

            assert (flushed[0], stated, doc.version, doc.name) == (2, 3, 4, "four")
            assert flushed[1] > before or model in {PlainDoc, DataDoc, OldDoc, FlaskDoc}
            assert isinstance(doc.updated_at, datetime)
            assert doc.updated_at.tzinfo is not None

    async def test_a_lost_update_is_a_conflict(self, db: Database, model: Any) -> None:
        """With both versions."""
        async with db.session() as session:
            doc = model(name="one")
            session.add(doc)
            await session.commit()
            async with db.transaction() as other:
                (await other.get_one(model, doc.id)).name = "theirs"
            doc.name = "mine"

            with pytest.raises(VersionConflict) as caught:
                await session.commit()

        assert (caught.value.expected, caught.value.current) == (1, 2)

    async def test_a_deletion_marks(self, db: Database, model: Any) -> None:
        """And is taken back."""
        async with db.transaction() as session:
            docs = Repository(session, model)
            doc = await docs.create(name="one")
            await docs.delete(doc)
            hidden = (await session.scalars(select(model))).all()
            marked = await session.scalar(select(model.deleted_at), execution_options=SHOWN)
            await docs.restore(doc)

            assert (hidden, marked.tzinfo is not None) == ([], True)
            assert [found.name for found in await docs.get_all()] == ["one"]

    async def test_the_verbs_of_a_repository(self, db: Database, model: Any) -> None:
        """Rows in bulk, upserts, pages."""
        async with db.transaction() as session:
            docs = Repository(session, model)
            await docs.insert_many([{"name": name} for name in "abc"])
            page = await docs.page(order_by=model.name, size=2)

            assert [doc.name for doc in page.items] == ["a", "b"]
            assert await docs.count() == 3


class TestRefused:
    @pytest.mark.parametrize("mixin", [SoftDeleteMixin, VersionMixin, TimestampMixin, IntKeyMixin, DualIDMixin])
    def test_a_table_without_the_columns(self, mixin: type[Any]) -> None:
        """As the class is mapped; it would fail at the first deletion, or never count anything."""
        bare = type("Bare", (mixin,), {})

        with pytest.raises(ConfigurationError, match=f"Bare has the {mixin.__name__}, and its table has no") as caught:
            registry().map_imperatively(bare, Table("bare", MetaData(), Column("number", Integer, primary_key=True)))

        assert "Column('" in caught.value.hint

    @pytest.mark.parametrize(
        ("name", "kind"), [("deletion_id", String(32)), ("deleted_at", DateTime()), ("deleted_at", String(30))], ids=str
    )
    def test_a_column_of_another_kind(self, name: str, kind: Any) -> None:
        """As SQLite reflects a UUID, and any database a moment without a time zone."""
        table = Table("bare", MetaData(), *columns())
        table.append_column(Column(name, kind), replace_existing=True)

        class Bare(SoftDeleteMixin):
            """Mapped onto that."""

        with pytest.raises(ConfigurationError, match=f"has a column of .* as {name}"):
            registry().map_imperatively(Bare, table)

    def test_a_mixin_of_the_projects_own_is_not_looked_at(self) -> None:
        """What is declared without `mixed_column` is none of ours."""

        @with_columns
        class Mixin:
            """With a column of a plain kind."""

            other: Mapped[int] = mapped_column()

        class Bare(Mixin):
            """Mapped onto a table without it."""

        registry().map_imperatively(Bare, Table("bare", MetaData(), Column("number", Integer, primary_key=True)))
        assert Bare.__mapper__.columns.keys() == ["number"]  # type: ignore[attr-defined]
