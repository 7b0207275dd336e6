"""Where a session writes: tests/adoption/test_routing.py tries each call; here is what stands on private names."""

from __future__ import annotations

from sqlalchemy import create_engine, event
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.ext.horizontal_shard import ShardedSession
from sqlalchemy.orm import Mapped, Session, mapped_column

import sqlkeel
from sqlkeel.sessions._routes import as_flushing, dialect_of, is_writing, writing_bind


class Base(sqlkeel.Base):
    """The tables of these tests."""


class Note(Base):
    """Something written."""

    __tablename__ = "note"
    id: Mapped[int] = mapped_column(primary_key=True)


class TestFlushing:
    def test_it_is_said_for_a_moment(self) -> None:
        """Canary of `_flushing`: a new session has it, and it is false again behind the block, after an error, too."""
        session = Session()
        before = session._flushing
        with as_flushing(session):
            inside = session._flushing

        assert (before, inside, session._flushing) == (False, True, False)

    def test_it_is_known_when_it_writes(self) -> None:
        """Canary of `_transaction`: without it, a `touch()` in a listener would count nothing, or a flush too late."""
        engine = create_engine("sqlite://")
        Base.metadata.create_all(engine)
        seen: dict[str, bool] = {}
        with Session(engine) as session:
            for name in ("before_flush", "after_flush", "after_flush_postexec"):
                event.listen(session, name, lambda *_, name=name: seen.update({name: is_writing(session)}))
            session.add(Note())
            session.flush()
            event.listen(session, "before_commit", lambda _: seen.update(before_commit=is_writing(session)))
            session.commit()
        engine.dispose()

        assert [name for name, writing in seen.items() if writing] == ["after_flush", "after_flush_postexec"]
        assert len(seen) == 4


class TestShards:
    def test_they_are_kept_where_we_look(self) -> None:
        """Canary of the private name: without it, a repository could not read in a ``ShardedSession``."""
        engine = create_engine("sqlite://")
        session = ShardedSession(
            shards={"one": engine},
            shard_chooser=lambda *_: "one",
            identity_chooser=lambda *_, **__: ["one"],
            execute_chooser=lambda _: ["one"],
        )

        assert dialect_of(session, sa_inspect(Note)) is engine.dialect
        engine.dispose()


class TestWritingBind:
    def test_it_is_that_of_the_base(self) -> None:
        """As a flush asks for it; a session of one engine has no other."""
        engine = create_engine("sqlite://")

        assert writing_bind(Session(engine), sa_inspect(Note)) is engine
        engine.dispose()
