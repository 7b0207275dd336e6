"""Defaults, collations and indexes are compared by what they mean to the database."""

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
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    Time,
    UniqueConstraint,
    func,
    literal_column,
    text,
)
from sqlalchemy.dialects import mysql, postgresql

from sqlkeel import errors
from sqlkeel.migrations import Migrations
from sqlkeel.migrations._databases.sqlite_sql import default_form, form
from sqlkeel.models import metadata_with_names
from sqlkeel.sessions import Database
from tests.migrations.revisions import revision, round_trip

KEYS = {
    "sqlite": "id INTEGER NOT NULL PRIMARY KEY",
    "postgresql": "id SERIAL PRIMARY KEY",
    "mariadb": "id INTEGER PRIMARY KEY AUTO_INCREMENT",
}
COLLATIONS = {"sqlite": "NOCASE", "postgresql": "C", "mariadb": "utf8mb4_bin"}

DEFAULTS: dict[str, tuple[Any, Any, Any]] = {
    "apostrophe": (String(30), "it's", "its"),
    "brackets": (String(30), "x", "(x)"),
    "brackets inside": (String(30), "(a) or (b)", "a) or (b"),
    "quotes": (String(30), "x", "'x'"),
    "backslash": (String(30), "a\\b", "a/b"),
    "lines": (String(30), "a\nb", "ab"),
    "spaces": (String(30), "a  b", "a b"),
    "empty": (String(30), "", None),
    "null": (String(30), text("NULL"), "NULL"),
    "json": (JSON, "{}", "[]"),
    "a colon before a word": (JSON, text("""'{"a":1}'"""), "{}"),
    "a backslash before it": (String(30), "a\\:b", "a:b"),
    "now": (DateTime, func.now(), None),
    "today": (Date, text("CURRENT_DATE"), text("'2024-01-01'")),
    "noon": (Time, "12:00:00", "12:00:01"),
    "float": (Float, "1e-9", "1e-8"),
    "function": (String(9), text("(lower('ABC'))"), text("(lower('AB'))")),
    "switch": (Boolean, text("true"), text("false")),
}


def one_table(*parts: Any) -> MetaData:
    """Return the table a with columns that an expression may name, and *parts*."""
    metadata = metadata_with_names()
    columns: list[Any] = [Column("id", Integer, primary_key=True), Column("n", Integer), Column("name", String(20))]
    Table("a", metadata, *columns, Column("body", Text), *parts)
    return metadata


async def migrated(db: Database, directory: Path, models: MetaData) -> Migrations:
    """Return the migrations of *models*, whose first revision is applied."""
    migrations = Migrations(db, models, directory / "migrations")
    await migrations.new("step")
    await migrations.up()
    return migrations


async def differences(migrations: Migrations) -> list[str]:
    """Return what `check` finds."""
    try:
        await migrations.check()
    except errors.ModelsDiffer as error:
        return list(error.differences)
    return []


def defaults(which: int) -> MetaData:
    """Return a table with a column for each default of the list above."""
    return one_table(*(Column(name, one[0], server_default=one[which]) for name, one in DEFAULTS.items()))


class TestDefaults:
    async def test_the_same_agrees_and_another_is_found(self, every_driver: Database, tmp_path: Path) -> None:
        """However the database writes it; what is found agrees when it is applied."""
        before = await migrated(every_driver, tmp_path, defaults(1))
        same = await differences(before)
        later = Migrations(every_driver, defaults(2), tmp_path / "migrations")

        found = await differences(later)

        assert same == []
        assert sorted(one.partition(": default is ")[0] for one in found) == sorted(f"a.{name}" for name in DEFAULTS)
        await migrated(every_driver, tmp_path, defaults(2))
        assert await differences(later) == []

    async def test_one_that_was_written_by_hand(self, db: Database, tmp_path: Path) -> None:
        """Other spaces, capitals and quotes are no difference."""
        migrations = Migrations(db, one_table(Column("x", Integer, server_default="1")), tmp_path / "migrations")
        columns = f"{KEYS[db.dialect]}, n INTEGER, name VARCHAR(20), body TEXT"
        await revision(migrations, "make", f'op.execute("CREATE TABLE a ({columns}, x INTEGER  default  1)")')

        await migrations.up()

        assert await differences(migrations) == []

    async def test_an_expression_of_mariadb_outlives_other_changes(self, mariadb: Database, tmp_path: Path) -> None:
        """Reflection has no default where one is an expression: a column that is stated anew lost it."""
        before, after = (
            one_table(Column("code", String(20), nullable=nullable, server_default=text("(lower('A B'))")))
            for nullable in (True, False)
        )

        await round_trip(mariadb, tmp_path, before, after)

        async with mariadb.engine.begin() as connection:
            await connection.execute(text("INSERT INTO a (n) VALUES (1)"))
            assert await connection.scalar(text("SELECT code FROM a")) == "a b"

    async def test_an_expression_of_mariadb_that_goes_comes_back(self, mariadb: Database, tmp_path: Path) -> None:
        """It is missed in the models, and `down` makes it again."""
        before, after = (
            one_table(Column("code", String(20), server_default=default)) for default in (text("(lower('A'))"), None)
        )

        revision = await round_trip(mariadb, tmp_path, before, after)

        assert "server_default=None" in revision

    async def test_the_project_may_compare_by_itself(self, db: Database, tmp_path: Path) -> None:
        """``run(compare_server_default=False)`` looks at no default."""
        await migrated(db, tmp_path, one_table(Column("x", String(9), server_default="a")))
        later = Migrations(db, one_table(Column("x", String(9), server_default="b")), tmp_path / "migrations")
        env = later.directory / "env.py"
        env.write_text("from sqlkeel.migrations.env import run\nrun(compare_server_default=False)\n")

        assert await differences(later) == []


def collated(db: Database, *, collated: bool) -> MetaData:
    """Return a table with a text, with or without a collation of its own."""
    collation = COLLATIONS[db.dialect] if collated else None
    return one_table(Column("t", String(20, collation=collation)))


class TestCollation:
    @pytest.mark.parametrize("before", [True, False])
    async def test_another_is_found_written_and_taken_back(
        self, every_driver: Database, tmp_path: Path, *, before: bool
    ) -> None:
        """Set, and set back to the usual one."""
        first = await migrated(every_driver, tmp_path, collated(every_driver, collated=before))
        later = Migrations(every_driver, collated(every_driver, collated=not before), tmp_path / "migrations")

        found = await differences(later)

        assert [one.partition(" is ")[0] for one in found] == ["a.t: type"]
        await migrated(every_driver, tmp_path, collated(every_driver, collated=not before))
        assert await differences(later) == []
        await later.down()
        [pending] = [one for one in await later.status() if not one.applied]
        pending.path.unlink()
        assert await differences(first) == []


class TestTypes:
    async def test_a_length_that_chooses_the_type(self, every_driver: Database, tmp_path: Path) -> None:
        """MariaDB makes a TINYBLOB of a BLOB(5)."""
        parts = [Column(f"x{size}", LargeBinary(size)) for size in (5, 300, 70_000)]
        migrations = await migrated(every_driver, tmp_path, one_table(*parts))

        assert await differences(migrations) == []

    async def test_another_is_found(self, mariadb: Database, tmp_path: Path) -> None:
        """What the server makes of it differs."""
        await migrated(mariadb, tmp_path, one_table(Column("x", LargeBinary(5))))
        later = Migrations(mariadb, one_table(Column("x", LargeBinary(300))), tmp_path / "migrations")

        assert len(await differences(later)) == 1

    async def test_mariadb_without_a_sign(self, mariadb: Database, tmp_path: Path) -> None:
        """UNSIGNED is part of a type."""
        before, after = (one_table(Column("x", mysql.INTEGER(unsigned=unsigned))) for unsigned in (False, True))

        revision = await round_trip(mariadb, tmp_path, before, after)

        assert "type_=mysql.INTEGER(unsigned=True)" in revision


@pytest.fixture(params=["postgres", "psycopg"])
def on_postgresql(request: pytest.FixtureRequest) -> Database:
    """PostgreSQL through each driver."""
    database: Database = request.getfixturevalue(request.param)
    return database


GIN = {"postgresql_using": "gin"}
SEARCH = "to_tsvector('english', name || ' ' || body)"
Part = tuple[Any, dict[str, Any]]
INDEXES: dict[str, tuple[Part, Part]] = {
    "expression": ((text(SEARCH), GIN), (text(SEARCH.replace("english", "german")), GIN)),
    "function": ((func.lower(literal_column("name")), {}), (func.upper(literal_column("name")), {})),
    "constant": ((text("(name || 'A')"), {}), (text("(name || 'a')"), {})),
    "collated": ((text('lower(name) COLLATE "C"'), {}), (text("lower(name)"), {})),
    "order": ((text("n DESC"), {}), (text("n DESC NULLS LAST"), {})),
    "order_of_an_expression": ((text("(n % 10) DESC"), {}), (text("(n % 10)"), {})),
    "included": (("n", {"postgresql_include": ["name"]}), ("n", {})),
    "kind": (("n", {}), ("n", {"postgresql_using": "hash"})),
    "condition": (("n", {"postgresql_where": text("n > 1")}), ("n", {"postgresql_where": text("n > 2")})),
    "no_condition": (("n", {"postgresql_where": text("n>1 AND name='b'")}), ("n", {})),
    "operators": (("name", {"postgresql_ops": {"name": "varchar_pattern_ops"}}), ("name", {})),
    "usual_operators": (("n", {"postgresql_ops": {"n": "int4_ops"}, "postgresql_using": "btree"}), ("name", {})),
}


def indexes(which: int) -> MetaData:
    """Return a table with an index for each line of the list above."""
    parts: list[Any] = [(name, *one[which]) for name, one in INDEXES.items()]
    return one_table(*(Index(name, part, **options) for name, part, options in parts))


class TestIndexes:
    async def test_the_same_agrees_and_another_is_found(self, on_postgresql: Database, tmp_path: Path) -> None:
        """However the server writes it; what is found agrees when it is applied."""
        same = await differences(await migrated(on_postgresql, tmp_path, indexes(0)))
        later = Migrations(on_postgresql, indexes(1), tmp_path / "migrations")

        found = await differences(later)

        assert same == []
        assert found == [f"has {word} index {name} on a" for name in sorted(INDEXES) for word in ("the extra", "no")]
        await migrated(on_postgresql, tmp_path, indexes(1))
        assert await differences(later) == []

    async def test_sqlalchemy_expressions(self, on_postgresql: Database, tmp_path: Path) -> None:
        """An index over columns of the model, as one writes it there."""
        metadata = one_table()
        table = metadata.tables["a"]
        document = func.to_tsvector(text("'english'"), table.c.name + " " + table.c.body)
        Index("a_search_idx", document, postgresql_using="gin")
        Index("a_name_idx", func.lower(table.c.name).desc(), table.c.n.asc().nulls_first())
        migrations = await migrated(on_postgresql, tmp_path, metadata)

        assert await differences(migrations) == []

    async def test_mariadb_beside_a_fulltext_index(self, mariadb: Database, tmp_path: Path) -> None:
        """It can be in no temporary table of InnoDB, and the other columns and indexes are compared all the same."""
        full = Index("a_body_idx", "body", mariadb_prefix="FULLTEXT")
        noted = Column("noted", String(20), server_default=text("'it''s'"))
        before = one_table(full, noted, Index("a_x_idx", text("n DESC"), "id"))
        first = await migrated(mariadb, tmp_path, before)
        assert await differences(first) == []
        after = one_table(
            Index("a_body_idx", "body"),
            Column("noted", String(20), server_default=text("'it''s'")),
            Index("a_x_idx", "n", "id"),
        )

        found = await differences(Migrations(mariadb, after, tmp_path / "migrations"))

        assert found == [
            "has the extra index a_body_idx on a",
            "has no index a_body_idx on a",
            "has the extra index a_x_idx on a",
            "has no index a_x_idx on a",
        ]

    @pytest.mark.parametrize(("before", "after"), [("n DESC", "n"), ("name(5)", "name"), ("name(5)", "name(6)")])
    async def test_mariadb_tells_order_and_length(
        self, mariadb: Database, tmp_path: Path, before: str, after: str
    ) -> None:
        """Neither is compared by Alembic, which never agrees with an order."""
        first = await migrated(mariadb, tmp_path, one_table(Index("a_x_idx", text(before), "id")))
        assert await differences(first) == []
        later = Migrations(mariadb, one_table(Index("a_x_idx", text(after), "id")), tmp_path / "migrations")

        found = await differences(later)

        assert found == ["has the extra index a_x_idx on a", "has no index a_x_idx on a"]
        await migrated(mariadb, tmp_path, later.models)
        assert await differences(later) == []

    async def test_a_range_type_without_a_kind(self, on_postgresql: Database, tmp_path: Path) -> None:
        """Types of PostgreSQL's own have defaults that are compared, too."""
        column: Column[Any] = Column("x", postgresql.ARRAY(Integer), server_default="{}")
        migrations = await migrated(on_postgresql, tmp_path, one_table(column))

        assert await differences(migrations) == []


class TestUnique:
    async def test_included_columns(self, on_postgresql: Database, tmp_path: Path) -> None:
        """INCLUDE of a UNIQUE names columns that it is not on."""
        after = one_table(UniqueConstraint("n", name="a_n_key", postgresql_include=["name"]))

        revision = await round_trip(on_postgresql, tmp_path, one_table(), after)

        assert "postgresql_include=['name']" in revision


class TestForm:
    @pytest.mark.parametrize("sql", ["n*2", " (N * 2) ", "((n * 2))", '"n"*2', "n\n*\t2"])
    def test_what_is_alike(self, sql: str) -> None:
        """Spaces, capitals, quotes of names and brackets around it."""
        assert form(sql) == "n*2"

    @pytest.mark.parametrize(
        ("one", "other"), [("'A'", "'a'"), ("'a b'", "'ab'"), ("'(x)'", "'x'"), ("(a)+(b)", "a+b")]
    )
    def test_what_is_not(self, one: str, other: str) -> None:
        """A text stays as it is, and so do brackets inside."""
        assert form(one) != form(other)

    @pytest.mark.parametrize(("sql", "plain"), [("'1'", "1"), ("'x'", "'x'"), ("'-1.5'", "-1.5")])
    def test_a_number_in_quotes(self, sql: str, plain: str) -> None:
        """For a column of numbers only."""
        assert default_form(sql, Column("n", Integer)) == plain
        assert default_form(sql, Column("t", String)) == sql
