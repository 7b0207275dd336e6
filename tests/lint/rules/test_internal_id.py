"""internal-id: what a response was read from is guessed, and the bounds of the guess."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from fastapi import FastAPI
from pydantic import BaseModel, Field, create_model
from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column, relationship

import sqlkeel
from sqlkeel.lint import Finding, check


class Base(sqlkeel.Base):
    pass


class User(sqlkeel.DualIDMixin, Base):
    __tablename__ = "user"
    name: Mapped[str]
    email: Mapped[str]
    posts: Mapped[list[Post]] = relationship(back_populates="author", passive_deletes="all")

    @property
    def initials(self) -> str:
        """Return something that is no column."""
        return self.name[:1]


class Tag(sqlkeel.IntKeyMixin, Base):
    __tablename__ = "tag"
    name: Mapped[str]


class Post(sqlkeel.UUIDKeyMixin, Base):
    __tablename__ = "post"
    title: Mapped[str]
    author_id: Mapped[int] = mapped_column(ForeignKey("user.id"), index=True)
    author: Mapped[User] = relationship(back_populates="posts")


class Small(sqlkeel.Base):
    pass


class Account(sqlkeel.DualIDMixin, Small):
    __tablename__ = "account"
    balance: Mapped[int]


def leaks(model: Any, base: Any = Base, **options: Any) -> list[Finding]:
    """Return what the rule says of a route that answers with this."""
    app = FastAPI()

    @app.get("/", response_model=model, **options)
    async def show() -> None: ...

    return [one for one in check(base, apps=[app]) if one.code == "internal-id"]


def response(name: str, /, **fields: Any) -> Any:
    """Return a response with these fields."""
    definitions: dict[str, Any] = {field: (kind, ...) for field, kind in fields.items()}
    return create_model(name, **definitions)


class TestFound:
    @pytest.mark.parametrize(
        "model",
        [
            response("UserOut", id=int),
            response("UserOut", id=int, name=str),
            response("UserOut", id=int | None, posts=list[str]),
            response("Contact", id=int, email=str),
            response("Contact", id=int, initials=str),
        ],
    )
    def test_key(self, model: Any) -> None:
        """The integer of a model with two ids is found by the name of the response, or by its fields."""
        (finding,) = leaks(model)

        assert finding.where == f"{model.__name__}.id"
        assert "show() answers with" in finding.message
        assert finding.message.endswith("the internal id of User.")

    def test_foreign_key(self) -> None:
        """So is a foreign key to it, on a model that has no secret of its own."""
        (finding,) = leaks(response("PostOut", id=UUID, title=str, author_id=int))

        assert finding.where == "PostOut.author_id"
        assert finding.message.endswith("the internal id of User.")

    def test_inside(self) -> None:
        """It is found in what a response contains."""
        inner = response("UserOut", id=int, name=str)

        (finding,) = leaks(response("PostOut", title=str, author=inner))

        assert finding.where == "UserOut.id"

    def test_once(self) -> None:
        """Two routes with one response are one finding, at the line of the field."""
        app = FastAPI()
        for path in ("/a", "/b"):
            app.get(path, response_model=Written)(lambda: None)

        (finding,) = check(Base, apps=[app])

        assert finding.source is not None
        assert finding.source.path.name == "test_internal_id.py"


class Written(BaseModel):
    id: int
    email: str


class TestNotFound:
    @pytest.mark.parametrize(
        "model",
        [
            response("UserOut", public_id=UUID, name=str),
            response("UserOut", id=UUID, name=str),
            response("UserOut", id=str, name=str),
            response("TagOut", id=int, name=str),
            response("Label", id=int, name=str),
            response("Job", id=int, state=str),
            response("Created", id=int),
            response("PostOut", id=UUID, title=str, author=str),
        ],
        ids=[
            "public id",
            "renamed",
            "text",
            "model with one id, by its name",
            "model with one id, perhaps",
            "no model",
            "one field, no name",
            "no key",
        ],
    )
    def test_accepted(self, model: Any) -> None:
        """What has no internal id, or is surely or perhaps from something else, is let alone."""
        assert leaks(model) == []

    def test_one_field(self) -> None:
        """A number alone may be that of anything, also where all models have two ids; with a second field it is not."""
        assert leaks(response("Started", id=int), Small) == []
        assert len(leaks(response("Started", id=int, balance=int), Small)) == 1
        assert len(leaks(response("AccountOpened", id=int), Small)) == 1

    def test_field_that_is_not_written(self) -> None:
        """A field that pydantic leaves out does not go out."""

        class UserOut(BaseModel):
            id: int = Field(exclude=True)
            name: str

        assert leaks(UserOut) == []

    def test_field_that_a_route_leaves_out(self) -> None:
        """Neither does one that the route leaves out, there."""
        model = response("UserOut", id=int, name=str)

        assert leaks(model, response_model_exclude={"id"}) == []
        assert len(leaks(model, response_model_exclude={"name"})) == 1
