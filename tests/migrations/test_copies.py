"""A change that copies a SQLite table loses nothing of it, or does not happen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import CheckConstraint, Column, Index, Integer, MetaData, String, Table, func, text

from sqlkeel import errors
from sqlkeel.migrations import Migrations
from sqlkeel.models import metadata_with_names
from sqlkeel.sessions import Database
from tests.migrations.revisions import empty_migrations, revision
from tests.migrations.test_ownership import execute

COPY = """
with op.batch_alter_table("a") as batch:
    batch.alter_column("n", existing_type=sa.Integer(), nullable=False)
""".strip()
DROP = """
with op.batch_alter_table("a") as batch:
    batch.drop_column("more")
""".strip()
HEAD = "CREATE TABLE a (id INTEGER PRIMARY KEY{}, n INTEGER, name VARCHAR(20){}, more VARCHAR(20)){}"
ROWS = "INSERT INTO a (id, n, name, more) VALUES (1, 7, 'ann', 'x'), (9, 8, 'bob', 'y')"


async def copied(db: Database, folder: Path, *made: str, change: str = COPY) -> None:
    """Make a table by SQL, give it rows, and change it by a revision."""
    await execute(db, *made, ROWS)
    migrations = empty_migrations(db, folder)
    await revision(migrations, "change", change)
    await migrations.up()


async def definition(db: Database, name: str = "a") -> str:
    """Return the statement that the table or index was made by."""
    [found] = await execute(db, f"SELECT sql FROM sqlite_master WHERE name = '{name}'")
    return str(found)


class TestCollations:
    async def test_a_column_keeps_its_own(self, sqlite: Database, tmp_path: Path) -> None:
        """A unique column without case stays one."""
        made = [HEAD.format("", " COLLATE NOCASE", ""), "CREATE UNIQUE INDEX a_name_key ON a (name)"]
        await copied(sqlite, tmp_path, *made)

        with pytest.raises(errors.UniqueViolation):
            await execute(sqlite, "INSERT INTO a VALUES (3, 1, 'ANN', 'z')")

        assert await execute(sqlite, "SELECT count(*) FROM a") == [2]

    @pytest.mark.parametrize("collation", ["nocase", "RTRIM", '"NOCASE"'])
    async def test_in_any_spelling(self, sqlite: Database, tmp_path: Path, collation: str) -> None:
        """SQLite tells the collation; the statement is not searched for a word."""
        await copied(sqlite, tmp_path, HEAD.format("", f" /* COLLATE x */ COLLATE {collation}", ""))

        assert collation.strip('"').upper() in (await definition(sqlite)).upper()

    async def test_a_word_in_a_comment_is_none(self, sqlite: Database, tmp_path: Path) -> None:
        """A column whose default speaks of COLLATE has none."""
        await copied(sqlite, tmp_path, HEAD.format("", " DEFAULT 'COLLATE NOCASE'", ""))

        assert await execute(sqlite, "SELECT count(*) FROM a WHERE name = 'ANN'") == [0]

    async def test_a_column_that_is_changed_itself(self, sqlite: Database, tmp_path: Path) -> None:
        """A longer text still has the collation that nobody spoke of."""
        change = COPY.replace('"n", existing_type=sa.Integer(), nullable=False', '"name", type_=sa.String(50)')
        await copied(sqlite, tmp_path, HEAD.format("", " COLLATE NOCASE", ""), change=change)

        assert await execute(sqlite, "SELECT id FROM a WHERE name = 'ANN'") == [1]

    async def test_another_one_may_be_given(self, sqlite: Database, tmp_path: Path) -> None:
        """A collation in the revision wins."""
        kind = 'sa.String(50, collation="BINARY")'
        change = COPY.replace('"n", existing_type=sa.Integer(), nullable=False', f'"name", type_={kind}')
        await copied(sqlite, tmp_path, HEAD.format("", " COLLATE NOCASE", ""), change=change)

        assert await execute(sqlite, "SELECT id FROM a WHERE name = 'ANN'") == []

    async def test_a_column_that_is_no_text_is_refused(self, sqlite: Database, tmp_path: Path) -> None:
        """Where it cannot be kept, nothing happens, and the message says what would be lost."""
        made = HEAD.format("", "", "").replace("n INTEGER", "n INTEGER COLLATE NOCASE")

        with pytest.raises(errors.MigrationError, match="Copying a would lose COLLATE NOCASE of n"):
            await copied(sqlite, tmp_path, made)

        assert "COLLATE NOCASE" in await definition(sqlite)


class TestIndexes:
    @pytest.mark.parametrize(
        "over",
        [
            "lower(name)",
            "name COLLATE NOCASE",
            "n DESC",
            "n % 10, name",
            "name) WHERE (n > 5",
            "lower(name)) WHERE (name <> ' :x'",
        ],
    )
    async def test_it_is_made_again_as_it_was_written(self, sqlite: Database, tmp_path: Path, over: str) -> None:
        """Expression, collation, order, condition."""
        made = f"CREATE UNIQUE INDEX a_key ON a ({over})"

        await copied(sqlite, tmp_path, HEAD.format("", "", ""), made)

        assert await definition(sqlite, "a_key") == made

    async def test_one_over_a_column_that_goes_is_not_lost_silently(self, sqlite: Database, tmp_path: Path) -> None:
        """The run is refused, with what to do."""
        change = COPY.replace('alter_column("n", existing_type=sa.Integer(), nullable=False)', 'drop_column("name")')
        made = [HEAD.format("", "", ""), "CREATE UNIQUE INDEX a_key ON a (lower(name))"]

        with pytest.raises(errors.MigrationError, match="would lose the index a_key") as caught:
            await copied(sqlite, tmp_path, *made, change=change)

        assert "op.drop_index('a_key') before the change" in caught.value.hint
        assert await definition(sqlite, "a_key") == made[1]

    async def test_one_that_the_revision_drops_is_dropped(self, sqlite: Database, tmp_path: Path) -> None:
        """Before the copy, or in it."""
        change = f'op.drop_index("a_key")\n{COPY}\n    batch.drop_index("a_more")'
        made = ["CREATE UNIQUE INDEX a_key ON a (lower(name))", "CREATE INDEX a_more ON a (more DESC)"]
        await copied(sqlite, tmp_path, HEAD.format("", "", ""), *made, change=change)

        assert await execute(sqlite, "SELECT name FROM sqlite_master WHERE sql LIKE 'CREATE%INDEX%'") == []

    async def test_one_over_a_renamed_column_follows_it(self, sqlite: Database, tmp_path: Path) -> None:
        """A plain index is made again by its columns."""
        renamed = COPY.replace("existing_type", 'new_column_name="number", existing_type')
        await copied(sqlite, tmp_path, HEAD.format("", "", ""), "CREATE INDEX a_n ON a (n)", change=renamed)

        assert "(number)" in await definition(sqlite, "a_n")

    async def test_a_new_one_is_made_in_the_copy(self, sqlite: Database, tmp_path: Path) -> None:
        """An expression in the same batch as a change."""
        change = f'{COPY}\n    batch.create_index("a_key", [sa.text("lower(name)")], unique=True)'
        await copied(sqlite, tmp_path, HEAD.format("", "", ""), change=change)

        with pytest.raises(errors.UniqueViolation):
            await execute(sqlite, "INSERT INTO a VALUES (3, 1, 'ANN', 'z')")


class TestTheTable:
    async def test_it_goes_on_counting(self, sqlite: Database, tmp_path: Path) -> None:
        """AUTOINCREMENT gives no number twice, even that of a deleted row."""
        await copied(
            sqlite,
            tmp_path,
            HEAD.format(" AUTOINCREMENT", "", ""),
            "INSERT INTO a (id) VALUES (50)",
            "DELETE FROM a",
        )

        await execute(sqlite, "INSERT INTO a (n) VALUES (1)")

        assert "AUTOINCREMENT" in await definition(sqlite)
        assert await execute(sqlite, "SELECT max(id) FROM a") == [51]

    @pytest.mark.parametrize("kind", [" STRICT", " WITHOUT ROWID"])
    async def test_its_kind_is_kept(self, sqlite: Database, tmp_path: Path, kind: str) -> None:
        """A strict table stays one, and one without row ids."""
        made = HEAD.format("", " COLLATE NOCASE", kind).replace("VARCHAR(20)", "TEXT")

        await copied(sqlite, tmp_path, made)

        assert (await definition(sqlite)).strip().endswith(kind)

    async def test_an_unnamed_check_is_kept(self, sqlite: Database, tmp_path: Path) -> None:
        """Alembic leaves it out with a warning."""
        await copied(sqlite, tmp_path, HEAD.format("", " CHECK (name <> '100%')", ""))

        with pytest.raises(errors.CheckViolation):
            await execute(sqlite, "INSERT INTO a VALUES (3, 1, '100%', 'z')")

    @pytest.mark.parametrize("check", ["more <> 'x y'", "\"more\" IN ('x', 'y')", "more <> ':n'"])
    async def test_a_check_goes_with_its_column(self, sqlite: Database, tmp_path: Path, check: str) -> None:
        """In quotes a column that is gone would be a text, which no row passes."""
        made = HEAD.format("", "", "").replace("more VARCHAR(20)", f"more VARCHAR(20) CHECK ({check})")

        await copied(sqlite, tmp_path, made, change=DROP)

        assert "CHECK" not in await definition(sqlite)

    async def test_a_check_that_names_another_column_too_is_not_lost(self, sqlite: Database, tmp_path: Path) -> None:
        """It says something of the one that stays."""
        made = HEAD.format("", "", "").replace("more VARCHAR(20)", "more VARCHAR(20) CHECK (more <> name)")

        with pytest.raises(errors.MigrationError, match="would lose the CHECK more <> name, which names more"):
            await copied(sqlite, tmp_path, made, change=DROP)

    async def test_what_to_do_on_a_conflict_is_not_lost(self, sqlite: Database, tmp_path: Path) -> None:
        """A constraint that replaces rows becomes no other one."""
        made = HEAD.format("", " UNIQUE ON CONFLICT IGNORE", "")

        with pytest.raises(errors.MigrationError, match="would lose CONFLICT CLAUSE"):
            await copied(sqlite, tmp_path, made)

    async def test_the_rows_are_there(self, sqlite: Database, tmp_path: Path) -> None:
        """After all of it."""
        made = [HEAD.format(" AUTOINCREMENT", " COLLATE NOCASE", ""), "CREATE INDEX a_key ON a (lower(name))"]
        await copied(sqlite, tmp_path, *made)

        assert await execute(sqlite, "SELECT id || name FROM a ORDER BY id") == ["1ann", "9bob"]


class TestTypes:
    @pytest.mark.parametrize(
        ("old", "value", "new"),
        [
            ("VARCHAR(20)", "'12 pieces'", "sa.Integer()"),
            ("VARCHAR(20)", "''", "sa.Integer()"),
            ("FLOAT", "1.5", "sa.Integer()"),
            ("DATE", "'2024-05-06'", "sa.DateTime()"),
            ("DATETIME", "'2024-05-06 07:08:09'", "sa.Date()"),
            ("DATE", "'2024-05-06'", "sa.Integer()"),
        ],
    )
    async def test_a_value_that_would_become_another_stops_it(
        self, sqlite: Database, tmp_path: Path, old: str, value: str, new: str
    ) -> None:
        """SQLite casts 12 pieces to 12, and a date to its year."""
        change = f'with op.batch_alter_table("a") as batch:\n    batch.alter_column("x", type_={new})'
        made = [HEAD.format("", "", ""), f"ALTER TABLE a ADD COLUMN x {old} DEFAULT {value}"]

        with pytest.raises(errors.MigrationError, match="a has rows whose x would change"):
            await copied(sqlite, tmp_path, *made, change=change)

        assert await execute(sqlite, f"SELECT DISTINCT x = {value} FROM a") == [1]

    @pytest.mark.parametrize(
        ("old", "value", "new", "seen"),
        [
            ("VARCHAR(20)", "'12'", "sa.Integer()", 12),
            ("FLOAT", "2.0", "sa.Integer()", 2),
            ("INTEGER", "7", "sa.String(20)", "7"),
            ("VARCHAR(20)", "'2024-05-06'", "sa.Date()", "2024-05-06"),
            ("VARCHAR(20)", "'2024-05-06 07:08:09'", "sa.DateTime()", "2024-05-06 07:08:09"),
            ("VARCHAR(20)", "NULL", "sa.Integer()", None),
        ],
    )
    async def test_a_value_that_means_the_same_is_kept(
        self, sqlite: Database, tmp_path: Path, old: str, value: str, new: str, seen: Any
    ) -> None:
        """A number in a text, a whole number, a date in a text."""
        change = f'with op.batch_alter_table("a") as batch:\n    batch.alter_column("x", type_={new})'
        made = [HEAD.format("", "", ""), f"ALTER TABLE a ADD COLUMN x {old} DEFAULT {value}"]

        await copied(sqlite, tmp_path, *made, change=change)

        assert await execute(sqlite, "SELECT x FROM a") == [seen, seen]


class TestModels:
    @pytest.fixture(params=["text", "function"])
    def with_index(self, request: pytest.FixtureRequest) -> Any:
        """Return tables with a unique index over an expression, in each of two spellings."""

        def make(*, nullable: bool = True) -> MetaData:
            metadata = metadata_with_names()
            name = Column("name", String(20, collation="NOCASE"))
            over = {"text": text("lower(name)"), "function": func.lower(name)}[request.param]
            columns = [Column("id", Integer, primary_key=True), Column("n", Integer, nullable=nullable), name]
            Table("a", metadata, *columns, Index("a_key", over, unique=True), CheckConstraint("n < 9", name="n"))
            return metadata

        return make

    @pytest.fixture(params=["sqlite", "postgres", "psycopg"])
    def db(self, request: pytest.FixtureRequest) -> Database:
        """Each database that has indexes over expressions."""
        database: Database = request.getfixturevalue(request.param)
        return database

    async def test_an_index_over_an_expression_is_written(
        self, sqlite: Database, tmp_path: Path, with_index: Any
    ) -> None:
        """By the first revision, kept by a later copy, and not written twice."""
        first = Migrations(sqlite, with_index(), tmp_path / "migrations")
        await first.new("first")
        await first.up()
        later = Migrations(sqlite, with_index(nullable=False), tmp_path / "migrations")
        await later.new("later")
        await later.up()

        await later.check()

        assert await later.new("again") is None
        with pytest.raises(errors.UniqueViolation):
            await execute(sqlite, "INSERT INTO a VALUES (1, 1, 'ann'), (2, 2, 'ANN')")

    async def test_one_in_descending_order_is_written_once(self, sqlite: Database, tmp_path: Path) -> None:
        """SQLite tells its columns, which the models do not know of a text."""
        metadata = MetaData()
        Table("a", metadata, Column("id", Integer, primary_key=True), Index("a_id", text("id DESC")))
        migrations = Migrations(sqlite, metadata, tmp_path / "migrations")
        await migrations.new("first")
        await migrations.up()

        await migrations.check()

        assert await migrations.new("again") is None

    async def test_a_missing_one_is_a_difference(self, sqlite: Database, tmp_path: Path, with_index: Any) -> None:
        """It is found by its name."""
        first = Migrations(sqlite, with_index(), tmp_path / "migrations")
        await first.new("first")
        await first.up()
        await execute(sqlite, "DROP INDEX a_key")

        with pytest.raises(errors.ModelsDiffer) as caught:
            await first.check()

        assert caught.value.differences == ("has no index a_key on a",)
