"""The tables: projects, releases, people, installed files, and payments."""

from __future__ import annotations

from decimal import Decimal

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import TypeEngine

import sqlkeel
from sqlkeel import (
    DualIDMixin,
    IntKeyMixin,
    Money,
    SoftDeleteMixin,
    TimestampMixin,
    UUIDKeyMixin,
    VersionMixin,
    association,
    child,
    children,
    parent,
    unique_live,
)

from .source import Role

__all__ = [
    "Base",
    "Classifier",
    "PaymentAccount",
    "PaymentTransfer",
    "Person",
    "Project",
    "Release",
    "ReleaseClassifier",
    "ReleaseFile",
    "ReleasePerson",
    "ReleaseRequirement",
]


def exact(length: int) -> TypeEngine[str]:
    """Return a text type with exact comparison: in MariaDB's default collation ``readme.md`` equals ``README.md``."""
    return String(length).with_variant(String(length, collation="utf8mb4_nopad_bin"), "mariadb")


class Base(sqlkeel.Base):
    """The base of all models here."""


class Project(DualIDMixin, TimestampMixin, VersionMixin, Base):
    """A project, such as SQLAlchemy; people edit its description, so it has a version."""

    __tablename__ = "project"

    name: Mapped[str] = mapped_column(exact(200), unique=True)
    description: Mapped[str] = mapped_column(server_default="")

    releases: Mapped[list[Release]] = children(back_populates="project", on_delete="cascade")
    account: Mapped[PaymentAccount | None] = child(back_populates="project", on_delete="set null")

    @property
    def latest_release(self) -> Release | None:
        """The newest release that is not deleted."""
        return max(self.releases, key=lambda release: release.id, default=None)


class Release(DualIDMixin, TimestampMixin, SoftDeleteMixin, Base):
    """One version of a project; it is soft-deleted and restored together with its files."""

    __tablename__ = "release"
    __table_args__ = (unique_live("project_id", "number"),)

    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"), index=True)
    number: Mapped[str] = mapped_column(exact(100))
    requires_python: Mapped[str] = mapped_column(server_default="")
    size: Mapped[int | None] = mapped_column(BigInteger())

    project: Mapped[Project] = parent(back_populates="releases")
    files: Mapped[list[ReleaseFile]] = children(back_populates="release", order_by="ReleaseFile.path")
    requirements: Mapped[list[ReleaseRequirement]] = children(
        back_populates="release", order_by="ReleaseRequirement.position"
    )
    people: Mapped[list[ReleasePerson]] = children(back_populates="release")
    classifiers: Mapped[list[Classifier]] = association(
        "release_classifier", back_populates="releases", order_by="Classifier.name"
    )


class ReleaseFile(IntKeyMixin, TimestampMixin, SoftDeleteMixin, Base):
    """An installed file of a release, as the installer recorded it."""

    __tablename__ = "release_file"
    __table_args__ = (unique_live("release_id", "path"),)

    release_id: Mapped[int] = mapped_column(ForeignKey("release.id"), index=True)
    path: Mapped[str] = mapped_column(exact(500))
    size: Mapped[int | None] = mapped_column(BigInteger())
    hash: Mapped[str | None] = mapped_column(String(200))

    release: Mapped[Release] = parent(back_populates="files")


class ReleaseRequirement(IntKeyMixin, Base):
    """One requirement of a release, as a line of its metadata."""

    __tablename__ = "release_requirement"
    __table_args__ = (UniqueConstraint("release_id", "position"),)

    release_id: Mapped[int] = mapped_column(ForeignKey("release.id"))
    position: Mapped[int]
    line: Mapped[str]

    release: Mapped[Release] = parent(back_populates="requirements")


class Person(IntKeyMixin, Base):
    """An author or maintainer of a release."""

    __tablename__ = "person"
    __table_args__ = (UniqueConstraint("name", "email"),)

    name: Mapped[str] = mapped_column(exact(200))
    email: Mapped[str] = mapped_column(exact(320), server_default="")

    releases: Mapped[list[ReleasePerson]] = children(back_populates="person")


class ReleasePerson(Base):
    """The role of a person in a release: a many-to-many link with its own data is a model."""

    __tablename__ = "release_person"

    release_id: Mapped[int] = mapped_column(ForeignKey("release.id"), primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id"), primary_key=True, index=True)
    role: Mapped[Role] = mapped_column(primary_key=True)

    release: Mapped[Release] = parent(back_populates="people")
    person: Mapped[Person] = parent(back_populates="releases")


class Classifier(IntKeyMixin, Base):
    """A label such as ``Framework :: AsyncIO``."""

    __tablename__ = "classifier"

    name: Mapped[str] = mapped_column(exact(200), unique=True)

    releases: Mapped[list[Release]] = association("release_classifier", back_populates="classifiers")


class ReleaseClassifier(Base):
    """The labels of a release: a many-to-many link with only the two keys."""

    __tablename__ = "release_classifier"

    release_id: Mapped[int] = mapped_column(ForeignKey("release.id"), primary_key=True)
    classifier_id: Mapped[int] = mapped_column(ForeignKey("classifier.id"), primary_key=True, index=True)


class PaymentAccount(DualIDMixin, TimestampMixin, Base):
    """Money of a sponsor or a project; the database refuses a balance below zero."""

    __tablename__ = "payment_account"
    __table_args__ = (CheckConstraint("balance >= 0", name="balance"),)

    holder: Mapped[str] = mapped_column(exact(200), unique=True)
    project_id: Mapped[int | None] = mapped_column(ForeignKey("project.id"), unique=True)
    balance: Mapped[Decimal] = mapped_column(Money(), server_default="0")

    project: Mapped[Project | None] = parent(back_populates="account")


class PaymentTransfer(UUIDKeyMixin, TimestampMixin, Base):
    """A payment from one account to another; the client chooses the key, so that a retry is recognised."""

    __tablename__ = "payment_transfer"
    __table_args__ = (CheckConstraint("amount > 0", name="amount"),)

    sender_id: Mapped[int] = mapped_column(ForeignKey("payment_account.id"), index=True)
    recipient_id: Mapped[int] = mapped_column(ForeignKey("payment_account.id"), index=True)
    amount: Mapped[Decimal] = mapped_column(Money())

    sender: Mapped[PaymentAccount] = parent(on_delete="restrict", foreign_keys=sender_id)
    recipient: Mapped[PaymentAccount] = parent(on_delete="restrict", foreign_keys=recipient_id)
