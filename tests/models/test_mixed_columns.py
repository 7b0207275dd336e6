"""Mixins on dataclasses: each mixin, each way to make a dataclass of a model, each verb."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import pytest
from pydantic import BaseModel
from sqlalchemy import ForeignKey, String, select
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import Mapped, MappedAsDataclass, mapped_as_dataclass, mapped_column
from sqlalchemy.orm import registry as Registry

import sqlkeel
from sqlkeel.errors import NotSupported, VersionConflict
from sqlkeel.models import DualIDMixin, IntKeyMixin, UUIDKeyMixin, unique_live
from sqlkeel.models._mixed_columns import mixed_column, with_columns
from sqlkeel.repository import Repository
from sqlkeel.sessions import Database
from sqlkeel.soft_delete import SoftDeleteMixin
from sqlkeel.timestamps import TimestampMixin
from sqlkeel.versions import TriggerVersionMixin, VersionMixin


class Plain(sqlkeel.Base):
    """The base whose models are no dataclasses, unless they say so."""


class Base(MappedAsDataclass, Plain):
    """The base whose models are dataclasses."""

    __abstract__ = True


class OnBase(IntKeyMixin, TimestampMixin, SoftDeleteMixin, VersionMixin, Base):
    """A dataclass by its base."""

    __tablename__ = "on_base"
    name: Mapped[str] = mapped_column(String(20), unique=True)
    note: Mapped[str | None] = mapped_column(String(20), default=None)


class OnModel(MappedAsDataclass, DualIDMixin, TimestampMixin, SoftDeleteMixin, VersionMixin, Plain, kw_only=True):
    """A dataclass by itself, with options."""

    __tablename__ = "on_model"
    note: Mapped[str | None] = mapped_column(String(20), default=None)
    name: Mapped[str] = mapped_column(String(20), unique=True)


class Behaviours(MappedAsDataclass, UUIDKeyMixin, TimestampMixin, SoftDeleteMixin, VersionMixin):
    """An abstract base of a project's own."""

    name: Mapped[str] = mapped_column(String(20), unique=True)


class OnAbstract(Behaviours, Plain):
    """A dataclass by an abstract base that has the mixins."""

    __tablename__ = "on_abstract"
    note: Mapped[str | None] = mapped_column(String(20), default=None)


@Plain.registry.mapped_as_dataclass(repr=False)
class Decorated(IntKeyMixin, TimestampMixin, SoftDeleteMixin, VersionMixin):
    """A dataclass by a decorator of the registry."""

    __tablename__ = "decorated"
    name: Mapped[str] = mapped_column(String(20), unique=True)
    note: Mapped[str | None] = mapped_column(String(20), default=None)


@mapped_as_dataclass(Plain.registry)
class Counted(UUIDKeyMixin, TimestampMixin, SoftDeleteMixin, TriggerVersionMixin):
    """A dataclass by the function, with a version that a trigger counts."""

    __tablename__ = "counted"
    name: Mapped[str] = mapped_column(String(20), unique=True)
    note: Mapped[str | None] = mapped_column(String(20), default=None)


class Person(IntKeyMixin, TimestampMixin, SoftDeleteMixin, VersionMixin, Base):
    """The base of a hierarchy of tables."""

    __tablename__ = "person"
    name: Mapped[str] = mapped_column(String(20), unique=True)
    kind: Mapped[str] = mapped_column(String(20), init=False)
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "person"}


class Boss(Person):
    """A subclass in a table of its own."""

    __tablename__ = "boss"
    id: Mapped[int] = mapped_column(ForeignKey("person.id"), primary_key=True, init=False)
    note: Mapped[str | None] = mapped_column(String(20), default=None)
    __mapper_args__ = {"polymorphic_identity": "boss"}


class Common(IntKeyMixin, SoftDeleteMixin, VersionMixin, Plain):
    """A model that is no dataclass."""

    __tablename__ = "common"
    __table_args__ = (unique_live("name"),)
    name: Mapped[str] = mapped_column(String(20))


pytestmark = pytest.mark.tables(Plain.metadata)

FLAT: list[Any] = [OnBase, OnModel, OnAbstract, Decorated, Counted]
every_model = pytest.mark.parametrize("model", [*FLAT, Boss])
every_flat_model = pytest.mark.parametrize("model", FLAT)


class TestFields:
    @every_model
    def test_init_takes_none_of_the_mixins(self, model: Any) -> None:
        """What the database or the session fills in is no argument."""
        assert set(inspect.signature(model).parameters) == {"name", "note"}

    @every_model
    def test_before_the_flush_they_are_none(self, model: Any) -> None:
        """A new object has them, empty."""
        row = model(name="a")

        assert [row.id, row.version, row.created_at, row.updated_at, row.deleted_at, row.deletion_id] == [None] * 6
        assert not row.is_deleted

    @every_model
    def test_they_are_fields(self, model: Any) -> None:
        """dataclasses.fields() names them, so that comparison and repr know them."""
        names = {field.name for field in dataclasses.fields(model)}

        assert {"id", "version", "created_at", "updated_at", "deleted_at", "deletion_id", "name"} <= names

    def test_the_key_counts_in_a_comparison(self) -> None:
        """Two rows with the same values are two rows: a collection that removes one by equality takes the right one."""
        first, second = OnBase(name="a"), OnBase(name="a")
        first.id, second.id = 1, 2

        assert first != second

    def test_the_repr_is_the_one_that_was_asked_for(self) -> None:
        """The dataclass's with its fields; with ``repr=False`` the model's own."""
        assert repr(OnBase(name="a")).startswith("OnBase(name='a', ")
        assert "id=None" in repr(OnBase(name="a"))
        assert "name='a'" not in repr(Decorated(name="a"))

    def test_a_model_may_declare_a_column_anew(self) -> None:
        """As on any model: what the class itself says wins."""

        @mapped_as_dataclass(Registry())
        class Renamed(IntKeyMixin, SoftDeleteMixin):
            __tablename__ = "renamed"
            deletion_id: Mapped[Any] = mapped_column("removal", String(36), init=False, default=None)

        assert Renamed().id is None
        assert "removal" in Renamed.__table__.columns


class TestVerbs:
    @every_model
    async def test_create_fills_them_in(self, db: Database, model: Any) -> None:
        """A created object has its key, its version and its times."""
        async with db.transaction() as session:
            row = await Repository(session, model).create(name="a")

            assert row.id is not None
            assert row.version == 1
            assert row.created_at == row.updated_at
            assert row.deleted_at is None

    @every_model
    async def test_update_counts_and_moves_the_time(self, db: Database, model: Any) -> None:
        """An update counts one version."""
        async with db.transaction() as session:
            row = await Repository(session, model).create(name="a")
            await Repository(session, model).update(row, {"note": "changed"}, expected_version=1)

            assert (row.note, row.version) == ("changed", 2)
            assert row.updated_at >= row.created_at

    @every_model
    async def test_an_old_version_is_a_conflict(self, db: Database, model: Any) -> None:
        """A lost update is refused."""
        async with db.transaction() as session:
            row = await Repository(session, model).create(name="a")

            with pytest.raises(VersionConflict):
                await Repository(session, model).update(row, {"note": "late"}, expected_version=7)

    @every_model
    async def test_delete_marks_and_restore_brings_back(self, db: Database, model: Any) -> None:
        """A deleted row is in no answer, and still there."""
        async with db.transaction() as session:
            rows = Repository(session, model)
            row = await rows.create(name="a")
            await rows.delete(row)
            assert row.is_deleted
            assert await rows.count() == 0

            await rows.restore(row)

            assert await rows.count() == 1
            assert (row.deleted_at, row.version) == (None, 3)

    @every_flat_model
    async def test_bulk_verbs_write_them(self, db: Database, model: Any) -> None:
        """insert_many, update_many and upsert_many do as on any model, and what the session holds is fresh."""
        async with db.transaction() as session:
            rows = Repository(session, model)
            await rows.insert_many([{"name": "a"}, {"name": "b", "note": "old"}])
            first, second = (await session.scalars(select(model).order_by(model.name))).all()
            await rows.update_many([{"id": first.id, "note": "new"}])
            await rows.upsert_many([{"name": "b", "note": "new"}, {"name": "c"}], on=[model.name])

            found = (await session.scalars(select(model).order_by(model.name))).all()
        assert [(row.name, row.note, row.version) for row in found] == [
            ("a", "new", 2),
            ("b", "new", 2),
            ("c", None, 1),
        ]
        assert found[:2] == [first, second]

    @every_flat_model
    async def test_upsert_and_get_or_create_return_objects(self, db: Database, model: Any) -> None:
        """One statement each, and the same row."""
        async with db.transaction() as session:
            rows = Repository(session, model)
            made, _ = await rows.get_or_create({"name": "a"})
            written = await rows.upsert({"name": "a", "note": "new"}, on=[model.name])

            assert made.id is not None
            assert made.note == "new"
            assert written[0] is made


class TestOtherModels:
    def test_a_model_that_is_no_dataclass_stays_none(self) -> None:
        """Pydantic and FastAPI ask exactly this before they write every column into a response."""
        assert not dataclasses.is_dataclass(Common)
        assert not any(map(dataclasses.is_dataclass, [IntKeyMixin, SoftDeleteMixin, VersionMixin, TimestampMixin]))

    def test_a_dataclass_of_its_own_that_is_no_model_gains_no_field(self) -> None:
        """A plain dataclass that inherits a mixin by mistake has only its own fields."""

        @dataclasses.dataclass
        class Form(VersionMixin):
            name: str

        assert [field.name for field in dataclasses.fields(Form)] == ["name"]

    def test_a_mixin_of_a_project_may_be_made_the_same_way(self) -> None:
        """`mixed_column` takes what ``mapped_column`` takes."""

        @with_columns
        class Ranked:
            rank: Mapped[int] = mixed_column(insert_default=3)

        @mapped_as_dataclass(Registry())
        class Song(IntKeyMixin, Ranked):
            __tablename__ = "song"

        assert Song().rank is None  # type: ignore[unreachable, unused-ignore]
        assert not Song.__table__.columns["rank"].nullable  # type: ignore[attr-defined]


class TestPydantic:
    @pytest.mark.parametrize("mixin", [IntKeyMixin, DualIDMixin, TimestampMixin, SoftDeleteMixin, VersionMixin])
    @pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
    def test_a_model_of_pydantic_cannot_have_a_mixin(self, mixin: type[Any], first: bool) -> None:
        """The columns would have to be its fields; it is told as the class is made, wherever the mixin stands."""
        bases = (mixin, BaseModel) if first else (BaseModel, mixin)

        with pytest.raises(NotSupported, match="Refused cannot have") as caught:
            type(BaseModel)("Refused", bases, {"__module__": __name__})

        assert "sqlkeel.Base" in caught.value.hint


class TestForeignNames:
    """What SQLAlchemy keeps under private names; without it the mixins do not work on dataclasses."""

    def test_a_class_that_becomes_a_dataclass_is_marked(self) -> None:
        """Canary of `mixed_column`: it leaves ``init`` out for a class with this mark, and for no other."""
        assert getattr(OnBase, "_sa_apply_dc_transforms", None)
        assert getattr(Decorated, "_sa_apply_dc_transforms", None)
        assert not getattr(Common, "_sa_apply_dc_transforms", None)

    def test_a_mixin_without_fields_is_refused(self) -> None:
        """Canary of `with_columns`: of a class without ``__dataclass_fields__``, SQLAlchemy takes no column."""

        class Ranked:
            rank: Mapped[int] = mapped_column(primary_key=True)

        with pytest.raises(InvalidRequestError, match="which is not a dataclass"):
            mapped_as_dataclass(Registry())(type("Song", (Ranked,), {"__tablename__": "song"}))
