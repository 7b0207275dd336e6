"""Typing mistakes in relations: an error in the names of the models, with what was meant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import ForeignKey, String
from sqlalchemy.exc import ArgumentError, InvalidRequestError
from sqlalchemy.orm import Mapped, mapped_column, relationship

import sqlkeel
from sqlkeel.errors import ConfigurationError, InvalidRelation
from sqlkeel.models import IntKeyMixin, children, parent, unique_live
from sqlkeel.soft_delete import SoftDeleteMixin

Declared = tuple[type[Any], ...]


def family(*, kids: Any, parents: Any, key: Callable[[], Any], more: dict[str, Any] | None = None) -> Declared:
    """Declare a parent and a child; they are held as long as the result is."""

    class Base(sqlkeel.Base):
        pass

    fields: dict[str, Any] = {"__annotations__": {"kids": "Mapped[list['Kid']]"}, "kids": kids} if kids else {}
    above = type("Above", (IntKeyMixin, Base), {"__tablename__": "above", "__module__": __name__, **fields})
    own = {"above_id": Mapped[int], "above": Mapped["Above"], **dict.fromkeys(more or {}, Mapped[int])}
    fields = {"__annotations__": own, "above_id": key(), "above": parents, **(more or {})}
    below = type("Kid", (IntKeyMixin, Base), {"__tablename__": "kid", "__module__": __name__, **fields})
    return Base, above, below


def to_above() -> Any:
    """Return a column that refers to the parent."""
    return mapped_column(ForeignKey("above.id"), index=True)


MISTAKES: dict[str, tuple[Callable[[], Declared], str, str]] = {
    "back_populates of children": (
        lambda: family(kids=children(back_populates="abvoe"), parents=parent(back_populates="kids"), key=to_above),
        "Above.kids has back_populates='abvoe', but Kid has no such attribute.",
        "Did you mean back_populates='above'?",
    ),
    "back_populates of a parent": (
        lambda: family(kids=children(back_populates="above"), parents=parent(back_populates="xyz"), key=to_above),
        "Kid.above has back_populates='xyz', but Above has no such attribute.",
        "Declare Above.xyz too.",
    ),
    "no foreign key": (
        lambda: family(
            kids=children(back_populates="above"), parents=parent(back_populates="kids"), key=lambda: mapped_column()
        ),
        "Above.kids: there is no foreign key between kid and above.",
        'above_id: Mapped[int] = mapped_column(ForeignKey("above.id"), index=True) in the model of kid.',
    ),
    "no foreign key of a parent": (
        lambda: family(kids=None, parents=parent(), key=lambda: mapped_column()),
        "Kid.above: there is no foreign key between kid and above.",
        'above_id: Mapped[int] = mapped_column(ForeignKey("above.id"), index=True) in the model of kid.',
    ),
    "two foreign keys": (
        lambda: family(
            kids=children(back_populates="above"),
            parents=parent(back_populates="kids"),
            key=to_above,
            more={"other_id": to_above()},
        ),
        "Above.kids: there are several foreign keys between the two tables, above_id, other_id.",
        'Choose one, on both sides: foreign_keys="[Model.above_id]".',
    ),
}


def refusal(declare: Callable[[], Declared]) -> InvalidRelation:
    """Return what the models are refused with when they are configured, and let go of them."""
    declared = declare()
    try:
        with pytest.raises(InvalidRelation) as caught:
            declared[0].registry.configure()  # type: ignore[attr-defined]
    finally:
        declared[0].registry.dispose()  # type: ignore[attr-defined]
    return caught.value


class TestMistakes:
    @pytest.mark.parametrize(("declare", "message", "hint"), MISTAKES.values(), ids=MISTAKES)
    def test_it_says_what_is_not_there(self, declare: Callable[[], Declared], message: str, hint: str) -> None:
        """The relation, what it names, and what was meant."""
        error = refusal(declare)

        assert (error.message, error.hint) == (message, hint)
        assert isinstance(error, InvalidRequestError)
        assert isinstance(error, ArgumentError)

    @pytest.mark.parametrize(("named", "hint"), [("Kdi", '"Kid"'), ("Stranger", "Import the module")])
    def test_a_class_that_is_not_there(self, named: str, hint: str) -> None:
        """The name in the annotation, and the class that has nearly that name."""

        def declare() -> Declared:
            class Base(sqlkeel.Base):
                pass

            class Kid(IntKeyMixin, Base):
                __tablename__ = "kid"

            fields = {"__annotations__": {"kids": f"Mapped[list['{named}']]"}, "kids": children()}
            made = type("Above", (IntKeyMixin, Base), {"__tablename__": "above", "__module__": __name__, **fields})
            return Base, Kid, made

        error = refusal(declare)

        assert error.message == f"Above.kids leads to {named!r}, but no class of this base has that name."
        assert hint in error.hint

    def test_it_is_told_again(self) -> None:
        """Who goes on meets an error that still names the relation."""
        base, *models = MISTAKES["no foreign key"][0]()
        try:
            with pytest.raises(InvalidRelation):
                base.registry.configure()  # type: ignore[attr-defined]
            with pytest.raises(InvalidRequestError, match=r"Above\.kids"):
                base.registry.configure()  # type: ignore[attr-defined]
        finally:
            base.registry.dispose()  # type: ignore[attr-defined]
        del models

    def test_a_relationship_of_sqlalchemy_is_left_alone(self) -> None:
        """A plain ``relationship()`` fails as it does."""
        declared = family(
            kids=relationship(back_populates="xyz"), parents=relationship(back_populates="kids"), key=to_above
        )
        try:
            with pytest.raises(InvalidRequestError, match="has no property") as caught:
                declared[0].registry.configure()  # type: ignore[attr-defined]
        finally:
            declared[0].registry.dispose()  # type: ignore[attr-defined]

        assert type(caught.value) is InvalidRequestError

    def test_right_ones_are_configured(self) -> None:
        """What is there is found."""
        declared = family(kids=children(back_populates="above"), parents=parent(back_populates="kids"), key=to_above)

        declared[0].registry.configure()  # type: ignore[attr-defined]

        assert declared[1].kids.property.mapper.class_ is declared[2]  # type: ignore[attr-defined]


class TestUniqueLive:
    def test_without_a_mark(self) -> None:
        """A model without the mixin is refused as it is declared, and not by its CREATE INDEX."""

        class Base(sqlkeel.Base):
            pass

        with pytest.raises(ConfigurationError, match=r"unique_live\('email'\) on a: the table has no deleted_at"):

            class Account(IntKeyMixin, Base):
                __tablename__ = "a"
                __table_args__ = (unique_live("email"),)
                email: Mapped[str] = mapped_column(String(20))

    def test_with_one_of_another_name(self) -> None:
        """The mixin, or the column that is named, is there."""

        class Base(sqlkeel.Base):
            pass

        class Account(IntKeyMixin, SoftDeleteMixin, Base):
            __tablename__ = "a"
            __table_args__ = (unique_live("email"),)
            email: Mapped[str] = mapped_column(String(20))

        assert "a_email_idx" in {index.name for index in Account.__table__.indexes}  # type: ignore[attr-defined]
