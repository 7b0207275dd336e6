"""Keys: counted by the database, or made by the client in the order of time."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import MetaData, String, Table, Uuid, insert, select, text
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.schema import Column, CreateTable

import sqlkeel
from sqlkeel.errors import NotSupported, UniqueViolation
from sqlkeel.models import DualIDMixin, IntKeyMixin, UUIDKeyMixin, server_uuid7, uuid7
from sqlkeel.sessions import Database
from sqlkeel.testing._postgresql import PostgreSQLServer, wheel_programs
from tests.fixtures.databases import OpenDatabase


class Base(sqlkeel.Base):
    """The tables of these tests."""


class Counted(IntKeyMixin, Base):
    """Has a number."""

    __tablename__ = "counted"
    name: Mapped[str] = mapped_column(String(20), default="")


class Made(UUIDKeyMixin, Base):
    """Has a UUID."""

    __tablename__ = "made"
    name: Mapped[str] = mapped_column(String(20), default="")


class Both(DualIDMixin, Base):
    """Has a number inside and a UUID outside."""

    __tablename__ = "both"
    name: Mapped[str] = mapped_column(String(20), default="")


pytestmark = pytest.mark.tables(Base.metadata)


def milliseconds(key: uuid.UUID) -> int:
    """Return the time in a version 7 UUID."""
    return key.int >> 80


class TestUuid7:
    def test_it_is_version_7(self) -> None:
        """The bits say so, and the variant is that of RFC 9562."""
        key = uuid7()

        assert type(key) is uuid.UUID
        assert key.version == 7
        assert key.variant == uuid.RFC_4122

    def test_it_carries_the_time(self) -> None:
        """The first 48 bits are the milliseconds since 1970."""
        before = time.time_ns() // 1_000_000

        key = uuid7()

        assert before <= milliseconds(key) <= time.time_ns() // 1_000_000 + 1

    def test_later_keys_are_greater(self) -> None:
        """Keys of one process are in the order in which they were made, within a millisecond too."""
        keys = [uuid7() for _ in range(20_000)]

        assert keys == sorted(keys)
        assert len(set(keys)) == len(keys)

    @pytest.mark.parametrize("threads", [1, 4])
    def test_the_order_is_that_of_the_process(self, threads: int) -> None:
        """Whichever thread is next, its key is greater than all that any thread made before."""
        made: list[uuid.UUID] = []
        turn = threading.Lock()

        def make() -> None:
            for _ in range(5_000):
                with turn:
                    made.append(uuid7())

        _run([threading.Thread(target=make) for _ in range(threads)])

        assert made == sorted(made)
        assert len(set(made)) == threads * 5_000

    def test_threads_that_do_not_wait_for_each_other(self) -> None:
        """Each of four threads sees its own keys grow, and no key is made twice."""
        made: list[list[uuid.UUID]] = []
        threads = [threading.Thread(target=lambda: made.append([uuid7() for _ in range(5_000)])) for _ in range(4)]

        _run(threads)

        assert all(keys == sorted(keys) for keys in made)
        assert len({key for keys in made for key in keys}) == 20_000

    def test_a_forked_process_makes_other_keys(self) -> None:
        """A child of fork() has its parent's counter; what both make in one millisecond is different all the same."""
        done = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, check=True)

        assert done.stdout.split() == ["40000", "0"]

    @given(pause=st.integers(0, 50))
    def test_order_holds_over_any_pause(self, pause: int) -> None:
        """However much is done between two keys, the second is greater."""
        first = uuid7()
        sum(range(pause * 100))

        assert uuid7() > first


FORK = """
import os
from sqlkeel.models._keys import uuid7
keys, twice = 0, 0
for _ in range(10):
    read, write = os.pipe()
    uuid7()
    if not os.fork():
        os.write(write, b"".join(uuid7().bytes for _ in range(2_000)))
        os._exit(0)
    ours = [uuid7().bytes for _ in range(2_000)]
    data = b""
    while len(data) < 32_000:
        data += os.read(read, 32_000)
    os.wait()
    theirs = {data[at : at + 16] for at in range(0, len(data), 16)}
    keys += len(ours) + len(theirs)
    twice += len(theirs.intersection(ours))
    os.close(read)
    os.close(write)
print(keys, twice)
"""


class TestIntKey:
    async def test_the_database_counts(self, every_driver: Database) -> None:
        """A key is there after the flush, and the next one is greater."""
        async with every_driver.transaction() as session:
            first, second = Counted(name="a"), Counted(name="b")
            session.add(first)
            await session.flush()
            session.add(second)
            await session.flush()

            assert first.id < second.id

    async def test_it_has_64_bits(self, every_driver: Database) -> None:
        """The key that is farthest away fits; the largest would leave MariaDB's counter at its end."""
        async with every_driver.transaction() as session:
            session.add(Counted(id=-(2**63)))

        async with every_driver.read() as session:
            assert await session.scalar(select(Counted.id)) == -(2**63)

    async def test_many_objects_get_their_keys(self, every_driver: Database) -> None:
        """A flush of many objects gives each its own key."""
        rows = [Counted(name=f"{number}") for number in range(50)]

        async with every_driver.transaction() as session:
            session.add_all(rows)

        async with every_driver.read() as session:
            stored = (await session.execute(select(Counted.id, Counted.name))).all()
        assert {(row.id, row.name) for row in rows} == {tuple(row) for row in stored}

    def test_the_column_comes_first(self) -> None:
        """A key is the first column of its table, wherever the mixin stands."""
        assert list(Counted.__table__.c.keys()) == ["id", "name"]
        assert list(Both.__table__.c.keys()) == ["id", "public_id", "name"]

    def test_the_ddl_of_each_database(self) -> None:
        """BIGINT with identity where there is one; SQLite counts INTEGER only."""
        ddl = {
            dialect.name: str(CreateTable(Counted.__table__).compile(dialect=dialect))  # type: ignore[arg-type]
            for dialect in (postgresql.dialect(), mysql.dialect(), sqlite.dialect())  # type: ignore[no-untyped-call]
        }

        assert "id BIGINT GENERATED BY DEFAULT AS IDENTITY" in ddl["postgresql"]
        assert "id BIGINT NOT NULL AUTO_INCREMENT" in ddl["mysql"]
        assert "id INTEGER NOT NULL" in ddl["sqlite"]


class TestUUIDKey:
    async def test_the_client_makes_it(self, every_driver: Database) -> None:
        """Key and row come back equal, as a UUID object."""
        row = Made(name="a")
        async with every_driver.transaction() as session:
            session.add(row)

        async with every_driver.read() as session:
            stored = await session.scalar(select(Made.id))

        assert stored == row.id
        assert isinstance(stored, uuid.UUID)

    async def test_core_gets_it_as_well(self, every_driver: Database) -> None:
        """An insert() of many rows makes a key for each."""
        async with every_driver.transaction() as session:
            await session.execute(insert(Made), [{"name": "a"}, {"name": "b"}])

        async with every_driver.read() as session:
            keys = (await session.scalars(select(Made.id))).all()
        assert sorted(key.version or 0 for key in keys) == [7, 7]

    async def test_a_key_of_your_own_is_kept(self, db: Database) -> None:
        """What the caller gives is stored."""
        key = uuid.uuid4()
        async with db.transaction() as session:
            session.add(Made(id=key))

        async with db.read() as session:
            assert await session.get(Made, key) is not None

    async def test_the_database_sorts_by_time(self, every_driver: Database) -> None:
        """ORDER BY id is the order in which rows were made, on every database."""
        keys = [uuid7() for _ in range(20)]
        async with every_driver.transaction() as session:
            await session.execute(insert(Made), [{"id": key} for key in reversed(keys)])

        async with every_driver.read() as session:
            assert (await session.scalars(select(Made.id).order_by(Made.id))).all() == keys


class TestDualID:
    async def test_it_has_both(self, every_driver: Database) -> None:
        """A row is found by either key."""
        row = Both(name="a")
        async with every_driver.transaction() as session:
            session.add(row)

        async with every_driver.read() as session:
            found = await session.scalar(select(Both).where(Both.public_id == row.public_id))

        assert found is not None
        assert (found.id, found.public_id.version) == (row.id, 7)

    async def test_the_public_key_is_unique(self, every_driver: Database) -> None:
        """No two rows share one."""
        key = uuid7()

        with pytest.raises(UniqueViolation) as caught:
            async with every_driver.transaction() as session:
                session.add_all([Both(public_id=key), Both(public_id=key)])

        assert caught.value.columns == ("public_id",)

    async def test_concurrent_writers_do_not_collide(self, db: Database) -> None:
        """Keys of ten tasks are ten keys."""

        async def write() -> uuid.UUID:
            async with db.transaction() as session:
                row = Both()
                session.add(row)
            return row.public_id

        keys = await asyncio.gather(*(write() for _ in range(10)))

        assert len(set(keys)) == 10


def made_by_the_server() -> MetaData:
    """Return a table whose keys the server makes."""
    metadata = MetaData()
    Table(
        "upload",
        metadata,
        Column("id", Uuid(), primary_key=True, server_default=server_uuid7()),
        Column("n", String(9)),
    )
    return metadata


class TestServerUUID7:
    @pytest.fixture
    def newest(self) -> Iterator[PostgreSQLServer]:
        """A PostgreSQL that has the function."""
        with PostgreSQLServer(wheel_programs()) as server:
            yield server

    async def test_postgresql_18_makes_the_key(self, newest: PostgreSQLServer, open_database: OpenDatabase) -> None:
        """For rows of other programs too, and in the order of time."""
        database = open_database(newest.url())
        async with database.engine.begin() as connection:
            await connection.run_sync(made_by_the_server().create_all)
            await connection.execute(text("INSERT INTO upload (n) VALUES ('a'), ('b')"))

            keys = (await connection.scalars(text("SELECT id FROM upload ORDER BY n"))).all()

        assert [uuid.UUID(str(key)).version for key in keys] == [7, 7]
        assert keys == sorted(keys)

    async def test_an_older_postgresql_is_refused(self, postgres: Database) -> None:
        """CREATE TABLE is not sent; the error says from which version on."""
        async with postgres.engine.connect() as connection:
            connection.dialect.server_version_info = (17, 4)
            with pytest.raises(NotSupported, match=r"this is PostgreSQL 17\.4\."):
                await connection.run_sync(made_by_the_server().create_all)

    @pytest.fixture(params=["sqlite", "mariadb"])
    def other(self, request: pytest.FixtureRequest) -> Database:
        """Each database without such a function."""
        database: Database = request.getfixturevalue(request.param)
        return database

    async def test_others_are_refused(self, other: Database) -> None:
        """Nothing weaker is put in its place."""
        async with other.engine.connect() as connection:
            with pytest.raises(NotSupported, match=r"this is (sqlite|mariadb)\."):
                await connection.run_sync(made_by_the_server().create_all)

    def test_text_for_nobody_in_particular(self) -> None:
        """SQL that is written without a connection is for the newest server."""
        assert "DEFAULT uuidv7()" in str(
            CreateTable(made_by_the_server().tables["upload"]).compile(dialect=postgresql.dialect())  # type: ignore[no-untyped-call]
        )


def _run(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
