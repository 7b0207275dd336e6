"""A required column never gets a value that nobody has given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Date,
    DateTime,
    Enum,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    String,
    Table,
    Uuid,
    text,
)
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

import sqlkeel
from sqlkeel import errors
from sqlkeel.migrations import Migrations
from sqlkeel.models import DualIDMixin, metadata_with_names
from sqlkeel.sessions import Database
from sqlkeel.types import Money, UTCDateTime, utc_now
from tests.migrations.revisions import empty_migrations, revision
from tests.migrations.test_ownership import execute

TYPES = {
    "int": Integer(),
    "text": String(5),
    "date": Date(),
    "datetime": DateTime(),
    "utc": UTCDateTime(),
    "enum": Enum("x", "y", name="kind", native_enum=False),
    "uuid": Uuid(),
    "decimal": Numeric(5, 2),
    "money": Money(10, 2),
    "json": JSON(),
    "bytes": LargeBinary(),
    "bool": Boolean(),
}
FILL = """
import uuid
op.add_column("a", sa.Column("public_id", sa.Uuid(), nullable=True))
ids = op.get_bind().execute(sa.text("SELECT id FROM a")).scalars().all()
for key in ids:
    op.get_bind().execute(sa.text(f"UPDATE a SET public_id = '{uuid.uuid4().hex}' WHERE id = {key}"))
with op.batch_alter_table("a") as batch:
    batch.alter_column("public_id", existing_type=sa.Uuid(), nullable=False)
    batch.create_unique_constraint("a_public_id_key", ["public_id"])
""".strip()


def models(*parts: Any) -> MetaData:
    """Return the table a with a key and *parts*."""
    metadata = metadata_with_names()
    Table("a", metadata, Column("id", Integer, primary_key=True), *parts)
    return metadata


class Base(sqlkeel.Base):
    """The base of the model below."""


class WithPublicID(DualIDMixin, Base):
    """The table a as it is later."""

    __tablename__ = "a"


async def with_rows(db: Database, folder: Path, *parts: Any, rows: int = 2) -> None:
    """Make the table by a revision, and give it rows with nothing but a key."""
    migrations = Migrations(db, models(*parts), folder / "migrations")
    await migrations.new("first")
    await migrations.up()
    for key in range(1, rows + 1):
        await execute(db, f"INSERT INTO a (id) VALUES ({key})")


async def names(db: Database) -> list[str]:
    """Return the columns of the table."""
    async with db.engine.connect() as connection:
        return list((await connection.execute(text("SELECT * FROM a"))).keys())


class TestNewColumn:
    @pytest.mark.parametrize("kind", TYPES)
    async def test_a_value_of_no_type_is_made_up(self, mariadb: Database, tmp_path: Path, kind: str) -> None:
        """MariaDB would write 0, an empty text, 0000-00-00 or a UUID of zeros."""
        await with_rows(mariadb, tmp_path, rows=1)
        metadata = models(Column("x", TYPES[kind], nullable=False))
        migrations = Migrations(mariadb, metadata, tmp_path / "migrations")
        await migrations.new("more")

        with pytest.raises(errors.MigrationError, match="a has rows, and its new column x is required"):
            await migrations.up()

        assert await names(mariadb) == ["id"]

    async def test_it_is_refused_where_there_are_rows(self, every_driver: Database, tmp_path: Path) -> None:
        """On each database, with what to do; the table stays as it was."""
        await with_rows(every_driver, tmp_path)
        metadata = models(Column("x", Integer, nullable=False))
        migrations = Migrations(every_driver, metadata, tmp_path / "migrations")
        await migrations.new("more")

        with pytest.raises(errors.MigrationError) as caught:
            await migrations.up()

        assert "nullable=True, fill it, then alter_column" in str(caught.value)
        assert await names(every_driver) == ["id"]
        assert await execute(every_driver, "SELECT count(*) FROM a") == [2]

    async def test_the_public_id_of_a_mixin(self, every_driver: Database, tmp_path: Path) -> None:
        """`DualIDMixin` for a table with one row: no UUID of zeros."""
        await with_rows(every_driver, tmp_path, rows=1)
        migrations = Migrations(every_driver, WithPublicID, tmp_path / "migrations")
        await migrations.new("more")

        with pytest.raises(errors.MigrationError):
            await migrations.up()

        assert await names(every_driver) == ["id"]

    async def test_a_foreign_key(self, every_driver: Database, tmp_path: Path) -> None:
        """A required reference is refused before a half of it is there."""
        await with_rows(every_driver, tmp_path)
        key = Column("up", ForeignKey("a.id"), nullable=False)
        migrations = Migrations(every_driver, models(key), tmp_path / "migrations")
        await migrations.new("more")

        with pytest.raises(errors.MigrationError):
            await migrations.up()

        assert await names(every_driver) == ["id"]

    async def test_the_revision_says_how(self, every_driver: Database, tmp_path: Path) -> None:
        """Before anything runs, a line above the column says what to do for rows."""
        await with_rows(every_driver, tmp_path, rows=0)
        migrations = Migrations(every_driver, models(Column("x", Integer, nullable=False)), tmp_path / "migrations")

        path = await migrations.new("more")

        assert path is not None
        assert "# Where a has rows: add the column with nullable=True, fill it, then" in path.read_text()

    async def test_an_empty_table_takes_it(self, every_driver: Database, tmp_path: Path) -> None:
        """Where there are no rows nothing is refused."""
        await with_rows(every_driver, tmp_path, rows=0)
        migrations = Migrations(every_driver, models(Column("x", Integer, nullable=False)), tmp_path / "migrations")
        await migrations.new("more")

        await migrations.up()

        await migrations.check()

    @pytest.mark.parametrize(
        ("kind", "options"),
        [
            (Integer(), {"nullable": False, "server_default": "7"}),
            (UTCDateTime(), {"nullable": False, "server_default": utc_now()}),
            (Integer(), {"nullable": True}),
        ],
        ids=["default", "clock", "nullable"],
    )
    async def test_with_a_value_it_is_added(
        self, every_driver: Database, tmp_path: Path, kind: Any, options: dict[str, Any]
    ) -> None:
        """A server default fills the rows, and so does NULL; no line is written above it."""
        await with_rows(every_driver, tmp_path)
        migrations = Migrations(every_driver, models(Column("x", kind, **options)), tmp_path / "migrations")
        path = await migrations.new("more")

        await migrations.up()

        assert path is not None
        assert "has rows" not in path.read_text()
        assert await execute(every_driver, "SELECT count(*) FROM a") == [2]

    async def test_in_three_steps(self, every_driver: Database, tmp_path: Path) -> None:
        """Nullable, filled, required: each row has a public id of its own."""
        await with_rows(every_driver, tmp_path)
        metadata = models(Column("public_id", Uuid(), nullable=False, unique=True))
        migrations = Migrations(every_driver, metadata, tmp_path / "migrations")
        await revision(migrations, "fill", FILL)

        await migrations.up()

        await migrations.check()
        assert await execute(every_driver, "SELECT count(DISTINCT public_id) FROM a") == [2]

    async def test_the_way_back_is_refused_too(self, every_driver: Database, tmp_path: Path) -> None:
        """A downgrade that adds a required column again says how, and makes nothing up."""
        await with_rows(every_driver, tmp_path, Column("x", Integer, nullable=False), rows=0)
        await execute(every_driver, "INSERT INTO a (id, x) VALUES (1, 5)")
        migrations = Migrations(every_driver, models(), tmp_path / "migrations")
        await migrations.new("drop x")
        await migrations.up()

        with pytest.raises(errors.MigrationError):
            await migrations.down()

        assert await names(every_driver) == ["id"]

    async def test_the_first_member_of_an_enumeration(self, mariadb: Database, tmp_path: Path) -> None:
        """MariaDB's own ENUM, in a batch."""
        await execute(mariadb, "CREATE TABLE a (id integer)", "INSERT INTO a VALUES (7)")
        migrations = empty_migrations(mariadb, tmp_path)
        add = """with op.batch_alter_table("a") as batch:
    batch.add_column(sa.Column("x", sa.Enum("red", "green"), nullable=False))"""
        await revision(migrations, "add", add)

        with pytest.raises(errors.MigrationError, match="a has rows, and its new column x is required"):
            await migrations.up()

        assert await names(mariadb) == ["id"]

    async def test_a_key_that_counts_up_is_added(self, mariadb: Database, tmp_path: Path) -> None:
        """MariaDB numbers the rows that are there."""
        await execute(mariadb, "CREATE TABLE a (n integer)", "INSERT INTO a VALUES (7), (7)")
        migrations = empty_migrations(mariadb, tmp_path)
        column = 'sa.Column("id", sa.Integer, primary_key=True, autoincrement=True)'
        await revision(migrations, "add key", f'op.add_column("a", {column}, inline_primary_key=True)')

        await migrations.up()

        assert sorted(await execute(mariadb, "SELECT id FROM a")) == [1, 2]


class TestChangedColumn:
    async def test_rows_without_a_value_stop_it(self, every_driver: Database, tmp_path: Path) -> None:
        """A column becomes required where every row has a value, and not before."""
        await with_rows(every_driver, tmp_path, Column("x", Integer))
        migrations = Migrations(every_driver, models(Column("x", Integer, nullable=False)), tmp_path / "migrations")
        await migrations.new("require x")

        with pytest.raises(errors.KeelError):
            await migrations.up()

        assert await execute(every_driver, "SELECT x FROM a") == [None, None]

    async def test_mariadb_speaks_of_the_rows(self, mariadb: Database, tmp_path: Path) -> None:
        """The server would say that a value is too long."""
        await with_rows(mariadb, tmp_path, Column("x", Integer))
        migrations = Migrations(mariadb, models(Column("x", Integer, nullable=False)), tmp_path / "migrations")
        await migrations.new("require x")

        with pytest.raises(errors.MigrationError, match="a has rows that have no value for x, which becomes required"):
            await migrations.up()

    async def test_rows_with_a_value_let_it_pass(self, every_driver: Database, tmp_path: Path) -> None:
        """Their values stay."""
        await with_rows(every_driver, tmp_path, Column("x", Integer))
        await execute(every_driver, "UPDATE a SET x = 5")
        migrations = Migrations(every_driver, models(Column("x", Integer, nullable=False)), tmp_path / "migrations")
        await migrations.new("require x")

        await migrations.up()

        await migrations.check()
        assert await execute(every_driver, "SELECT x FROM a") == [5, 5]


class TestStockEngine:
    @pytest.fixture
    async def careless(self, mariadb: Database) -> Any:
        """An engine of SQLAlchemy's own, whose sessions cut what does not fit."""
        engine = create_async_engine(mariadb.url, connect_args={"init_command": "SET sql_mode = ''"})
        yield engine
        await engine.dispose()

    @pytest.mark.parametrize(
        "change",
        ["sa.Integer()", "sa.String(2)", "sa.Date()", "sa.Enum('x', 'y')"],
        ids=["int", "short", "date", "enum"],
    )
    async def test_a_changed_type_cuts_nothing(
        self, mariadb: Database, careless: AsyncEngine, tmp_path: Path, change: str
    ) -> None:
        """A value that does not fit is refused, whatever the mode of the application."""
        await execute(mariadb, "CREATE TABLE a (t varchar(9))", "INSERT INTO a VALUES ('12 pieces')")
        migrations = Migrations(careless, MetaData(), tmp_path / "migrations")
        await revision(migrations, "change", f'op.alter_column("a", "t", type_={change})')

        with pytest.raises(Exception, match=r"(?i)incorrect|truncated|too long"):
            await migrations.up()

        assert await execute(mariadb, "SELECT t FROM a") == ["12 pieces"]

    async def test_null_does_not_become_zero(self, mariadb: Database, careless: AsyncEngine, tmp_path: Path) -> None:
        """A column becomes required where every row has a value."""
        await execute(mariadb, "CREATE TABLE a (n integer)", "INSERT INTO a VALUES (NULL)")
        migrations = Migrations(careless, MetaData(), tmp_path / "migrations")
        await revision(migrations, "change", 'op.alter_column("a", "n", existing_type=sa.Integer(), nullable=False)')

        with pytest.raises(errors.MigrationError, match="no value for n"):
            await migrations.up()

        assert await execute(mariadb, "SELECT n FROM a") == [None]
