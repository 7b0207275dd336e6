"""Canaries of what SQLAlchemy does not promise: each says which feature breaks with a release that changes the name."""

from __future__ import annotations

import asyncio
from collections import deque
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Enum,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Sequence,
    String,
    Table,
    create_engine,
    delete,
    event,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.engine.cursor import BufferedRowCursorFetchStrategy
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.exc import StatementError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.ext.horizontal_shard import ShardedSession
from sqlalchemy.orm import (
    DeclarativeBase,
    LoaderCriteriaOption,
    Mapped,
    MappedAsDataclass,
    RelationshipProperty,
    Session,
    contains_eager,
    load_only,
    mapped_column,
    registry,
    relationship,
    selectinload,
    with_loader_criteria,
)
from sqlalchemy.orm import join as orm_join
from sqlalchemy.schema import AddConstraint, DropIndex, SchemaItem
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ClauseElement
from sqlalchemy.sql.visitors import HasTraverseInternals

from sqlkeel import _sqlalchemy as private
from sqlkeel.sessions import Database
from tests.engines.peers import soon


class Base(DeclarativeBase):
    """The tables of these tests."""


class House(Base):
    """Has rooms."""

    __tablename__ = "house"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(default="n")
    rooms: Mapped[list[Room]] = relationship(back_populates="house")


class Room(Base):
    """Is in a house."""

    __tablename__ = "room"
    id: Mapped[int] = mapped_column(primary_key=True)
    house_id: Mapped[int] = mapped_column(ForeignKey("house.id"))
    house: Mapped[House] = relationship(back_populates="rooms")


houses: Any = House.__table__
rooms: Any = Room.__table__
one_house: Any = select(House).where(House.id == 1, House.name == "a")


class TestList:
    def test_each_has_a_canary(self) -> None:
        """A name that is added comes with what breaks without it."""
        canaries = Path(__file__).read_text(encoding="utf-8")

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

    @pytest.mark.parametrize("name", sorted(private.OVERRIDDEN))
    def test_it_is_theirs(self, name: str) -> None:
        """A method that nobody calls any more would fail without a word."""
        owner = self.owners[name]

        assert hasattr(owner, name) or name in owner.__annotations__, private.OVERRIDDEN[name]


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


class TestMappers:
    def test_declared_relationship(self) -> None:
        """The type of children() and parent() would not fit to Mapped[...]."""
        assert type(relationship()) is private.DeclaredRelationship

    def test_configure_again(self) -> None:
        """The second use of refused models would pass, or be an error of SQLAlchemy's: `private.fails_as_it_is`."""
        kinds = registry()
        table = Table("thing", MetaData(), Column("id", Integer, primary_key=True))
        mapper = kinds.map_imperatively(type("Thing", (), {}), table)
        refusals: list[Exception] = []

        def refuse(*_: Any) -> None:
            refusals.append(KeyError("ours"))
            private.configure_again(mapper)
            private.fails_as_it_is(refusals[-1])
            raise refusals[-1]

        event.listen(mapper, "mapper_configured", refuse)
        for _ in range(2):
            with pytest.raises(KeyError, match="ours"):
                kinds.configure()

        assert len(refusals) == 2

    def test_declare_in(self) -> None:
        """A base below Base would put its models into the registry and the metadata of Base."""

        class Below(Base):
            __abstract__ = True

        kinds = registry()
        Below.metadata = kinds.metadata
        private.declare_in(Below, kinds)
        model = type("Thing", (Below,), {"__tablename__": "thing", "id": mapped_column(Integer, primary_key=True)})

        assert sa_inspect(model).registry is kinds

    def test_makes_dataclass(self) -> None:
        """A mixin's column in a model that is a dataclass would be an argument of its ``__init__``."""

        class Data(MappedAsDataclass, DeclarativeBase):
            pass

        assert private.makes_dataclass(Data)
        assert not private.makes_dataclass(Base)

    def test_check_version_by(self) -> None:
        """VersionMixin would check nothing: the second of two writers overwrites the first, silently."""
        mapper: Any = sa_inspect(House)
        before = mapper.version_id_col
        engine = create_engine("sqlite://")
        Base.metadata.create_all(engine)
        seen: list[str] = []
        private.check_version_by(mapper, houses.c.id)
        with Session(engine) as session:
            session.add(House(id=1, name="a"))
            session.commit()
            session.get_one(House, 1).name = "b"
            listen(engine, seen)
            session.flush()
            session.rollback()
        mapper.version_id_col = before
        engine.dispose()

        assert ["house.id = ? AND house.id = ?" in statement for statement in seen] == [True]

    def test_read_back_defaults(self) -> None:
        """updated_at would expire with each flush, and asynchronous code could not read it."""
        mapper: Any = sa_inspect(House)
        before = mapper.eager_defaults
        private.read_back_defaults(mapper)
        now, mapper.eager_defaults = mapper.eager_defaults, before

        assert (before, now) == ("auto", True)


def listen(engine: Any, seen: list[str]) -> None:
    """Keep what is sent."""
    event.listen(engine, "before_cursor_execute", lambda _, __, statement, *rest: seen.append(statement))


@pytest.fixture
def session() -> Any:
    """A session of SQLAlchemy's own, with one house in its database."""
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(House(id=1))
        session.commit()
        yield session
    engine.dispose()


class TestSessions:
    def test_new_states(self, session: Session) -> None:
        """A flush that has something to write would be passed over, a savepoint not know what it has made."""
        house = House(id=2)
        savepoint = session.begin_nested()
        session.add(house)

        assert sa_inspect(house) in private.new_states(session)
        session.flush()
        assert sa_inspect(house) in private.new_states(savepoint)

    def test_deleted_states(self, session: Session) -> None:
        """The same, for what is deleted."""
        house = session.get_one(House, 1)
        savepoint = session.begin_nested()
        session.delete(house)

        assert sa_inspect(house) in private.deleted_states(session)
        session.flush()
        assert sa_inspect(house) in private.deleted_states(savepoint)

    def test_set_flushing(self, session: Session) -> None:
        """A get_bind() that routes would answer with a replica, where a flush writes."""
        before = private.is_flushing(session)
        private.set_flushing(session, True)

        assert (before, private.is_flushing(session)) == (False, True)

    def test_a_flush_says_so(self, session: Session) -> None:
        """The same: `private.is_flushing` is what SQLAlchemy itself sets."""
        seen: list[bool] = []
        event.listen(session, "after_flush", lambda *_: seen.append(private.is_flushing(session)))
        session.add(House())
        session.flush()

        assert seen == [True]

    def test_part_of_transaction(self, session: Session) -> None:
        """A touch() in a listener would count nothing, or a flush too late."""
        seen: list[Any] = []
        event.listen(session, "after_flush", lambda *_: seen.append(private.part_of_transaction(session)))
        session.add(House())
        session.flush()

        assert [part.origin.name for part in seen] == ["SUBTRANSACTION"]

    def test_shards_of(self) -> None:
        """A repository could not read in a ``ShardedSession``."""
        engine = create_engine("sqlite://")
        session = ShardedSession(
            shards={"one": engine},
            shard_chooser=lambda *_: "one",
            identity_chooser=lambda *_, **__: ["one"],
            execute_chooser=lambda _: ["one"],
        )

        assert [*private.shards_of(session).values()] == [engine]
        engine.dispose()

    def test_new_run(self, session: Session) -> None:
        """What was read inside a savepoint that is rolled back would stay in the objects."""
        before = private.new_run()
        house = session.get_one(House, 1)

        assert before < private.run_of(sa_inspect(house)) < private.new_run()

    def test_an_object_that_was_not_read_has_no_run(self) -> None:
        """The same: `private.run_of` is a number of each object."""
        assert private.run_of(sa_inspect(House())) == 0

    def test_loads_only(self, session: Session) -> None:
        """UnloadedAttribute would not name the attribute."""
        house = session.get_one(House, 1, options=[load_only(House.id)])
        seen: list[Any] = []

        def note(state: Any) -> None:
            seen.append((sorted(private.loads_only(state)), private.refreshed_state(state)))

        event.listen(session, "do_orm_execute", note)
        assert house.name == "n"
        assert seen == [(["name"], sa_inspect(house))]

    def test_refreshed_state(self, session: Session) -> None:
        """UnloadedAttribute would be an AttributeError: `private.refreshed_state` tells the class."""
        house = session.get_one(House, 1)
        session.expire(house)
        seen: list[Any] = []

        event.listen(session, "do_orm_execute", lambda state: seen.append(private.refreshed_state(state)))
        assert house.name == "n"
        assert seen == [sa_inspect(house)]


class TestTables:
    def test_affinity_of(self) -> None:
        """A renamed column would not be told from one that is dropped; unknown types would differ at every check."""
        assert private.affinity_of(BigInteger()) is private.affinity_of(Integer()) is Integer

    def test_variants_of(self) -> None:
        """A revision would lose with_variant()."""
        assert [*private.variants_of(Integer().with_variant(BigInteger(), "mysql"))] == ["mysql"]

    def test_is_bound_to_type(self) -> None:
        """A revision would have the CHECK of an Enum twice."""
        table = Table("t", MetaData(), Column("e", Enum("a", native_enum=False, create_constraint=True)))
        checks = [one for one in table.constraints if isinstance(one, CheckConstraint)]

        assert [private.is_bound_to_type(one) for one in checks] == [True]
        assert not private.is_bound_to_type(CheckConstraint("1 = 1"))

    def test_bound_to_type(self) -> None:
        """The CHECK of a Choice would stand in a copy of its table twice."""
        assert private.is_bound_to_type(CheckConstraint("1 = 1", **private.bound_to_type()))

    def test_is_made_in(self) -> None:
        """A comparison would find the CHECK of a Boolean where a database needs none."""
        table = Table("t", MetaData(), Column("e", Enum("a", name="e", create_constraint=True)))
        (check,) = (one for one in table.constraints if isinstance(one, CheckConstraint))
        made = [
            private.is_made_in(check, kind().ddl_compiler(kind(), None))
            for kind in (sqlite.dialect, postgresql.dialect)
        ]

        assert made == [True, False]

    def test_ddl_condition_of(self) -> None:
        """An index for one database would be written into a revision for all."""
        index = Index("i", "a").ddl_if(dialect="postgresql")

        assert private.ddl_condition_of(index).dialect == "postgresql"
        assert private.ddl_condition_of(Index("j", "a")) is None

    def test_is_made(self) -> None:
        """The same: a comparison on another database would find it missing."""
        engine = create_engine("sqlite://")
        check: Any = CheckConstraint("a > 1", name="c").ddl_if(dialect="sqlite")
        Table("t", MetaData(), Column("a", Integer), check)
        statement = AddConstraint(check, isolate_from_table=False)
        with engine.connect() as connection:
            made = private.is_made(private.ddl_condition_of(check), statement, check, connection)
            check.ddl_if(dialect="postgresql")
            other = private.is_made(private.ddl_condition_of(check), statement, check, connection)
        engine.dispose()

        assert (made, other) == (True, False)

    def test_sequences_of(self) -> None:
        """A revision would not make a sequence that no column uses."""
        metadata = MetaData()
        sequence = Sequence("numbers", metadata=metadata)

        assert [*private.sequences_of(metadata).values()] == [sequence]

    def test_leave_out_of_statements(self) -> None:
        """live_parent() would load its mark with each row, and write it."""

        class Marked(DeclarativeBase):
            pass

        class Thing(Marked):
            __table__ = Table(
                "thing",
                Marked.metadata,
                Column("id", Integer, primary_key=True),
                Column("mark", Integer, **private.leave_out_of_statements()),
            )

        assert "mark" not in str(select(Thing))

    def test_key_part_of(self) -> None:
        """live_parent() would have two ways from table to table, and each join be refused."""
        kind = type("Part", (ForeignKey,), {"inherit_cache": True})
        key = ForeignKeyConstraint(["house_id"], ["house.id"])
        part = private.key_part_of(kind, "house.id", key)

        assert (type(part), part.constraint) == (kind, key)

    def test_column_beside(self) -> None:
        """An upsert on unique_live would not find its index on MariaDB."""
        condition = private.column_beside(houses, "live", Integer()) == 1

        assert str(select(House.id).where(condition)).endswith("WHERE house.live = :live_1")
        assert "live" not in houses.c

    def test_index_of(self) -> None:
        """Dropping a foreign key on MariaDB would leave the index that the server has made for it."""
        table = Table("t", MetaData(), Column("a", Integer))
        index = private.index_of(table, "i")

        assert index.table is table
        assert str(DropIndex(index).compile(dialect=mysql.dialect())) == "\nDROP INDEX i ON t"

    def test_copy_of_column(self) -> None:
        """A column of a new table could not be written with the type that it was given."""
        column = Column("a", String(5), nullable=False)
        copy = private.copy_of_column(column)

        assert (copy is column, copy.name, copy.nullable, copy.table is None) == (False, "a", False, True)

    def test_remove_column(self) -> None:
        """Lint on MariaDB would see the mark of unique_live, which no model has."""
        table = Table("t", MetaData(), Column("a", Integer), Column("b", Integer))
        private.remove_column(table, table.c.a)

        assert [column.name for column in table.columns] == ["b"]


async def adapter_of(connection: Any) -> Any:
    """Return SQLAlchemy's adapter of a driver's connection."""
    return (await connection.get_raw_connection()).dbapi_connection


class TestConnections:
    def test_asks_for_defaults(self) -> None:
        """An error of the caller's default would be taken for one of the database."""
        assert callable(getattr(DefaultDialect.execution_ctx_cls, private.ASKS_FOR_DEFAULTS))

    def test_asyncpg_set_ups(self) -> None:
        """A connection that breaks while it is set up would raise the driver's own error."""
        from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg

        assert [name for name in private.ASYNCPG_SET_UPS if not hasattr(PGDialect_asyncpg, name)] == []

    def test_watch_rows(self) -> None:
        """A statement beside a stream would not be refused, and take its rows."""
        engine = create_engine("sqlite://")
        seen: list[Any] = []
        with engine.connect() as connection:
            result = connection.execute(text("select 1"))
            result.cursor_strategy = BufferedRowCursorFetchStrategy(result.cursor, {})
            private.watch_rows(result, lambda strategy: seen.append(strategy) or strategy)
            row = result.scalar_one()
        engine.dispose()

        assert row == 1
        assert [type(one) for one in seen] == [BufferedRowCursorFetchStrategy]

    def test_rows_ahead(self) -> None:
        """Each row of a stream would take a turn of the session."""
        strategy = BufferedRowCursorFetchStrategy(None, {}, initial_buffer=deque([(1,)]))

        assert [*private.rows_ahead(strategy)] == [(1,)]

    async def test_raise_adapted(self, postgres: Database) -> None:
        """An error of COPY, or of a stream, would be asyncpg's own and no error of sqlkeel."""
        async with postgres.engine.connect() as connection:
            raw = await adapter_of(connection)

            with pytest.raises(postgres.engine.dialect.loaded_dbapi.Error):
                private.raise_adapted(raw, asyncpg.UniqueViolationError("twice"))

    async def test_what_is_no_error_of_the_driver_is_raised_as_it_is(self, every_driver: Database) -> None:
        """The same, for the adapter of each driver."""
        async with every_driver.engine.connect() as connection:
            raw = await adapter_of(connection)

            with pytest.raises(KeyError):
                private.raise_adapted(raw, KeyError("mine"))

    async def test_is_waiting(self, mariadb: Database) -> None:
        """COMMIT beside another task's statement would read the answer to that, and be CommitUnknown."""
        async with mariadb.engine.connect() as connection:
            raw = await adapter_of(connection)
            free = private.is_waiting(raw)
            waiting = asyncio.create_task(connection.execute(text("select sleep(2)")))
            taken = await soon(lambda: private.is_waiting(raw))
            await waiting

        assert (free, taken) == (False, True)

    def test_refuse_use(self) -> None:
        """A statement behind a lost connection would be an error that advises to roll back in the middle."""
        engine = create_engine("sqlite://")

        def refuse() -> None:
            raise KeyError("ours")

        with engine.connect() as connection:
            connection.begin()
            private.refuse_use(connection, refuse)
            connection.invalidate()
            with pytest.raises(StatementError, match="ours"):
                connection.execute(text("select 1"))
        engine.dispose()

    def test_renew_queue(self) -> None:
        """A second event loop would wait for connections in the first one, for ever."""
        from sqlalchemy import AsyncAdaptedQueuePool

        pool = AsyncAdaptedQueuePool(lambda: None, pool_size=3)  # type: ignore[arg-type,return-value]
        before: Any = pool._pool
        private.renew_queue(pool)

        assert pool._pool is not before
        assert pool.size() == 3

    def test_forget_pool_locks(self) -> None:
        """A second event loop would wait for the lock of the first one."""
        engine = create_engine("sqlite://")
        with engine.connect():
            pass
        locks: list[Any] = []
        listeners: Any = engine.pool.dispatch.connect
        for _ in range(2):
            locks.append(listeners._get_exec_once_mutex())
            private.forget_pool_locks(engine.pool)
        engine.dispose()

        assert locks[0] is not locks[1]
