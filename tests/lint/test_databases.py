"""Tests of sqlkeel.lint._databases: what a rename would lose or break on a database is refused there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sqlalchemy import text

from sqlkeel.errors import ConfigurationError
from sqlkeel.lint import check_database, plan_renames
from sqlkeel.lint._databases.renamer import execute, renamer_for
from sqlkeel.sessions import Database

ODD = "CREATE TABLE post (id INTEGER, a TEXT{more}, CONSTRAINT odd UNIQUE (a)){end}"


async def run(db: Database, *statements: str) -> None:
    """Send statements."""
    async with db.engine.begin() as connection:
        for statement in statements:
            await connection.execute(text(statement))


class TestSQLite:
    @pytest.mark.parametrize(
        ("statements", "lost"),
        [
            ([ODD.format(more=" COLLATE NOCASE", end="")], "would lose COLLATE"),
            ([ODD.format(more=", b", end="")], "needs a type for b"),
            ([ODD.format(more=" REFERENCES post (a) ON DELETE CASCADE", end="")], "would lose ON DELETE CASCADE of a"),
            ([ODD.format(more=" REFERENCES post (a) ON UPDATE CASCADE", end="")], "would lose ON UPDATE CASCADE of a"),
            ([ODD.format(more=" REFERENCES post (a) DEFERRABLE", end="")], "would lose DEFERRABLE"),
            ([ODD.format(more="", end=""), "CREATE INDEX post_a_idx ON post (a DESC)"], "DESC of the index post_a_idx"),
            ([ODD.format(more=" CHECK (a > '')", end="")], "would lose a CHECK without a name"),
            ([ODD.format(more="", end=" STRICT")], "would lose STRICT"),
            ([ODD.format(more=", UNIQUE (id) ON CONFLICT IGNORE", end="")], "would lose CONFLICT"),
            ([ODD.format(more="", end=""), "CREATE INDEX post_a_idx ON post (lower(a))"], "the index post_a_idx"),
            (
                [ODD.format(more="", end=""), "CREATE TRIGGER t AFTER INSERT ON post BEGIN SELECT 1; END"],
                "the trigger t",
            ),
            ([ODD.format(more="", end=""), "CREATE VIEW v AS SELECT a FROM post"], "the view v"),
        ],
    )
    async def test_a_copy_that_loses_something(self, sqlite: Database, statements: list[str], lost: str) -> None:
        """A constraint is not renamed where the copy of its table would lose or break something."""
        await run(sqlite, *statements)

        plan = await plan_renames(sqlite)

        assert plan.renames == ()
        assert lost in "".join(plan.refused)

    async def test_what_a_virtual_table_keeps(self, sqlite: Database) -> None:
        """The tables behind a virtual one are SQLite's own, and follow when it is renamed."""
        await run(sqlite, "CREATE VIRTUAL TABLE docs USING fts5(body)")

        plan = await plan_renames(sqlite)

        assert (plan.renames, plan.refused) == (("docs → doc",), ())
        await run(sqlite, "ALTER TABLE docs RENAME TO doc", "SELECT body FROM doc")

    async def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        """A mistyped path is refused, and no file is made."""
        path = tmp_path / "typo.db"

        async with Database(f"sqlite+aiosqlite:///{path}") as database:
            with pytest.raises(ConfigurationError, match="There is no database file"):
                await check_database(database)

        assert not path.exists()

    async def test_a_word_in_a_text(self, sqlite: Database) -> None:
        """Such a word inside of a text or comment is no reason."""
        await run(sqlite, ODD.format(more=" DEFAULT 'STRICT' /* COLLATE */", end=""))

        plan = await plan_renames(sqlite)

        assert plan.renames == ("post odd → post_a_key",)

    async def test_an_index_needs_no_copy(self, sqlite: Database) -> None:
        """An index is renamed where its table cannot be copied."""
        await run(sqlite, "CREATE TABLE post (a TEXT COLLATE NOCASE)", "CREATE UNIQUE INDEX odd ON post (a)")

        plan = await plan_renames(sqlite)

        assert plan.renames == ("post odd → post_a_idx",)
        assert "CREATE UNIQUE INDEX post_a_idx ON post (a)" in plan.upgrade

    @pytest.mark.parametrize("name", ["odd", '"o d"', "[o d]", "`o d`"])
    async def test_an_index_keeps_its_text(self, sqlite: Database, name: str) -> None:
        """An index is made anew as it was written, and so by the way back."""
        await run(sqlite, "CREATE TABLE post (a TEXT)", f"CREATE INDEX {name} ON post (a COLLATE NOCASE DESC)")

        plan = await plan_renames(sqlite)

        assert "CREATE INDEX post_a_idx ON post (a COLLATE NOCASE DESC)" in plan.upgrade
        assert "ON post (a COLLATE NOCASE DESC)" in plan.downgrade

    async def test_views_follow(self, sqlite: Database) -> None:
        """A view is no reason to keep the name of a table or column: SQLite rewrites it."""
        await run(sqlite, "CREATE TABLE posts (oddName TEXT)", "CREATE VIEW v AS SELECT oddName FROM posts")

        plan = await plan_renames(sqlite)

        assert plan.renames == ("posts.oddName → odd_name", "posts → post")
        await run(sqlite, "ALTER TABLE posts RENAME COLUMN oddName TO odd_name", "ALTER TABLE posts RENAME TO post")
        await run(sqlite, "SELECT * FROM v")


class TestPostgreSQL:
    async def test_partitions(self, postgres: Database) -> None:
        """A partition or a table that inherits is renamed with its parent, which PostgreSQL does by itself."""
        await run(
            postgres,
            'CREATE TABLE log (id int, "Odd" int, CONSTRAINT log_pkey PRIMARY KEY (id)) PARTITION BY RANGE (id)',
            "CREATE TABLE logs_1 PARTITION OF log FOR VALUES FROM (1) TO (9)",
            'CREATE TABLE thing ("Odd" int)',
            "CREATE TABLE children () INHERITS (thing)",
        )

        plan = await plan_renames(postgres)

        assert plan.renames == ("log.Odd → odd", "thing.Odd → odd")
        await run(postgres, *re.findall(r"'(ALTER.*)'", plan.upgrade))
        await run(postgres, "SELECT odd FROM logs_1", "SELECT odd FROM children")

    async def test_functions_stand_in_the_way(self, postgres: Database) -> None:
        """A function is kept as text: what it names keeps its name."""
        await run(
            postgres,
            'CREATE TABLE posts (a int, "Odd" int, "Other" int)',
            'CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT "Odd" FROM posts); END $$',
            'CREATE VIEW v AS SELECT "Other" FROM posts',
        )

        plan = await plan_renames(postgres)

        assert plan.renames == ("posts.Other → other",)
        assert plan.refused == (
            "posts → post: the function f() names it",
            "posts.Odd → odd: the function f() names it",
        )


class TestMariaDB:
    async def test_stored_programs_stand_in_the_way(self, mariadb: Database) -> None:
        """A view, a trigger and a routine are kept as text: what they name keeps its name."""
        await run(
            mariadb,
            "CREATE TABLE posts (a int, Odd int, Other int, Third int)",
            "CREATE TABLE likes (a int, Odd int)",
            "CREATE VIEW v AS SELECT Odd FROM posts",
            "CREATE TRIGGER t BEFORE INSERT ON likes FOR EACH ROW SET @x = (SELECT max(Other) FROM posts)",
            "CREATE FUNCTION f() RETURNS int RETURN (SELECT max(Odd) FROM likes)",
        )

        plan = await plan_renames(mariadb)

        assert plan.renames == ("posts.Third → third",)
        assert set(plan.refused) == {
            "posts → post: the view v names it",
            "posts.Odd → odd: the view v names it",
            "posts.Other → other: the trigger t names it",
            "likes → like: the function f names it",
            "likes.Odd → odd: the function f names it",
        }

    async def test_a_key_to_a_table_that_is_left_out(self, mariadb: Database) -> None:
        """A foreign key is stated anew with all that it says, also where its target is not looked at."""
        await run(
            mariadb,
            "CREATE TABLE team (id int PRIMARY KEY)",
            "CREATE TABLE post (`group` int, CONSTRAINT odd FOREIGN KEY (`group`) REFERENCES team (id) "
            "ON UPDATE CASCADE)",
        )

        plan = await plan_renames(mariadb, exclude={"team": "another team's"})

        assert plan.upgrade == (
            "op.execute('ALTER TABLE post DROP FOREIGN KEY odd, ADD CONSTRAINT post_group_fkey "
            "FOREIGN KEY (`group`) REFERENCES team (id) ON UPDATE CASCADE')"
        )


class TestBackends:
    @pytest.mark.parametrize("name", ["sqlite", "postgresql", "mariadb", "mysql"])
    def test_dialects(self, name: str) -> None:
        """Each dialect that sqlkeel runs on has its file; MySQL's name is MariaDB's too."""
        assert renamer_for(name).name == name.replace("mysql", "mariadb")

    def test_colon(self) -> None:
        """A colon in a statement begins no parameter."""
        assert execute("SELECT ':a'") == r"""op.execute("SELECT '\\:a'")"""


class TestTakenNames:
    async def test_by_what_is_not_looked_at(self, db: Database) -> None:
        """A view, or a table that is left out, keeps its name for itself."""
        await run(
            db,
            "CREATE TABLE posts (a int)",
            "CREATE TABLE votes (a int)",
            "CREATE TABLE post (a int)",
            "CREATE VIEW vote AS SELECT 1 AS a",
        )

        plan = await plan_renames(db, exclude={"post": "another team's"})

        assert plan.renames == ()
        assert plan.refused == ('posts → post: "post" is taken', 'votes → vote: "vote" is taken')
