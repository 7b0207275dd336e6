"""Canaries of SQLAlchemy's tables, dialects and connections."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import asyncpg
import pytest
from sqlalchemy import (
    BigInteger,
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
    select,
    text,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.engine.cursor import BufferedRowCursorFetchStrategy
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.exc import StatementError
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.schema import AddConstraint, DropIndex

from sqlkeel import _sqlalchemy as private
from sqlkeel.sessions import Database
from tests.engines.peers import soon
from tests.sqlalchemy_models import House, houses


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
