"""Canaries of what SQLAlchemy does not promise: each says which feature breaks with a release that changes the name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Boolean, Column, ForeignKey, Integer, MetaData, Table, delete, func, insert, select, text, update
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import (
    LoaderCriteriaOption,
    RelationshipProperty,
    Session,
    contains_eager,
    load_only,
    selectinload,
    with_loader_criteria,
)
from sqlalchemy.orm import join as orm_join
from sqlalchemy.schema import SchemaItem
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ClauseElement
from sqlalchemy.sql.visitors import HasTraverseInternals

from sqlkeel import _sqlalchemy as private
from tests.sqlalchemy_models import House, Room, houses

rooms: Any = Room.__table__
one_house: Any = select(House).where(House.id == 1, House.name == "a")


class TestList:
    def test_each_has_a_canary(self) -> None:
        """A name that is added comes with what breaks without it."""
        files = Path(__file__).parent.glob("test_sqlalchemy*.py")
        canaries = "".join(file.read_text(encoding="utf-8") for file in files)

        assert [name for name in private.__all__ if f"private.{name}" not in canaries] == []


class TestOverridden:
    """What classes of ours override is there; that it is called, the tests of the feature show."""

    owners: dict[str, type] = {
        "_autoflush": Session,
        "_connection_cls": AsyncEngine,
        "_criterion_exists": RelationshipProperty.Comparator,
        "_flush_warning": Session,
        "_from_objects": ClauseElement,
        "_identity_lookup": Session,
        "_regenerate_proxy_for_target": AsyncEngine,
        "_resolve_where_criteria": LoaderCriteriaOption,
        "_set_parent": SchemaItem,
        "_set_remote_table": ForeignKey,
        "_traverse_internals": HasTraverseInternals,
    }

    def test_each_is_theirs(self) -> None:
        """A method that nobody calls any more would fail without a word."""
        there = {name for name, owner in self.owners.items() if name in {*dir(owner), *owner.__annotations__}}

        assert {name: what for name, what in private.OVERRIDDEN.items() if name not in there} == {}


class TestStatements:
    def test_where_of(self) -> None:
        """Soft delete writes conditions on living rows beside those of the caller: deleted rows would be found."""
        assert [str(part) for part in private.where_of(one_house)] == ["house.id = :id_1", "house.name = :name_1"]
        assert len(private.where_of(update(House).where(House.id == 1))) == 1

    def test_set_where(self) -> None:
        """The same: the conditions are replaced where they stand."""
        statement = select(House).where(House.id == 1)
        private.set_where(statement, [House.name == "b"])

        assert str(statement).endswith("WHERE house.name = :name_1")

    def test_with_where(self) -> None:
        """A delete() of a class in several tables asks the others in a subquery."""
        statement = delete(House).where(House.id == 1)
        changed = private.with_where(statement, [House.name == "b"])

        assert str(changed).endswith("WHERE house.name = :name_1")
        assert str(statement).endswith("WHERE house.id = :id_1")

    def test_options_of(self) -> None:
        """The option that hides deleted rows is given once, and looked for in those that are there."""
        option: Any = load_only(House.id)

        assert private.options_of(select(House).options(option)) == (option,)
        assert private.options_of(text("select 1")) == ()

    def test_with_options(self) -> None:
        """A lazy load that shows deleted rows takes the option away that hides them."""
        statement = select(House).options(load_only(House.id))

        assert private.options_of(private.with_options(statement, [])) == ()
        assert len(private.options_of(statement)) == 1

    def test_returned_by(self) -> None:
        """Whether an INSERT makes objects decides if a schema of its own is refused."""
        assert [*private.returned_by(insert(House).returning(House))] == [houses]
        assert [*private.returned_by(insert(House))] == []

    def test_selected_by(self) -> None:
        """An UPDATE inside of a select() is run as what it is if both return the same."""
        assert [*private.selected_by(select(House))] == [houses]

    def test_set_selected(self) -> None:
        """A subquery in any() of one table names the inner rows by their alias: else the outer ones are looked at."""
        statement = select(House)
        private.set_selected(statement, [houses.c.name])

        assert str(statement).startswith("SELECT house.name")

    def test_sources_of(self) -> None:
        """Soft delete looks for its classes in select_from(): deleted rows would be found there."""
        assert [*private.sources_of(select(func.count()).select_from(House))] == [houses]

    def test_set_sources(self) -> None:
        """The same: a join of select_from() is replaced by one with conditions."""
        statement = select(func.count()).select_from(House)
        private.set_sources(statement, [rooms])

        assert "FROM room" in str(statement)

    def test_joins_of(self) -> None:
        """Soft delete looks for its classes in join(): deleted rows would be joined."""
        (right, onclause, left, flags), *others = private.joins_of(select(House).join(Room, full=True))

        assert (right, onclause, left, others) == (rooms, None, None, [])
        assert flags == {"isouter": False, "full": True}

    def test_set_joins(self) -> None:
        """The same: a join is replaced by one with conditions."""
        statement = select(House).join(House.rooms)
        private.set_joins(statement, [])

        assert "JOIN" not in str(statement)

    def test_tables_in(self) -> None:
        """A condition on another table is refused by a repository; it would multiply the rows."""
        assert [*private.tables_in(Room.house_id == House.id)] == [rooms, houses]

    def test_plugin_of(self) -> None:
        """Soft delete looks behind what SQLAlchemy takes for a plain SELECT: deleted rows would be counted."""
        assert private.plugin_of(select(House))["plugin_subject"] is sa_inspect(House)
        assert not private.plugin_of(select(houses.c.id))

    def test_set_plugin(self) -> None:
        """The same: such a SELECT is made one of the ORM, which writes the conditions."""
        statement = select(func.count())
        private.set_plugin(statement, sa_inspect(House))

        assert private.plugin_of(statement)["compile_state_plugin"] == "orm"
        assert private.plugin_of(statement)["plugin_subject"] is sa_inspect(House)

    def test_forget_plugin(self) -> None:
        """Marking what hangs on a deleted row would be an UPDATE of the class above."""
        inner = select(House.id).subquery()
        private.forget_plugin(inner)

        assert not private.plugin_of(select(inner))

    def test_is_ordered(self) -> None:
        """updated_at and version of an update() with ordered_values() would be refused by SQLAlchemy."""
        assert private.is_ordered(update(House).ordered_values((House.name, "a")))
        assert not private.is_ordered(update(House).values(name="a"))

    def test_with_ordered_value(self) -> None:
        """The same: they are written behind the others."""
        statement = update(House).ordered_values((House.name, "a"))
        changed = private.with_ordered_value(statement, houses.c.id, func.now())

        assert str(changed) == "UPDATE house SET name=:name, id=now()"
        assert str(statement) == "UPDATE house SET name=:name"

    def test_values_of(self) -> None:
        """updated_at would be set twice, and a version that is set by hand be written."""
        assert [key.key for key in private.values_of(update(House).values(name="a"))] == ["name"]
        assert private.values_of(delete(House)) == {}

    def test_rows_of(self) -> None:
        """A SELECT in insert().values([...]) would find deleted rows."""
        statement = insert(House).values([{"name": "a"}, {"name": "b"}])

        assert [[*row.values()] for (rows,) in [private.rows_of(statement)] for row in rows] == [["a"], ["b"]]

    def test_notes_of(self) -> None:
        """Soft delete, pages and joined tables know by a note of which class a column is."""
        column: Any = House.__table__.c.id

        assert private.notes_of(select(House.id).selected_columns.id)["parententity"] is sa_inspect(House)
        assert "parententity" not in private.notes_of(column)

    def test_with_notes(self) -> None:
        """A condition on living rows would not be adapted to the alias of a class."""
        assert private.notes_of(private.with_notes(houses.c.id, {"parententity": 1}))["parententity"] == 1

    def test_without_notes(self) -> None:
        """SQLAlchemy would write its own condition on the class that a condition of ours names."""
        noted = private.with_notes(houses.c.id, {"parententity": 1, "other": 2})

        assert dict(private.notes_of(private.without_notes(noted, ["parententity"], clone=True)))["other"] == 2
        assert "parententity" not in private.notes_of(private.without_notes(noted, ["parententity"], clone=True))
        assert not private.notes_of(private.without_notes(noted))

    def test_copy_of_join(self) -> None:
        """Conditions on living rows are written into a copy of a join, and not into the caller's."""
        made: Any = orm_join(House, Room)
        copy = private.copy_of_join(made)
        copy.onclause = House.id == 5
        private.forget_memoized(copy)

        assert "house.id = room" in str(made)
        assert "house.id = :id_1" in str(copy)

    def test_forget_memoized(self) -> None:
        """What was read of a join before it was changed would be read after."""
        made = orm_join(House, Room)
        before = made._from_objects
        made.right = Table("other", MetaData(), Column("id", Integer))
        private.forget_memoized(made)

        assert made.right not in before
        assert made.right in private.tables_in(made)


class TestCompiled:
    def test_shared_notes_of(self) -> None:
        """Conditions on living rows are written where the statement hides deleted ones, and so nowhere."""
        compiler: Any = select(House).compile()

        assert isinstance(compiler, SQLCompiler)
        assert isinstance(private.shared_notes_of(compiler), dict)

    def test_columns_read(self) -> None:
        """UnreadableValue would not name the column that has the value."""
        compiled: Any = select(House.id, House.name).compile()

        assert [entry.name for entry in private.columns_read(compiled)] == ["id", "name"]
        assert houses.c.id in private.columns_read(compiled)[0].objects

    def test_compile_by(self) -> None:
        """Operands of money and times would not be checked."""
        dialect = sqlite.dialect()
        compiler = type("Compiler", (dialect.statement_compiler,), {})
        private.compile_by(dialect, compiler)

        assert type(select(House).compile(dialect=dialect)) is compiler
        assert sqlite.dialect().statement_compiler is not compiler

    def test_forget_literals(self) -> None:
        """SQL that is written to a file would have the parameters of a driver in its literals."""
        dialect = postgresql.dialect()
        kind = Boolean()
        first, same = kind.dialect_impl(dialect), kind.dialect_impl(dialect)
        private.forget_literals(dialect)

        assert first is same
        assert kind.dialect_impl(dialect) is not first


class TestOptions:
    def test_extra_conditions_of(self) -> None:
        """The SELECTs in relation.and_() would find deleted rows."""
        condition = Room.id > 5

        assert len([*private.extra_conditions_of(House.rooms.and_(condition))]) == 1
        (step,) = private.steps_of(selectinload(House.rooms.and_(condition)))
        assert len([*private.extra_conditions_of(step)]) == 1
        assert [*private.extra_conditions_of(houses)] == []

    def test_subtype_of(self) -> None:
        """load= of an of_type(), and the condition on its living rows, would be of the class above."""
        assert private.subtype_of(House.rooms.of_type(Room)) is sa_inspect(Room)
        assert private.subtype_of(House.rooms) is None

    def test_condition_behind(self) -> None:
        """A lazy load that shows deleted rows would keep the condition; a lambda of the user's be taken for ours."""

        def condition(cls: Any) -> Any:
            return cls.id > 5

        assert private.condition_behind(with_loader_criteria(House, condition)) is condition
        assert private.condition_behind(load_only(House.id)) is None

    def test_conditions_of_loader(self) -> None:
        """The SELECTs in a with_loader_criteria() of a lambda would find deleted rows."""
        option = with_loader_criteria(House, lambda cls: cls.id > 5)

        assert "house.id > " in str(private.conditions_of_loader(option, sa_inspect(House)))

    def test_steps_of(self) -> None:
        """What loading options ask for beside a statement would find deleted rows."""
        (step,) = private.steps_of(selectinload(House.rooms))

        assert dict(step.strategy) == {"lazy": "selectin"}
        assert step.path[-1] is sa_inspect(Room)

    def test_reads_join(self) -> None:
        """contains_eager() in load= of a repository would load nothing, and say nothing."""
        assert private.reads_join(contains_eager(House.rooms))
        assert not private.reads_join(selectinload(House.rooms))

    def test_comparator_like(self) -> None:
        """any() and has() over a relation of one table would see deleted rows."""
        kind = type("Ours", (RelationshipProperty.Comparator,), {})
        usual = House.rooms.comparator.of_type(Room).and_(Room.id > 5)
        ours = private.comparator_like(kind, usual)

        assert type(ours) is kind
        assert str(ours.any()) == str(usual.any())
        assert str(private.comparator_like(kind, House.rooms.comparator, plain=True).any()) == str(House.rooms.any())
