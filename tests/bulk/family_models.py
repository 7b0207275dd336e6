"""Base classes whose rows are written in bulk, in each way that SQLAlchemy maps them."""

from __future__ import annotations

import itertools
import uuid

from sqlalchemy import ForeignKey, String, Uuid, case
from sqlalchemy.ext.declarative import AbstractConcreteBase, ConcreteBase
from sqlalchemy.orm import Mapped, mapped_column

import sqlkeel
from sqlkeel import IntKeyMixin, SoftDeleteMixin, TimestampMixin, VersionMixin

marks = itertools.count(1)


class Base(sqlkeel.Base):
    pass


class Asset(IntKeyMixin, Base):
    """A base without a version, and a class of its own beside those that have one."""

    __tablename__ = "family_asset"
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "asset"}

    kind: Mapped[str] = mapped_column("asset_kind", String(20))
    name: Mapped[str] = mapped_column(String(20))
    code: Mapped[int] = mapped_column(unique=True)


class Lease(VersionMixin, TimestampMixin, Asset):
    __mapper_args__ = {"polymorphic_identity": "lease"}

    stamp: Mapped[str | None] = mapped_column(String(20), onupdate=lambda: f"mark {next(marks)}")


class Loan(VersionMixin, Asset):
    __mapper_args__ = {"polymorphic_identity": "loan"}


class Permit(SoftDeleteMixin, Asset):
    __mapper_args__ = {"polymorphic_identity": "permit"}


class Deed(VersionMixin, Permit):
    """Below a class that keeps its deleted rows."""

    __mapper_args__ = {"polymorphic_identity": "deed"}


class Paper(IntKeyMixin, Base):
    """A base without rows of its own: an expression tells the class, and each class makes its versions differently."""

    __tablename__ = "family_paper"

    size: Mapped[int] = mapped_column()
    code: Mapped[int] = mapped_column(unique=True)

    __mapper_args__ = {"polymorphic_on": case((size > 10, "poster"), else_="card"), "polymorphic_identity": None}


class Poster(Paper):
    rev: Mapped[uuid.UUID | None] = mapped_column(Uuid(), use_existing_column=True)
    __mapper_args__ = {
        "polymorphic_identity": "poster",
        "version_id_col": rev,
        "version_id_generator": lambda _: uuid.UUID(int=10),
    }


class Card(Paper):
    rev: Mapped[uuid.UUID | None] = mapped_column(Uuid(), use_existing_column=True)
    __mapper_args__ = {
        "polymorphic_identity": "card",
        "version_id_col": rev,
        "version_id_generator": lambda _: uuid.UUID(int=1),
    }


class Transport(Base):
    """A base that is abstract: each row is of a class below it."""

    __tablename__ = "family_transport"
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_abstract": True}

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[str | None] = mapped_column(String(20))


class Ferry(Transport):
    __mapper_args__ = {"polymorphic_identity": "ferry"}


class Animal(Base):
    """A base that is loaded with the table below it."""

    __tablename__ = "family_animal"
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "animal"}

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(String(20))


class Bird(Animal):
    __tablename__ = "family_bird"
    __mapper_args__ = {"polymorphic_identity": "bird", "polymorphic_load": "inline"}

    id: Mapped[int] = mapped_column(ForeignKey("family_animal.id"), primary_key=True)


class Site(AbstractConcreteBase, Base):
    """A base whose rows are those of a union of tables."""

    strict_attrs = True


class Town(Site):
    __tablename__ = "family_town"
    __mapper_args__ = {"polymorphic_identity": "town", "concrete": True}

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


class Lake(Site):
    __tablename__ = "family_lake"
    __mapper_args__ = {"polymorphic_identity": "lake", "concrete": True}

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


class River(ConcreteBase, Base):
    """A base that has a table of its own, and whose rows are those of a union."""

    __tablename__ = "family_river"
    __mapper_args__ = {"polymorphic_identity": "river", "concrete": True}

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


class Canal(River):
    __tablename__ = "family_canal"
    __mapper_args__ = {"polymorphic_identity": "canal", "concrete": True}

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


class Vehicle(IntKeyMixin, Base):
    """A base of classes in other tables."""

    __tablename__ = "family_vehicle"
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "vehicle"}

    kind: Mapped[str] = mapped_column(String(20))
    code: Mapped[int] = mapped_column(unique=True)
    name: Mapped[str] = mapped_column(String(20))


class Truck(VersionMixin, TimestampMixin, Vehicle):
    __tablename__ = "family_truck"
    __mapper_args__ = {"polymorphic_identity": "truck"}

    truck_id: Mapped[int] = mapped_column(ForeignKey("family_vehicle.id"), primary_key=True)


class Place(IntKeyMixin, Base):
    """A base of a soft-deletable class in another table."""

    __tablename__ = "family_place"
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "place"}

    kind: Mapped[str] = mapped_column(String(20))
    code: Mapped[int] = mapped_column(unique=True)
    name: Mapped[str] = mapped_column(String(20))


class Shop(SoftDeleteMixin, Place):
    __tablename__ = "family_shop"
    __mapper_args__ = {"polymorphic_identity": "shop"}

    shop_id: Mapped[int] = mapped_column(ForeignKey("family_place.id"), primary_key=True)
