"""Canaries of SQLAlchemy's mappers and sessions."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, create_engine, event
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.ext.horizontal_shard import ShardedSession
from sqlalchemy.orm import DeclarativeBase, MappedAsDataclass, Session, load_only, mapped_column, registry, relationship

from sqlkeel import _sqlalchemy as private
from tests.sqlalchemy_models import Base, House, houses


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
