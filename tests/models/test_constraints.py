"""Tests of sqlkeel.models._constraints: unique among the rows that are not deleted."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from alembic.autogenerate import render_python_code
from alembic.migration import MigrationContext
from alembic.operations import Operations, ops
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import (
    Column,
    Computed,
    Connection,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    NullPool,
    String,
    Table,
    create_mock_engine,
    delete,
    func,
    insert,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy.dialects.mysql.base import MySQLDialect
from sqlalchemy.dialects.mysql.mariadb import MariaDBDialect
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.schema import CreateIndex, DropIndex

import sqlkeel
from sqlkeel.errors import ConfigurationError, NotSupported, UniqueViolation
from sqlkeel.models import unique_live
from sqlkeel.models._constraints import is_live_marker, live_index, marker_name, understand_live_indexes
from sqlkeel.models._naming import MAX_BYTES
from sqlkeel.sessions import Database
from sqlkeel.types import UTCDateTime

LONG = "long_" * 11 + "name_abc"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Base(sqlkeel.Base):
    pass


class Tenant(Base):
    __tablename__ = "tenant"
    id: Mapped[int] = mapped_column(primary_key=True)


class User(Base):
    __tablename__ = "user"
    __table_args__ = (unique_live("email"), unique_live("tenant_id", "nickname", deleted="retired_at"))
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str | None] = mapped_column(String(50))
    tenant_id: Mapped[int | None] = mapped_column(ForeignKey("tenant.id", ondelete="CASCADE"))
    nickname: Mapped[str | None] = mapped_column(String(50))
    deleted_at: Mapped[datetime | None] = mapped_column(UTCDateTime(), index=True)
    retired_at: Mapped[datetime | None] = mapped_column(UTCDateTime())


class Long(Base):
    __tablename__ = LONG
    __table_args__ = (unique_live("email"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(50))
    deleted_at: Mapped[datetime | None]


USER: Any = User.__table__
tables = pytest.mark.tables(Base.metadata)


def index(name: str = "user_email_idx") -> Index:
    """Return an index of the user table by its name."""
    return next(one for one in USER.indexes if one.name == name)


def on_mariadb(statement: Any) -> str:
    """Return the statement as MariaDB gets it."""
    return written(statement, MariaDBDialect())


def written(statement: Any, dialect: Any) -> str:
    """Return the statement as an engine of this dialect writes it that knows of the indexes."""
    understand_live_indexes(dialect)
    return str(statement.compile(dialect=dialect))


@tables
class TestUniqueLive:
    async def test_two_live_rows_are_refused(self, every_driver: Database) -> None:
        """Of two live rows with one email address the second is refused; the error names table and column."""
        async with every_driver.transaction() as session:
            session.add(User(id=1, email="a"))

        with pytest.raises(UniqueViolation) as caught:
            async with every_driver.transaction() as session:
                session.add(User(id=2, email="a"))

        assert (caught.value.table, caught.value.columns) == ("user", ("email",))
        assert caught.value.constraint == "user_email_idx"

    async def test_deleted_rows_may_share(self, db: Database) -> None:
        """Any number of deleted rows may stand beside one live row."""
        async with db.transaction() as session:
            session.add_all([User(id=n, email="a", deleted_at=NOW) for n in range(1, 4)])
            session.add(User(id=4, email="a"))

        async with db.read() as session:
            assert await session.scalar(select(func.count()).select_from(User)) == 4

    async def test_restoring_a_taken_value_is_refused(self, db: Database) -> None:
        """A deleted row does not come back while a live row has its email address."""
        async with db.transaction() as session:
            session.add_all([User(id=1, email="a", deleted_at=NOW), User(id=2, email="a")])

        with pytest.raises(UniqueViolation):
            async with db.transaction() as session:
                await session.execute(update(USER).where(USER.c.id == 1).values(deleted_at=None))

    async def test_restoring_a_free_value_is_fine(self, db: Database) -> None:
        """It comes back when the value is free."""
        async with db.transaction() as session:
            session.add_all([User(id=1, email="a", deleted_at=NOW), User(id=2, email="b")])

        async with db.transaction() as session:
            await session.execute(update(USER).where(USER.c.id == 1).values(deleted_at=None))

        async with db.read() as session:
            assert (await session.scalars(select(USER.c.deleted_at))).all() == [None, None]

    async def test_nulls_are_not_equal(self, db: Database) -> None:
        """Live rows without a value do not collide, as with any unique constraint of SQL."""
        async with db.transaction() as session:
            session.add_all([User(id=1), User(id=2)])

        async with db.read() as session:
            assert await session.scalar(select(func.count()).select_from(User)) == 2

    async def test_several_columns(self, db: Database) -> None:
        """Several columns are unique together, by the column that marks deletion."""
        async with db.transaction() as session:
            session.add_all([Tenant(id=1), Tenant(id=2)])
            await session.flush()
            session.add_all([User(id=1, tenant_id=1, nickname="x"), User(id=2, tenant_id=2, nickname="x")])
            session.add(User(id=3, tenant_id=1, nickname="x", retired_at=NOW))

        with pytest.raises(UniqueViolation) as caught:
            async with db.transaction() as session:
                session.add(User(id=4, tenant_id=1, nickname="x", deleted_at=NOW))

        assert caught.value.columns == ("tenant_id", "nickname")

    async def test_no_model_sees_the_marker(self, mariadb: Database) -> None:
        """SELECT * does not show the generated column."""
        async with mariadb.transaction() as session:
            session.add(User(id=1, email="a"))

        async with mariadb.read() as session:
            row = (await session.execute(text("SELECT * FROM user"))).one()

        assert set(row._fields) == set(USER.c.keys())

    async def test_longest_names(self, mariadb: Database) -> None:
        """A name at the limit is cut to make room for the marker's."""
        async with mariadb.transaction() as session:
            session.add(Long(id=1, email="a"))

        with pytest.raises(UniqueViolation):
            async with mariadb.transaction() as session:
                session.add(Long(id=2, email="a"))

    @given(rows=st.lists(st.tuples(st.sampled_from("ab"), st.booleans()), max_size=6))
    @settings(
        max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
    )
    async def test_one_live_row_for_each_value(self, db: Database, rows: list[tuple[str, bool]]) -> None:
        """Rows are refused exactly where two live ones have the same value."""
        async with db.transaction() as session:
            await session.execute(delete(USER))
        live = [email for email, dead in rows if not dead]
        values = [{"id": n, "email": e, "deleted_at": NOW if dead else None} for n, (e, dead) in enumerate(rows, 1)]

        accepted = await accepts(db, values)

        assert accepted == (len(live) == len(set(live)))


async def accepts(db: Database, values: list[dict[str, Any]]) -> bool:
    """Tell whether the database takes all the rows."""
    try:
        async with db.transaction() as session:
            await session.execute(insert(USER), values or [{"id": 1}])
    except UniqueViolation:
        return False
    return True


class TestText:
    def test_name_follows_the_convention(self) -> None:
        """The index is named as any other."""
        assert {one.name for one in USER.indexes} == {
            "user_email_idx",
            "user_deleted_at_idx",
            "user_tenant_id_nickname_idx",
        }

    def test_mariadb_creates_both_in_one_statement(self) -> None:
        """MariaDB gets column and index together."""
        assert on_mariadb(CreateIndex(index())) == (
            "ALTER TABLE user DROP COLUMN IF EXISTS user_email_idx_live, "
            "ADD COLUMN user_email_idx_live TINYINT AS (CASE WHEN deleted_at IS NULL THEN 1 END) VIRTUAL INVISIBLE, "
            "ADD UNIQUE INDEX user_email_idx (email, user_email_idx_live)"
        )

    def test_mariadb_drops_both_in_one_statement(self) -> None:
        """And loses them together."""
        assert on_mariadb(DropIndex(index())) == (
            "ALTER TABLE user DROP INDEX user_email_idx, DROP COLUMN IF EXISTS user_email_idx_live"
        )

    def test_if_exists(self) -> None:
        """IF [NOT] EXISTS is kept."""
        assert "ADD UNIQUE INDEX IF NOT EXISTS user" in on_mariadb(CreateIndex(index(), if_not_exists=True))
        assert "DROP INDEX IF EXISTS user" in on_mariadb(DropIndex(index(), if_exists=True))

    def test_other_indexes_are_left_alone(self) -> None:
        """An index without the option compiles as SQLAlchemy does it."""
        other = index("user_deleted_at_idx")

        assert on_mariadb(CreateIndex(other)) == "CREATE INDEX user_deleted_at_idx ON user (deleted_at)"
        assert on_mariadb(DropIndex(other)).strip() == "DROP INDEX user_deleted_at_idx ON user"

    def test_reserved_words_are_quoted(self) -> None:
        """Words that must be quoted are."""
        made = unique_live("key", deleted="read")
        Table("order", MetaData(), Column("key", Integer), Column("read", Integer), made)
        made.name = "order"

        assert "ALTER TABLE `order`" in on_mariadb(CreateIndex(made))
        assert "CASE WHEN `read` IS NULL" in on_mariadb(CreateIndex(made))
        assert "ADD UNIQUE INDEX `order` (`key`, order_live)" in on_mariadb(CreateIndex(made))

    def test_url_that_says_mysql(self) -> None:
        """A MariaDB reached by a mysql:// URL gets the same."""
        assert "ADD UNIQUE INDEX" in written(CreateIndex(index()), MySQLDialect())

    def test_without_columns(self) -> None:
        """No columns are refused at the call."""
        with pytest.raises(ConfigurationError, match="needs a column"):
            unique_live()

    def test_expressions_are_refused_on_mariadb(self) -> None:
        """MariaDB cannot index an expression, and nothing weaker is done instead."""
        table = Table("t", MetaData(), Column("email", String(50)), Column("deleted_at", Integer))
        made = unique_live(func.lower(table.c.email))
        made.name = "t_email_idx"
        table.append_constraint(made)  # type: ignore[arg-type]

        with pytest.raises(NotSupported, match="lower"):
            on_mariadb(CreateIndex(made))


class TestMarkerName:
    def test_at_the_limit(self) -> None:
        """A name that fits is kept."""
        assert marker_name("x" * 58) == "x" * 58 + "_live"

    def test_past_the_limit(self) -> None:
        """One more is cut, and carries a hash."""
        first, second = marker_name("x" * 59), marker_name("x" * 60)

        assert len(first) == len(second) == MAX_BYTES
        assert first != second
        assert first.endswith("_live")


def reflect(connection: Connection) -> Table:
    """Return the user table as the database has it."""
    return Table("user", MetaData(), autoload_with=connection)


class TestReflection:
    @tables
    async def test_marker_is_recognised(self, mariadb: Database) -> None:
        """Of the reflected columns exactly the generated ones are markers."""
        async with mariadb.engine.connect() as connection:
            table = await connection.run_sync(reflect)

        markers = {column.name for column in table.columns if is_live_marker(column)}

        assert markers == {"user_email_idx_live", "user_tenant_id_nickname_idx_live"}

    @tables
    async def test_index_is_recognised(self, mariadb: Database) -> None:
        """A reflected index is turned back into the one that unique_live() made."""
        async with mariadb.engine.connect() as connection:
            table = await connection.run_sync(reflect)

        (found,) = [live_index(one) for one in table.indexes if one.name == "user_tenant_id_nickname_idx"]

        assert found is not None
        assert found.name == "user_tenant_id_nickname_idx"
        assert found.unique
        assert found.dialect_kwargs["mariadb_live"] == "retired_at"

    @tables
    async def test_other_indexes_are_not(self, mariadb: Database) -> None:
        """A plain index is none of ours."""
        async with mariadb.engine.connect() as connection:
            table = await connection.run_sync(reflect)

        assert [live_index(one) for one in table.indexes if one.name == "user_deleted_at_idx"] == [None]

    def test_other_generated_columns_are_not(self) -> None:
        """A generated column of the user's own is no marker, whatever its name or its expression."""
        expression = "case when `deleted_at` is null then 1 end"

        assert not is_live_marker(Column("a_live", Integer, Computed("price * 2")))
        assert not is_live_marker(Column("alive", Integer, Computed(expression)))
        assert not is_live_marker(Column("a_live", Integer))
        assert is_live_marker(Column("a_live", Integer, Computed(expression)))


def migrate(connection: Connection, code: str) -> None:
    """Run the body of a migration."""
    import sqlalchemy as sa

    operations = Operations(MigrationContext.configure(connection))
    exec("\n".join(map(str.strip, code.splitlines())), {"op": operations, "sa": sa})


class TestAlembic:
    async def test_rendered_operations_make_and_drop_it(self, db: Database) -> None:
        """What Alembic writes into a migration makes the index, and takes it back without a trace."""
        metadata, made = with_index()
        up = render_python_code(ops.UpgradeOps([ops.CreateIndexOp.from_index(made)]))
        down = render_python_code(ops.UpgradeOps([ops.DropIndexOp.from_index(made)]))
        made.table.indexes.clear()

        async with db.engine.begin() as connection:
            await connection.run_sync(metadata.create_all)
            before = await connection.run_sync(reflect)
            await connection.run_sync(migrate, up)
            made_indexes = (await connection.run_sync(reflect)).indexes
            await connection.run_sync(migrate, down)
            after = await connection.run_sync(reflect)

        assert [one.name for one in made_indexes] == ["user_email_idx"]
        assert after.columns.keys() == before.columns.keys()
        assert not after.indexes

    async def test_leftover_marker_is_replaced(self, mariadb: Database) -> None:
        """After a plain DROP INDEX, which leaves the column behind, the index can be made again."""
        metadata, made = with_index()

        async with mariadb.engine.begin() as connection:
            await connection.run_sync(metadata.create_all)
            await connection.exec_driver_sql("DROP INDEX user_email_idx ON user")
            await connection.run_sync(made.create)
            found = (await connection.run_sync(reflect)).indexes

        assert [one.name for one in found] == ["user_email_idx"]

    async def test_create_all_and_drop_all(self, db: Database) -> None:
        """The whole schema is made and dropped with it."""
        async with db.engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
            made = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
            await connection.run_sync(Base.metadata.drop_all)
            left = await connection.run_sync(lambda sync: inspect(sync).get_table_names())

        assert (sorted(made), left) == (sorted(Base.metadata.tables), [])


class TestEngines:
    """Which engines write the index of `unique_live` with its generated column."""

    def stock(self, mariadb: Database) -> AsyncEngine:
        """Return an engine that is SQLAlchemy's own, on the same database."""
        return create_async_engine(mariadb.url, poolclass=NullPool)

    async def markers(self, mariadb: Database) -> set[str]:
        """Return the generated columns that the table has."""
        async with mariadb.engine.connect() as connection:
            table = await connection.run_sync(reflect)
        return {column.name for column in table.columns if is_live_marker(column)}

    async def test_one_that_makes_the_table(self, mariadb: Database) -> None:
        """An engine of SQLAlchemy's own makes table and index."""
        metadata, _ = with_index()

        async with self.stock(mariadb).begin() as connection:
            await connection.run_sync(metadata.create_all)

        assert await self.markers(mariadb) == {"user_email_idx_live"}

    async def test_one_that_makes_a_copy_of_the_table(self, mariadb: Database) -> None:
        """A copy in another collection of tables is made the same."""
        _, made = with_index()
        made.table.to_metadata(copied := MetaData())

        async with self.stock(mariadb).begin() as connection:
            await connection.run_sync(copied.create_all)

        assert await self.markers(mariadb) == {"user_email_idx_live"}

    async def test_one_that_makes_and_drops_the_index_alone(self, mariadb: Database) -> None:
        """The index comes and goes with its column, in a table that is there."""
        metadata, made = with_index()
        made.table.indexes.clear()

        async with mariadb.engine.begin() as connection:
            await connection.run_sync(metadata.create_all)
        async with self.stock(mariadb).begin() as connection:
            await connection.run_sync(made.create)
        before = await self.markers(mariadb)
        async with self.stock(mariadb).begin() as connection:
            await connection.run_sync(made.drop)

        assert (before, await self.markers(mariadb)) == ({"user_email_idx_live"}, set())

    def test_one_that_prints(self) -> None:
        """An engine that only collects the statements has the column in them."""
        metadata, _ = with_index()
        printed: list[str] = []

        def collect(statement: Any, *_: Any, **__: Any) -> None:
            printed.append(str(statement.compile(dialect=engine.dialect)))

        engine: Any = create_mock_engine("mariadb+asyncmy://", collect)

        metadata.create_all(engine, checkfirst=False)

        assert "ADD COLUMN user_email_idx_live TINYINT" in printed[-1]

    def test_others_are_left_alone(self) -> None:
        """The compiler of another engine stays what it was."""
        before = MariaDBDialect.ddl_compiler
        taught, other = MariaDBDialect(), MariaDBDialect()

        understand_live_indexes(taught)

        assert taught.ddl_compiler is not before
        assert other.ddl_compiler is MariaDBDialect.ddl_compiler is before


def with_index() -> tuple[MetaData, Index]:
    """Return a table of users in a collection of its own, and its index of live addresses."""
    metadata = MetaData()
    columns = Column("id", Integer, primary_key=True), Column("email", String(50)), Column("deleted_at", Integer)
    Table("user", metadata, *columns, made := unique_live("email"))
    made.name = "user_email_idx"
    return metadata, made
