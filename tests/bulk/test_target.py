"""Tests of sqlkeel.bulk._target: what a model tells the bulk statements."""

from __future__ import annotations

import pytest
from sqlalchemy import ForeignKey, Index, Integer, String, UniqueConstraint, func
from sqlalchemy.dialects import sqlite
from sqlalchemy.orm import Mapped, mapped_column

import sqlkeel
from sqlkeel.bulk._databases.sqlite import SQLiteWriter
from sqlkeel.bulk._target import Target
from sqlkeel.errors import InvalidValue, NotSupported, UnknownField
from tests.bulk.models import Animal, Dog, Guest, Member, Seat, User

DIALECT = sqlite.dialect()


class Base(sqlkeel.Base):
    pass


class Room(Base):
    __tablename__ = "target_room"
    __table_args__ = (
        UniqueConstraint("floor", "door"),
        UniqueConstraint("alias", deferrable=True),
        Index("target_room_lower", func.lower("title"), unique=True),
        Index("target_room_plain", "title"),
    )
    __mapper_args__ = {"version_id_col": None}

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    floor: Mapped[int]
    door: Mapped[int]
    alias: Mapped[str] = mapped_column(String(10))
    title: Mapped[str] = mapped_column(String(10), onupdate=lambda: "touched")


class Suite(Room):
    __tablename__ = "target_suite"
    __mapper_args__ = {"version_id_col": None}

    id: Mapped[int] = mapped_column(ForeignKey("target_room.id"), primary_key=True)
    beds: Mapped[int]


class TestFields:
    def test_they_are_attributes(self) -> None:
        """A field is an attribute; its column may have another name."""
        target = Target(Seat)

        assert target.key == ("row", "hall")
        assert [column.name for column in target.columns(["row", "guest"])] == ["seat_row", "guest"]
        assert target.field(Seat.__table__.c.seat_row) == "row"

    def test_an_unknown_one_is_refused(self) -> None:
        """The error names the field, and those that there are."""
        with pytest.raises(UnknownField, match="town") as caught:
            Target(Guest).check(["first", "town"])

        assert caught.value.hint == "It has id, first, last, age."

    def test_a_model_of_several_tables_is_refused(self) -> None:
        """Two tables cannot be written by one statement."""
        with pytest.raises(NotSupported, match="add_all"):
            Target(Suite)


class TestRowsOfTheModel:
    def test_deleted_rows_are_none(self) -> None:
        """A row that is marked as deleted is not one of the model."""
        assert [str(guard) for guard in Target(Member).guards] == ["bulk_member.deleted_at IS NULL"]

    def test_rows_of_another_class_are_none(self) -> None:
        """A class without a table of its own has the rows of its kind; the head of the hierarchy has all."""
        assert "bulk_animal.kind IN" in str(Target(Dog).guards[0])
        assert Target(Animal).guards == ()

    def test_a_new_row_is_told_its_class(self) -> None:
        """What the ORM itself would write is known; what is given is believed."""
        assert Target(Dog).constants([], DIALECT) == {"kind": "dog"}
        assert Target(Dog).constants(["kind"], DIALECT) == {}

    def test_a_version_of_the_server_is_left_to_it(self) -> None:
        """Where the column has a server default, a new row gets that."""
        assert Target(User).constants([], DIALECT) == {}


class TestTouched:
    def test_version_and_time(self) -> None:
        """What an update moves by itself: the time unless it is given, the version always."""
        target = Target(User)

        table = User.__table__
        assert target.touched([]).keys() == {table.c.updated_at, table.c.version}
        assert target.touched(["updated_at", "version"]).keys() == {table.c.version}
        assert str(target.touched([])[table.c.version]) == "bulk_user.version + :version_1"

    def test_a_function_is_called(self) -> None:
        """An ``onupdate`` that is a function is called for each row, and not once for all of them."""
        target = Target(Room)

        assert target.touched([]) == {}
        assert [*target.touched_by_row([])] == [Room.__table__.c.title]
        assert target.touched_once({}) == {Room.__table__.c.title: "touched"}


class TestNames:
    def test_the_hint_names_what_is_meant(self) -> None:
        """A name of the model is shown as the attribute, and an attribute alone with its brackets."""
        with pytest.raises(UnknownField) as by_name:
            Target(Member).names(["email"], of="on")  # type: ignore[list-item]
        with pytest.raises(UnknownField) as alone:
            Target(Member).names(Member.email, of="update")  # type: ignore[arg-type]

        assert str(by_name.value).startswith("on takes a list of attributes of Member, not 'email'.")
        assert (by_name.value.hint, alone.value.hint) == ("on=[Member.email]", "update=[Member.email]")


class TestUnique:
    def test_the_order_does_not_matter(self) -> None:
        """A constraint is found by its attributes, in any order."""
        unique = Target(Room).unique(["door", "floor"], SQLiteWriter().predicate)

        assert [column.name for column in unique.columns] == ["floor", "door"]

    def test_a_partial_index_has_its_condition(self) -> None:
        """Uniqueness among live rows is found with what makes a row live."""
        unique = Target(Member).unique(["email"], SQLiteWriter().predicate)

        assert str(unique.where) == "deleted_at IS NULL"

    @pytest.mark.parametrize("field", ["alias", "title", "floor"])
    def test_what_cannot_decide_is_refused(self, field: str) -> None:
        """A deferrable constraint, an expression, a plain index and a part of a key make nothing unique here."""
        with pytest.raises(NotSupported) as caught:
            Target(Room).unique([field], SQLiteWriter().predicate)

        assert caught.value.hint == "These are unique: Room.floor, Room.door; Room.id."

    def test_null_is_refused(self) -> None:
        """The first field that is None is named."""
        with pytest.raises(InvalidValue, match=r"Room\.door"):
            Target(Room).refuse_null(["floor", "door"], [1, None])


class TestGuards:
    def test_a_live_row(self) -> None:
        """A row of a model with the mixin is one only while it is not deleted; its class does not matter."""
        target = Target(Member)

        assert [str(guard) for guard in target.guards] == ["bulk_member.deleted_at IS NULL"]
        assert target.kinds == ()

    def test_a_row_of_a_class(self) -> None:
        """Of a hierarchy in one table, rows of other classes do not count, deleted or not."""
        target = Target(Dog)

        assert target.guards == target.kinds
        assert "kind IN" in str(target.kinds[0])
