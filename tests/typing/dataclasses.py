"""What the types of dataclass models with mixins promise; read by mypy and pyright, never run."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import assert_type

from sqlalchemy.orm import InstrumentedAttribute, Mapped, MappedAsDataclass, mapped_as_dataclass, mapped_column

import sqlkeel
from sqlkeel import IntKeyMixin, SoftDeleteMixin, TimestampMixin, UUIDKeyMixin, VersionMixin


class Plain(sqlkeel.Base):
    """A project's base."""


class Base(MappedAsDataclass, Plain):
    """Its base of dataclasses."""

    __abstract__ = True


class User(IntKeyMixin, TimestampMixin, SoftDeleteMixin, VersionMixin, Base):
    """Somebody."""

    __tablename__ = "user"
    name: Mapped[str]


@mapped_as_dataclass(Plain.registry)
class Token(UUIDKeyMixin, TimestampMixin):
    """Something."""

    __tablename__ = "token"
    text: Mapped[str]


class Employee(IntKeyMixin, Plain):
    """A model that declares the key of a mixin anew."""

    __tablename__ = "employee"
    id: Mapped[int] = mapped_column(primary_key=True)


user = User(name="a")
assert_type(User("a"), User)
assert_type(user.id, int)
assert_type(user.created_at, datetime)
assert_type(user.deleted_at, datetime | None)
assert_type(user.version, int)
assert_type(User.id, InstrumentedAttribute[int])
assert_type(Token(text="a").id, uuid.UUID)
User("a", id=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
