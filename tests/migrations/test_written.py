"""What the models say with a ``%`` reaches the database as it is written, by a revision of any driver."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
from sqlalchemy import CheckConstraint, Column, Computed, Enum, Index, Integer, MetaData, String, Table, text

from sqlkeel import errors
from sqlkeel.migrations import Migrations
from sqlkeel.migrations._written import plain
from sqlkeel.models import metadata_with_names
from sqlkeel.sessions import Database
from sqlkeel.types import Choice
from tests.migrations.project_folder import make_project, run_command

SIGNS = "50%, %s, %(x)s, 5%%"
MODELS = """
from sqlalchemy import CheckConstraint, Column, Integer, MetaData, String, Table, text
from sqlkeel.models._naming import metadata_with_names
class Base:
    metadata = metadata_with_names()
Table("a", Base.metadata, Column("n", Integer, primary_key=True),
    Column("t", String(30), server_default=text("'50%, %s'")), CheckConstraint("n % 10 < 9", name="digit"))
"""


def plain_table(*parts: Any) -> MetaData:
    """Return the table a with *parts*."""
    metadata = metadata_with_names()
    Table("a", metadata, Column("id", Integer, primary_key=True), Column("n", Integer), *parts)
    return metadata


def columns() -> list[Any]:
    """Return columns and constraints with percent signs in every place that all databases have."""
    return [
        Column("by_text", String(40), server_default=text(f"'{SIGNS}'")),
        Column("by_value", String(40), server_default=SIGNS, comment=SIGNS),
        Column("rest", Integer, Computed("n % 10", persisted=True)),
        Column("kind", String(9), server_default="50%"),
        CheckConstraint("n % 10 < 9", name="digit"),
        CheckConstraint("by_value <> '100%'", name="whole"),
    ]


def choices(*members: str) -> MetaData:
    """Return the table a with a column of these members."""
    return plain_table(Column("kind", Choice(Literal[members])))


async def insert_one(db: Database) -> tuple[Any, ...]:
    """Insert a row of defaults, and return it."""
    async with db.engine.begin() as connection:
        await connection.execute(text("INSERT INTO a (id, n) VALUES (1, 17)"))
        return tuple((await connection.execute(text("SELECT by_text, by_value, rest, kind FROM a"))).one())


async def insert(db: Database, assignments: dict[str, Any]) -> None:
    """Insert a row with these values."""
    async with db.engine.begin() as connection:
        names = ", ".join(assignments)
        values = ", ".join(f":{name}" for name in assignments)
        await connection.execute(text(f"INSERT INTO a ({names}) VALUES ({values})"), assignments)


@pytest.fixture
async def new_table(every_driver: Database, tmp_path: Path) -> Migrations:
    """A revision that makes the table, run."""
    migrations = Migrations(every_driver, plain_table(*columns()), tmp_path / "migrations")
    await migrations.new("first")
    await migrations.up()
    return migrations


@pytest.fixture(params=["sqlite", "postgres", "psycopg"])
def with_partial_indexes(request: pytest.FixtureRequest) -> Database:
    """Each database that has indexes over conditions and expressions."""
    database: Database = request.getfixturevalue(request.param)
    return database


class TestPercent:
    async def test_a_new_table_has_it_as_written(self, every_driver: Database, new_table: Migrations) -> None:
        """Defaults as text and value, a generated column, an enumeration."""
        assert await insert_one(every_driver) == (SIGNS, SIGNS, 7, "50%")

    @pytest.mark.filterwarnings("ignore:Computed default")  # MariaDB spells a remainder in its own way
    async def test_nothing_differs_afterwards(self, new_table: Migrations) -> None:
        """What was written is found again."""
        await new_table.check()

    @pytest.mark.filterwarnings("ignore:Computed default")
    async def test_a_later_revision_has_it_as_written(self, every_driver: Database, tmp_path: Path) -> None:
        """Columns and constraints that are added to a table with a row; the row gets them, too."""
        first = Migrations(every_driver, plain_table(), tmp_path / "migrations")
        await first.new("first")
        await first.up()
        await insert(every_driver, {"id": 2, "n": 17})
        migrations = Migrations(every_driver, plain_table(*columns()), tmp_path / "migrations")

        await migrations.new("more")
        await migrations.up()

        await migrations.check()
        async with every_driver.engine.begin() as connection:
            found = (await connection.execute(text("SELECT by_text, by_value, rest, kind FROM a"))).one()
        assert tuple(found) == (SIGNS, SIGNS, 7, "50%")

    async def test_a_changed_default_has_it_as_written(self, every_driver: Database, tmp_path: Path) -> None:
        """There and back."""
        before = plain_table(Column("t", String(40), server_default=text("'1%'")))
        after = plain_table(Column("t", String(40), server_default=text(f"'{SIGNS}'")))
        first = Migrations(every_driver, before, tmp_path / "migrations")
        await first.new("first")
        await first.up()
        migrations = Migrations(every_driver, after, tmp_path / "migrations")
        await migrations.new("change")

        await migrations.up()
        await insert(every_driver, {"id": 1})
        await migrations.down()
        await insert(every_driver, {"id": 2})

        async with every_driver.engine.begin() as connection:
            assert list(await connection.scalars(text("SELECT t FROM a ORDER BY id"))) == [SIGNS, "1%"]

    @pytest.mark.parametrize("row", [{"id": 1, "n": 19}, {"id": 1, "n": 1, "by_value": "100%"}])
    async def test_a_check_refuses_what_it_says(
        self, every_driver: Database, new_table: Migrations, row: dict[str, Any]
    ) -> None:
        """A remainder, and a text with a percent sign."""
        with pytest.raises(errors.CheckViolation):
            await insert(every_driver, row)

    async def test_a_check_lets_pass_what_it_says(self, every_driver: Database, new_table: Migrations) -> None:
        """Two signs are not one."""
        await insert(every_driver, {"id": 1, "n": 1, "by_value": "100%%"})

    async def test_a_native_enumeration(self, every_driver: Database, tmp_path: Path) -> None:
        """The members of a type, and a default of it."""
        kind = Column("kind", Enum("50%", "%s", "5%%", name="kind"), server_default="5%%")
        migrations = Migrations(every_driver, plain_table(kind), tmp_path / "migrations")
        await migrations.new("first")
        await migrations.up()
        await migrations.check()

        await insert(every_driver, {"id": 1})

        async with every_driver.engine.begin() as connection:
            assert list(await connection.scalars(text("SELECT kind FROM a"))) == ["5%%"]

    async def test_the_condition_of_an_index(self, with_partial_indexes: Database, tmp_path: Path) -> None:
        """A unique partial index holds for the rows that its condition means."""
        db = with_partial_indexes
        where = text("code LIKE 'a%'")
        index = Index("a_code_key", "code", unique=True, postgresql_where=where, sqlite_where=where)
        migrations = Migrations(db, plain_table(Column("code", String(9)), index), tmp_path / "migrations")
        await migrations.new("first")
        await migrations.up()
        await insert(db, {"id": 1, "code": "b"})
        await insert(db, {"id": 2, "code": "b"})
        await insert(db, {"id": 3, "code": "ab"})

        with pytest.raises(errors.UniqueViolation):
            await insert(db, {"id": 4, "code": "ab"})

    async def test_the_expression_of_an_index(self, with_partial_indexes: Database, tmp_path: Path) -> None:
        """A unique index over a remainder."""
        db = with_partial_indexes
        metadata = plain_table(Index("a_n_key", text("(n % 10)"), unique=True))
        migrations = Migrations(db, metadata, tmp_path / "migrations")
        await migrations.new("first")
        await migrations.up()
        await migrations.check()
        await insert(db, {"id": 1, "n": 7})

        with pytest.raises(errors.UniqueViolation):
            await insert(db, {"id": 2, "n": 17})

    async def test_a_choice_with_it(self, every_driver: Database, tmp_path: Path) -> None:
        """The CHECK of an enumeration is written with its members, and changed with them."""
        migrations = Migrations(every_driver, choices("50%", "%s"), tmp_path / "migrations")
        await migrations.new("first")
        await migrations.up()
        later = Migrations(every_driver, choices("50%", "%s", "5%%"), tmp_path / "migrations")
        await later.new("more")
        await later.up()
        await later.check()

        await insert(every_driver, {"id": 1, "kind": "5%%"})

        with pytest.raises(errors.CheckViolation):
            await insert(every_driver, {"id": 2, "kind": "50%%"})

    async def test_sql_by_hand(self, every_driver: Database, tmp_path: Path) -> None:
        """op.execute sends what stands there."""
        migrations = Migrations(every_driver, plain_table(Column("t", String(40))), tmp_path / "migrations")
        await migrations.new("first")
        path = await migrations.new("fill", autogenerate=False)
        assert path is not None
        statement = f"INSERT INTO a (id, t) VALUES (1, '{SIGNS}')"
        path.write_text(path.read_text().replace("pass", f"op.execute({statement!r})", 1))

        await migrations.up()

        async with every_driver.engine.begin() as connection:
            assert list(await connection.scalars(text("SELECT t FROM a WHERE t LIKE '50%'"))) == [SIGNS]


COLONS = [" :b", ":b", "a :b, :c", "x::y", "12:30", "(:a)", "a: b"]


def as_text(value: str) -> Any:
    """Return the SQL of a text, with the escapes of text()."""
    return text(f"'{value}'".replace(":", "\\:"))


def with_colons(*, nullable: bool) -> MetaData:
    """Return the table a with a colon in a default, a generated column and a CHECK."""
    return plain_table(
        Column("t", String(40), server_default=as_text(" :b"), nullable=nullable),
        Column("made", String(40), Computed(as_text(" :m"), persisted=True)),
        CheckConstraint("t <> ' \\:x'", name="x"),
    )


class TestColon:
    @pytest.mark.parametrize("value", COLONS)
    async def test_a_default_has_it_as_written(self, every_driver: Database, tmp_path: Path, value: str) -> None:
        """A word behind a colon is no parameter, for which NULL would be written."""
        column = Column("t", String(40), server_default=as_text(value))
        migrations = Migrations(every_driver, plain_table(column), tmp_path / "migrations")
        await migrations.new("first")
        await migrations.up()
        await migrations.check()

        await insert(every_driver, {"id": 1})

        async with every_driver.engine.begin() as connection:
            assert list(await connection.scalars(text("SELECT t FROM a"))) == [value]

    @pytest.mark.filterwarnings("ignore:Computed default")  # Alembic compares what it reads without the escape
    async def test_a_changed_table_keeps_it(self, every_driver: Database, tmp_path: Path) -> None:
        """A default, a CHECK and a generated column, when SQLite copies them and MariaDB states a column anew."""
        first = Migrations(every_driver, with_colons(nullable=True), tmp_path / "migrations")
        await first.new("first")
        await first.up()
        later = Migrations(every_driver, with_colons(nullable=False), tmp_path / "migrations")
        await later.new("later")
        await later.up()
        await insert(every_driver, {"id": 1})

        with pytest.raises(errors.CheckViolation):
            await insert(every_driver, {"id": 2, "t": " :x"})

        async with every_driver.engine.begin() as connection:
            assert (await connection.execute(text("SELECT t, made FROM a"))).all() == [(" :b", " :m")]

    async def test_the_condition_of_an_index(self, with_partial_indexes: Database, tmp_path: Path) -> None:
        """A unique partial index holds for the rows that its condition means."""
        db = with_partial_indexes
        where = text("code <> ' \\:b'")
        index = Index("a_code_key", "code", unique=True, postgresql_where=where, sqlite_where=where)
        migrations = Migrations(db, plain_table(Column("code", String(9)), index), tmp_path / "migrations")
        await migrations.new("first")
        await migrations.up()
        await insert(db, {"id": 1, "code": " :b"})
        await insert(db, {"id": 2, "code": " :b"})
        await insert(db, {"id": 3, "code": "x"})

        with pytest.raises(errors.UniqueViolation):
            await insert(db, {"id": 4, "code": "x"})


class TestOffline:
    async def test_the_printed_statements_have_it_as_written(self, every_driver: Database, tmp_path: Path) -> None:
        """``alembic upgrade head --sql`` prints SQL for the client of the database, which undoes no escapes."""
        make_project(tmp_path, models=MODELS)
        (tmp_path / "alembic.ini").write_text("[alembic]\nscript_location = %(here)s/migrations\n")
        url = every_driver.url.render_as_string(hide_password=False)
        written = run_command(tmp_path, "sqlkeel", "migrate", "new", "first", url=url)

        printed = run_command(tmp_path, "alembic", "upgrade", "head", "--sql", url=url)

        assert written.returncode == 0, written.stderr
        assert "DEFAULT '50%, %s'" in printed.stdout, printed.stderr
        assert "CHECK (n % 10 < 9)" in printed.stdout


class TestPlain:
    def test_the_dialect_of_the_connection_is_not_changed(self, every_driver: Database) -> None:
        """What is sent is escaped for its driver as before."""
        dialect: Any = every_driver.engine.dialect
        before = (dialect.paramstyle, dialect.positional, dialect.identifier_preparer, dialect.type_compiler_instance)

        other: Any = plain(dialect)

        assert (other.paramstyle, other.name) == ("named", dialect.name)
        assert before == (
            dialect.paramstyle,
            dialect.positional,
            dialect.identifier_preparer,
            dialect.type_compiler_instance,
        )
