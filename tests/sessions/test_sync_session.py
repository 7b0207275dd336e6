"""The synchronous session: what it refuses, in any session that is made of it, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import nullcontext, suppress
from typing import Any

import pytest
from sqlalchemy import Select, String, create_engine, delete, event, func, insert, select, text, update
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import Mapped, Session, mapped_column, object_session
from sqlalchemy.util import await_only, greenlet_spawn

import sqlkeel
from sqlkeel.bulk import insert_many
from sqlkeel.errors import AlreadyFlushing, ReadOnlySession, UsageError
from sqlkeel.repository import Repository
from sqlkeel.sessions import Database, SyncSession
from sqlkeel.sessions import Session as OurSession
from sqlkeel.versions import VersionMixin  # noqa: F401 - its listeners surround each flush


class Base(sqlkeel.Base):
    """The tables of these tests."""


class User(Base):
    """Somebody with an address."""

    __tablename__ = "user"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    email: Mapped[str] = mapped_column(String(50), unique=True)


pytestmark = pytest.mark.tables(Base.metadata)

DECIDED = {
    "commit", "connection", "delete", "delete_all", "execute", "flush", "get", "merge", "merge_all", "scalar",
    "scalars",
}  # fmt: skip
"""Overridden by us."""

WRITES = {"add", "add_all", "begin_nested"}
"""They put objects in front of a flush, which we override."""

READS = {"get_one", "refresh"}
"""They go through `get` or `execute`, or the loader whose statements our listeners see."""

HOLDS = {"expire", "expire_all", "expunge", "expunge_all", "is_modified", "no_autoflush"}
"""They change what is held and send nothing."""

ENDS = {"begin", "close", "invalidate", "reset", "rollback"}
"""They begin or end a transaction: the events of `SyncSession` see it."""

ASKS = {
    "bind_mapper", "bind_table", "deleted", "dirty", "execution_options", "get_bind", "get_nested_transaction",
    "get_transaction", "identity_key", "in_nested_transaction", "in_transaction", "info", "is_active", "new",
    "object_session",
}  # fmt: skip
"""They send nothing."""

OF_SYNC = {
    "bulk_insert_mappings", "bulk_save_objects", "bulk_update_mappings", "connection_callable", "dispatch",
    "enable_relationship_loading", "prepare", "query",
}  # fmt: skip
"""The bulk ones are refused in a session for reading; `Query` sends by `execute`; `prepare` flushes."""

OF_ASYNC = {
    "aclose", "autoflush", "bind", "binds", "close_all", "get_async_bind", "identity_map", "run_sync", "stream",
    "stream_scalars", "sync_session_class",
}  # fmt: skip
"""The streams are `execute` of the session inside."""


class TestIsolation:
    """A level that is asked for too late, or in the wrong place, is an error and not a warning."""

    async def test_before_the_first_statement_it_is_taken(self, db: Database) -> None:
        """A plain session may set it, as SQLAlchemy documents it."""
        async with db.session() as session:
            await session.connection(execution_options={"isolation_level": "SERIALIZABLE"})

            assert await session.scalar(select(1)) == 1

    async def test_after_the_first_statement_it_is_refused(self, db: Database) -> None:
        """The transaction goes on as it was; it is not in force and must not seem to be."""
        async with db.session() as session:
            await session.execute(select(1))

            with pytest.raises(UsageError, match="fixed by the first statement"):
                await session.connection(execution_options={"isolation_level": "SERIALIZABLE"})

            assert await session.scalar(select(1)) == 1

    async def test_the_next_transaction_may_have_another(self, db: Database) -> None:
        """With COMMIT everything begins anew."""
        async with db.session() as session:
            await session.execute(select(1))
            await session.commit()

            connection = await session.connection(execution_options={"isolation_level": "SERIALIZABLE"})

            assert connection.sync_connection is not None
            assert connection.sync_connection.get_execution_options()["isolation_level"] == "SERIALIZABLE"

    async def test_other_options_are_taken_at_any_time(self, db: Database) -> None:
        """What does not concern the level is none of this."""
        async with db.session() as session:
            await session.execute(select(1))

            connection = await session.connection()

            assert await connection.scalar(text("SELECT 7")) == 7

    async def test_with_a_statement_it_is_refused(self, db: Database) -> None:
        """SQLAlchemy refuses it on a statement, and would ignore it beside one in silence."""
        level = {"isolation_level": "SERIALIZABLE"}

        async with db.session() as session:
            with pytest.raises(UsageError, match="no effect") as caught:
                await session.execute(select(1), execution_options=level)

        assert 'db.transaction(isolation="serializable")' in caught.value.hint

    @pytest.mark.parametrize("kind", [AsyncSession, OurSession])
    async def test_a_session_may_have_one_for_all_its_transactions(
        self, db: Database, kind: type[AsyncSession]
    ) -> None:
        """SQLAlchemy's ``execution_options`` of a session are its connections', in savepoints too."""
        level = {"isolation_level": "SERIALIZABLE"}

        async with kind(db.engine, sync_session_class=SyncSession, execution_options=level) as session:
            for number in (1, 2):
                async with session.begin_nested():
                    session.add(User(id=number, email=str(number)))
                connection = await session.connection()
                assert await connection.get_isolation_level() == "SERIALIZABLE"
                assert await session.scalar(select(User.id), execution_options=level) == 1
                await session.commit()

            with pytest.raises(UsageError, match="no effect"):
                await session.execute(select(1), execution_options={"isolation_level": "READ COMMITTED"})


class TestReadOnly:
    @pytest.mark.parametrize(
        "write",
        [insert(User).values(id=1, email="a"), update(User).values(email="a"), delete(User)],
        ids=["insert", "update", "delete"],
    )
    async def test_a_writing_statement_is_refused(self, db: Database, write: object) -> None:
        """A statement that writes is refused before anything is sent."""
        async with db.session(read_only=True) as session:
            with pytest.raises(ReadOnlySession):
                await session.execute(write)  # type: ignore[call-overload]

            assert not session.in_transaction() or not session.get_transaction().connections  # type: ignore[union-attr]

    async def test_a_flush_is_refused(self, db: Database) -> None:
        """New objects are refused when they are flushed."""
        async with db.session(read_only=True) as session:
            session.add(User(id=1, email="a"))

            with pytest.raises(ReadOnlySession):
                await session.flush()

    @pytest.mark.parametrize(
        "write",
        [
            lambda session: session.bulk_save_objects([User(id=1, email="a")]),
            lambda session: session.bulk_insert_mappings(User, [{"id": 1, "email": "a"}]),
            lambda session: session.bulk_update_mappings(User, [{"id": 1, "email": "a"}]),
        ],
        ids=["save", "insert", "update"],
    )
    async def test_a_legacy_bulk_method_is_refused(self, db: Database, write: Callable[[Session], None]) -> None:
        """What SQLAlchemy writes past flush and statement is refused as well."""
        async with db.session(read_only=True) as session:
            with pytest.raises(ReadOnlySession):
                await session.run_sync(write)

    async def test_reading_is_not_refused(self, db: Database) -> None:
        """Queries pass, and so does a flush of nothing."""
        async with db.session(read_only=True) as session:
            assert session.read_only
            await session.flush()
            assert (await session.scalars(select(User))).all() == []


class TestDoors:
    """Each public method of SQLAlchemy's sessions has been looked at, for whether it goes past us and the mixins."""

    @pytest.mark.parametrize("kind", [Session, AsyncSession])
    def test_there_is_no_door_that_nobody_has_looked_at(self, kind: type[Any]) -> None:
        """A method that a newer SQLAlchemy adds fails here: see what it does past `SyncSession`, then list it."""
        looked_at = DECIDED | WRITES | READS | HOLDS | ENDS | ASKS | (OF_ASYNC if kind is AsyncSession else OF_SYNC)

        assert {name for name in dir(kind) if not name.startswith("_")} == looked_at

    def test_ours_is_in_the_place_of_theirs(self) -> None:
        """What would write or read past us is overridden; the asynchronous session calls the synchronous one."""
        assert {name for name in DECIDED if getattr(SyncSession, name) is getattr(Session, name)} == set()


class TestSyncSession:
    async def test_a_stock_session_may_use_it(self, db: Database) -> None:
        """``async_sessionmaker(sync_session_class=SyncSession)`` brings the listeners without our Session."""
        factory = async_sessionmaker(db.engine, sync_session_class=SyncSession)

        async with factory.begin() as session:
            session.add(User(id=1, email="a"))

        async with factory() as session:
            assert await session.scalar(select(User.email)) == "a"

    async def test_nothing_is_left_behind(self, db: Database) -> None:
        """A session remembers neither transactions nor hooks that ended."""
        async with db.session() as session:
            session.on_commit(lambda: None)
            async with session.savepoint():
                session.on_commit(lambda: None)
            await session.execute(select(func.count()).select_from(User))
            await session.commit()

        hooks = session.sync_session.hooks_at_end
        assert (hooks._waiting, hooks._committed, hooks._due) == ({}, set(), [])


class Flushing(SyncSession):
    """Counts how often it is asked to flush."""

    flushes = 0

    def flush(self, objects: Any = None) -> None:
        """Count one more."""
        self.flushes += 1
        super().flush(objects)


class TestAutoflush:
    async def test_a_query_flushes_what_there_is_to_write(self, db: Database) -> None:
        """With nothing to write a query does not ask, by a private method of SQLAlchemy's; else it sees what is new."""
        async with async_sessionmaker(db.engine, sync_session_class=Flushing)() as session:
            await session.scalars(select(User))
            before = session.sync_session.flushes  # type: ignore[attr-defined]
            session.add(User(id=1, email="a"))
            found = (await session.scalars(select(User.email))).all()

            assert before == 0
            assert found == ["a"]


async def creates(session: OurSession) -> None:
    await Repository(session, User).create(id=2, email="b")


async def inserts_many(session: OurSession) -> None:
    await insert_many(session, User, [{"id": 2, "email": "b"}])


async def upserts(session: OurSession) -> None:
    await Repository(session, User).upsert({"id": 2, "email": "b"}, on=[User.id])


async def locks(session: OurSession) -> None:
    await session.lock_rows(User, [1])


VERBS = [creates, inserts_many, upserts, locks]


class TestFlushInAFlush:
    @pytest.mark.parametrize("swallowed", [False, True])
    async def test_it_is_refused_as_by_sqlalchemy(self, db: Database, swallowed: bool) -> None:
        """A listener that flushes is told that there is a flush; where it goes on, the first one writes."""
        said: list[str] = []

        def flush_again(session: SyncSession, *_: Any) -> None:
            try:
                session.flush()
            except InvalidRequestError as error:
                said.append(str(error))
                if not swallowed:
                    raise

        async with db.session() as session:
            event.listen(session.sync_session, "before_flush", flush_again)
            session.add(User(id=1, email="a"))
            with nullcontext() if swallowed else pytest.raises(AlreadyFlushing, match=r"session\.add\(obj\)"):
                await session.commit()

        assert [one.partition(":")[0] for one in said] == ["Session is already flushing"]
        async with db.read() as session:
            assert (await session.scalars(select(User.email))).all() == (["a"] if swallowed else [])

    @pytest.mark.parametrize("when", ["before_flush", "after_flush", "after_flush_postexec"])
    @pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.__name__)
    async def test_verbs_say_so(
        self, sqlite: Database, verb: Callable[[OurSession], Awaitable[Any]], when: str
    ) -> None:
        """What writes, or locks, flushes first, and is refused in a listener with what to do there."""
        async with sqlite.session() as session:
            user = User(id=1, email="a")
            session.add(user)
            event.listen(session.sync_session, when, lambda *_: await_only(verb(session)), once=True)

            with pytest.raises(AlreadyFlushing):
                await session.flush()

    @pytest.mark.parametrize("swallowed", [False, True])
    @pytest.mark.parametrize("end", ["commit", "rollback"])
    @pytest.mark.parametrize("when", ["before_flush", "after_flush", "after_flush_postexec"])
    async def test_nor_does_it_end_the_transaction(self, db: Database, when: str, end: str, swallowed: bool) -> None:
        """A listener would keep, or lose, half of a unit of work; where it goes on, the whole is written."""

        def end_it(session: SyncSession, *_: Any) -> None:
            with suppress(AlreadyFlushing) if swallowed else nullcontext():
                getattr(session, end)()

        with nullcontext() if swallowed else pytest.raises(AlreadyFlushing, match=rf"{end}\(\)"):
            async with db.transaction() as session:
                session.add(User(id=1, email="a"))
                await session.flush()
                event.listen(session.sync_session, when, end_it, once=True)
                session.add(User(id=2, email="b"))

        async with db.read() as session:
            assert (await session.scalars(select(User.email))).all() == (["a", "b"] if swallowed else [])


class SelectOfScalar(Select[Any]):
    """What SQLModel's ``select()`` returns for one entity."""

    inherit_cache = True


class SQLModelSession(AsyncSession):
    """What SQLModel's asynchronous session does: it asks the session inside for `exec`."""

    async def exec(self, statement: Any, **options: Any) -> Any:
        """Execute and return rows or values."""
        return await greenlet_spawn(self.sync_session.exec, statement, params=None, **options)  # type: ignore[attr-defined]


class TestSQLModel:
    @pytest.fixture
    async def users(self, db: Database) -> None:
        """Two rows."""
        async with db.transaction() as session:
            session.add_all([User(id=1, email="a"), User(id=2, email="b")])

    @pytest.mark.usefixtures("users")
    async def test_one_entity_gives_values(self, db: Database) -> None:
        """``exec(select(User))`` gives objects."""
        async with SQLModelSession(db.engine, sync_session_class=SyncSession) as session:
            found = await session.exec(SelectOfScalar(User).order_by(User.id), execution_options={})

            assert [user.email for user in found.all()] == ["a", "b"]

    @pytest.mark.usefixtures("users")
    async def test_several_columns_give_rows(self, db: Database) -> None:
        """Any other statement gives rows."""
        async with SQLModelSession(db.engine, sync_session_class=SyncSession) as session:
            found = await session.exec(select(User.id, User.email).order_by(User.id), bind_arguments=None)

            assert [tuple(row) for row in found.all()] == [(1, "a"), (2, "b")]

    async def test_what_is_refused_is_refused(self, db: Database) -> None:
        """It is `execute` with all that this refuses."""
        async with SQLModelSession(db.engine, sync_session_class=SyncSession) as session:
            session.info["sqlkeel_read_only"] = True

            with pytest.raises(ReadOnlySession):
                await session.exec(insert(User).values(id=3, email="c"))


class TestPrivateNames:
    """What SQLAlchemy's session keeps under private names."""

    def test_a_change_within_a_flush_passes_the_warning(self) -> None:
        """Canary of `_flush_warning`: without it, what another task links during a flush would be lost."""
        seen: list[str] = []

        class Watched(SyncSession):
            def _flush_warning(self, method: Any) -> None:
                seen.append(str(method))

        def change(mapper: Any, connection: Any, user: User) -> None:
            session = object_session(user)
            assert session is not None
            session.add(User(id=2, email="b"))

        engine = create_engine("sqlite://")
        Base.metadata.create_all(engine)
        event.listen(User, "before_insert", change)
        try:
            with Watched(engine) as session:
                session.add(User(id=1, email="a"))
                session.flush()
        finally:
            event.remove(User, "before_insert", change)
            engine.dispose()

        assert seen == ["Session.add()"]
