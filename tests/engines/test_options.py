"""The options of ``create_async_engine``: a Database does what it promises with them, or refuses them."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from sqlalchemy import JSON, AssertionPool, AsyncAdaptedQueuePool, NullPool, StaticPool, event, func, insert, select
from sqlalchemy.orm import Mapped, mapped_column

import sqlkeel
from sqlkeel.errors import InvalidURL, NotSupported, UniqueViolation
from sqlkeel.repository import Repository
from sqlkeel.sessions import Database, Session
from tests.fixtures.databases import OpenDatabase


class Base(sqlkeel.Base):
    """The tables of these tests."""


class Note(Base):
    """Something written."""

    __tablename__ = "note"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    body: Mapped[dict[str, int]] = mapped_column(JSON)


pytestmark = pytest.mark.tables(Base.metadata)

FILE = "sqlite+aiosqlite:///app.db"
MEMORY = "sqlite+aiosqlite://"
SHARED = "sqlite+aiosqlite:///file:app?mode=memory&cache=shared&uri=true"
SERVERS = ("postgresql+asyncpg://localhost/app", "postgresql+psycopg://localhost/app", "mariadb://localhost/app")

COMMITS = {"autocommit": True}
TAKEN: dict[str, dict[str, Any]] = {
    "no pool": {"poolclass": NullPool},
    "SQLAlchemy's pool": {"poolclass": AsyncAdaptedQueuePool, "pool_size": 2, "max_overflow": 0, "pool_timeout": 5},
    "pool": {"pool_recycle": 60, "pool_pre_ping": True, "pool_use_lifo": True, "pool_logging_name": "notes"},
    "no reset": {"pool_reset_on_return": None},
    "reset by COMMIT": {"pool_reset_on_return": "commit"},
    "level": {"isolation_level": "SERIALIZABLE"},
    "level of the connections": {"execution_options": {"isolation_level": "SERIALIZABLE"}},
    "schemas": {"execution_options": {"schema_translate_map": {"nowhere": None}}},
    "inserts": {"use_insertmanyvalues": False, "insertmanyvalues_page_size": 7, "skip_autocommit_rollback": True},
    "statements": {"query_cache_size": 0, "label_length": 20, "enable_from_linting": False},
    "shown": {"hide_parameters": False, "logging_name": "notes", "echo": False, "echo_pool": False, "plugins": []},
}


class TestTaken:
    @pytest.mark.parametrize("options", TAKEN.values(), ids=TAKEN)
    async def test_the_promises_hold(
        self, every_driver: Database, open_database: OpenDatabase, options: dict[str, Any]
    ) -> None:
        """A block commits or rolls back, many rows are written, errors are ours, and reading is only reading."""
        database = open_database(every_driver, **options)

        async with database.transaction() as session:
            await Repository(session, Note).insert_many([{"id": key, "body": {"n": key}} for key in range(20)])
        with pytest.raises(UniqueViolation):
            async with database.transaction() as session:
                session.add(Note(id=20, body={}))
                await session.flush()
                session.add(Note(id=1, body={}))

        async with database.read() as session:
            assert await session.scalar(select(func.count()).select_from(Note)) == 20
            assert (await session.get_one(Note, 7)).body == {"n": 7}

    async def test_what_writes_json_is_the_callers(self, every_driver: Database, open_database: OpenDatabase) -> None:
        """``json_serializer`` is asked for one object and for many rows."""
        database = open_database(every_driver, json_serializer=lambda value: '{"n": 1}')

        async with database.transaction() as session:
            session.add(Note(id=1, body={"n": 7}))
            await Repository(session, Note).insert_many([{"id": key, "body": {"n": 7}} for key in (2, 3)])

        async with database.read() as session:
            assert [note.body for note in await session.scalars(select(Note))] == [{"n": 1}] * 3

    async def test_a_listener_sees_each_connection_before_it_is_made(
        self, every_driver: Database, open_database: OpenDatabase
    ) -> None:
        """As the hint says: what changes with each connection is put in where both engines connect."""
        database = open_database(every_driver)
        given: list[set[str]] = []
        for engine in database.engines:
            event.listen(engine.sync_engine, "do_connect", lambda *asked: given.append(set(asked[3])))

        async with database.transaction() as session, database.read() as reader:
            await session.execute(select(1))
            await reader.execute(select(1))

        assert len(given) == 2
        assert all(given)

    async def test_it_may_make_the_connection(self, every_driver: Database, open_database: OpenDatabase) -> None:
        """What a listener returns is the connection, as SQLAlchemy has it; errors of ours come out all the same."""
        database = open_database(every_driver)
        event.listen(
            database.engine.sync_engine,
            "do_connect",
            lambda dialect, record, args, kwargs: dialect.connect(*args, **kwargs),
        )

        with pytest.raises(UniqueViolation):
            async with database.transaction() as session:
                await session.execute(insert(Note), [{"id": 1, "body": {}}] * 2)


class TestLevels:
    @pytest.mark.parametrize("of_session", [False, True], ids=["of a copy of the engine", "of the session"])
    async def test_a_level_of_ones_own_holds(self, every_driver: Database, of_session: bool) -> None:
        """``engine.execution_options`` and those of a session are the transaction's, which is rolled back as any."""
        level = {"isolation_level": "SERIALIZABLE"}
        engine = every_driver.engine if of_session else every_driver.engine.execution_options(**level)
        async with Session(engine, **({"execution_options": level} if of_session else {})) as session:
            session.add(Note(id=1, body={}))
            await session.flush()
            assert await (await session.connection()).get_isolation_level() == "SERIALIZABLE"
            await session.rollback()
            session.add(Note(id=2, body={}))
            await session.commit()

        async with every_driver.transaction() as session:
            assert (await session.scalars(select(Note.id))).all() == [2]
            usual = await (await session.connection()).get_isolation_level()
        assert usual != "SERIALIZABLE" or every_driver.dialect == "sqlite"

    async def test_autocommit_of_a_copy_is_a_commit_of_each_statement(self, every_driver: Database) -> None:
        """For DDL, as the hint of the refusal says; what is several statements is refused then."""
        engine = every_driver.engine.execution_options(isolation_level="AUTOCOMMIT")
        async with engine.connect() as connection:
            await connection.execute(insert(Note).values(id=1, body={}))
            await connection.rollback()

        async with every_driver.read() as session:
            assert (await session.scalars(select(Note.id))).all() == [1]


class TestRefused:
    @pytest.mark.parametrize("url", [FILE, MEMORY, *SERVERS])
    @pytest.mark.parametrize(
        ("options", "words", "hint"),
        [
            ({"creator": print}, "creator would open", "connect_args"),
            ({"async_creator": print}, "async_creator would open", "do_connect"),
            ({"pool": object()}, "one for writing and one for reading", "poolclass="),
            ({"isolation_level": "AUTOCOMMIT"}, "could be rolled back", "db.read()"),
            ({"isolation_level": "autocommit"}, "could be rolled back", "db.read()"),
            ({"execution_options": {"isolation_level": "AUTOCOMMIT"}}, "could be rolled back", "db.read()"),
        ],
    )
    def test_what_would_break_a_promise(self, url: str, options: dict[str, Any], words: str, hint: str) -> None:
        """It is refused when the Database is made, whatever the database, with what does the same safely."""
        with pytest.raises(NotSupported, match=words) as caught:
            Database(url, **options)

        assert hint in caught.value.hint

    @pytest.mark.parametrize("url", [FILE, MEMORY])
    @pytest.mark.parametrize(
        ("name", "value", "hint"),
        [
            ("isolation_level", "DEFERRED", "db.read()"),
            ("isolation_level", "", "db.read()"),
            ("autocommit", False, "db.read()"),
            ("factory", object, "'connect'"),
            ("async_creator_fn", print, "'connect'"),
        ],
    )
    def test_what_begins_transactions_beside_us(self, url: str, name: str, value: Any, hint: str) -> None:
        """SQLite's driver would begin its own; each was overruled in silence."""
        with pytest.raises(NotSupported, match=f"{name} cannot be given") as caught:
            Database(url, connect_args={name: value})

        assert hint in caught.value.hint

    def test_in_the_url_too(self) -> None:
        """SQLAlchemy gives the query of a URL to the driver."""
        with pytest.raises(NotSupported, match="isolation_level cannot be given"):
            Database(f"{FILE}?isolation_level=DEFERRED")

    @pytest.mark.parametrize("url", SERVERS[1:])
    @pytest.mark.parametrize("value", ["true", "false"])
    def test_a_driver_that_commits_each_statement(self, url: str, value: str) -> None:
        """Nothing could be rolled back; in a URL the text "false" is taken for a truth, too."""
        for database in (partial(Database, f"{url}?autocommit={value}"), partial(Database, url, connect_args=COMMITS)):
            with pytest.raises(NotSupported, match=r"autocommit cannot be given to (psycopg|asyncmy)") as caught:
                database()

            assert "db.read()" in caught.value.hint

        assert Database(url, connect_args={"autocommit": False}).dialect

    async def test_other_arguments_are_taken(self, sqlite: Database, open_database: OpenDatabase) -> None:
        """How long to wait for the lock, what is cached, no level at all."""
        given = {"timeout": 1, "cached_statements": 5, "check_same_thread": False, "isolation_level": None}
        database = open_database(sqlite, connect_args=given)

        async with database.transaction() as session:
            session.add(Note(id=1, body={}))

        async with database.read() as session:
            assert await session.scalar(select(func.count(Note.id))) == 1

    @pytest.mark.parametrize("url", [FILE, *SERVERS])
    def test_one_connection_for_everybody(self, url: str) -> None:
        """Two transactions on one connection are one, so that each would commit the other's work."""
        with pytest.raises(NotSupported, match="would share one connection") as caught:
            Database(url, poolclass=StaticPool)

        assert "pool_size=1" in caught.value.hint

    @pytest.mark.parametrize("url", [MEMORY, SHARED])
    @pytest.mark.parametrize("kind", [StaticPool, NullPool, AssertionPool])
    def test_another_pool_in_memory(self, url: str, kind: type[Any]) -> None:
        """Ours keeps the database in memory and gives it to one after the other; another would lose or share it."""
        with pytest.raises(NotSupported, match=f"{kind.__name__} would lose it") as caught:
            Database(url, poolclass=kind)

        assert "Leave poolclass out" in caught.value.hint

    async def test_a_queue_in_memory_has_one_connection(self) -> None:
        """The pool that may be named there keeps one connection, however many were asked for."""
        async with Database(MEMORY, poolclass=AsyncAdaptedQueuePool, pool_size=5) as database:
            async with database.engine.begin() as connection:
                await connection.run_sync(Base.metadata.create_all)
            async with database.transaction() as session:
                session.add(Note(id=1, body={}))

            async with database.read() as session:
                assert await session.scalar(select(Note.id)) == 1


class TestNumbersInTheURL:
    @pytest.mark.parametrize(
        ("driver", "query"),
        [
            ("psycopg", "prepare_threshold=0&connect_timeout=5"),
            ("asyncpg", "timeout=5&command_timeout=2.5&statement_cache_size=0&max_cacheable_statement_size=10"),
            ("asyncpg", "max_cached_statement_lifetime=0"),
        ],
    )
    async def test_they_are_numbers(
        self, postgres: Database, open_database: OpenDatabase, driver: str, query: str
    ) -> None:
        """A URL holds texts, of which the driver spoke in a TypeError at the first statement."""
        url = postgres.url.set(drivername=f"postgresql+{driver}").update_query_string(query)
        database = open_database(url.render_as_string(hide_password=False))

        async with database.transaction() as session:
            assert await session.scalar(select(1)) == 1

    async def test_an_argument_wins(self, psycopg: Database, open_database: OpenDatabase) -> None:
        """What connect_args say holds, as for any other option."""
        url = psycopg.url.update_query_dict({"prepare_threshold": "0"}).render_as_string(hide_password=False)
        database = open_database(url, connect_args={"prepare_threshold": None})

        async with database.engine.connect() as connection:
            driver: Any = (await connection.get_raw_connection()).driver_connection

            assert driver.prepare_threshold is None

    @pytest.mark.parametrize(
        ("url", "words"),
        [
            (
                "postgresql+psycopg://db/app?prepare_threshold=s3cret",
                "prepare_threshold in the database URL is not an integer",
            ),
            (
                "postgresql+psycopg://db/app?connect_timeout=s3cret",
                "connect_timeout in the database URL is not an integer",
            ),
            ("postgresql+asyncpg://db/app?timeout=s3cret", "timeout in the database URL is not a number"),
            (
                "postgresql+asyncpg://db/app?statement_cache_size=1.5",
                "statement_cache_size in the database URL is not an integer",
            ),
            ("postgresql+asyncpg://db/app?timeout=1&timeout=2", "timeout in the database URL is not a number"),
            ("postgresql+psycopg://db/app?row_factory=s3cret", "row_factory is not a string"),
            ("postgresql+asyncpg://db/app?server_settings=s3cret", "server_settings is not a string"),
            ("mariadb+asyncmy://db/app?ssl=s3cret", "ssl is not a string"),
            (
                "mariadb+asyncmy://db/app?max_allowed_packet=s3cret",
                "max_allowed_packet in the database URL is not an integer",
            ),
        ],
    )
    def test_what_is_none(self, url: str, words: str) -> None:
        """It is refused when the Database is made, and its value not repeated, in the chain of errors neither."""
        with pytest.raises(InvalidURL, match=words) as caught:
            Database(url)

        assert "s3cret" not in str(caught.value)
        assert caught.value.__context__ is None
