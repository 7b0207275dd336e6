"""What each database needs while migrations run on it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import text

from sqlkeel import errors
from sqlkeel.migrations._turn import turn
from sqlkeel.sessions import Database
from tests.migrations.revisions import empty_migrations, revision, tables

PARENT_AND_CHILD = """
op.execute("CREATE TABLE parent (id INTEGER PRIMARY KEY, name VARCHAR(5))")
op.execute("CREATE TABLE child (id INTEGER PRIMARY KEY, parent_id INTEGER REFERENCES parent (id) ON DELETE CASCADE)")
op.execute("INSERT INTO parent VALUES (1, 'a')")
op.execute("INSERT INTO child VALUES (1, 1)")
""".strip()
COPY_PARENT = """
with op.batch_alter_table("parent") as batch:
    batch.alter_column("name", type_=sa.String(50))
""".strip()


class TestSQLite:
    async def test_a_copied_table_keeps_the_rows_of_its_children(self, sqlite: Database, tmp_path: Path) -> None:
        """Dropping the old copy does not cascade."""
        migrations = empty_migrations(sqlite, tmp_path)
        await revision(migrations, "make", PARENT_AND_CHILD)
        await revision(migrations, "copy", COPY_PARENT)

        await migrations.up()

        async with sqlite.read() as session:
            assert await session.scalar(text("SELECT count(*) FROM child")) == 1

    async def test_foreign_keys_are_checked_again_afterwards(self, sqlite: Database, tmp_path: Path) -> None:
        """The connection goes back to the application as it was."""
        async with turn(sqlite.engine) as connection:
            assert await connection.scalar(text("PRAGMA foreign_keys")) == 0

        async with sqlite.engine.connect() as connection:
            assert await connection.scalar(text("PRAGMA foreign_keys")) == 1

    async def test_rows_that_point_nowhere_stop_the_run(self, sqlite: Database, tmp_path: Path) -> None:
        """Foreign keys are off while migrations run, and looked at before anything is kept."""
        migrations = empty_migrations(sqlite, tmp_path)
        await revision(migrations, "make", PARENT_AND_CHILD)
        await migrations.up()
        await revision(migrations, "delete", 'op.execute("DELETE FROM parent")')

        with pytest.raises(errors.MigrationError, match=r"1 row\(s\) of child → parent"):
            await migrations.up()

        async with sqlite.read() as session:
            assert await session.scalar(text("SELECT count(*) FROM parent")) == 1

    async def test_rows_that_pointed_nowhere_before_do_not(self, sqlite: Database, tmp_path: Path) -> None:
        """A migration is not blamed for what it found."""
        migrations = empty_migrations(sqlite, tmp_path)
        await revision(migrations, "make", PARENT_AND_CHILD)
        await migrations.up()
        with sqlite3.connect(str(sqlite.url.database)) as stray:
            stray.execute("INSERT INTO child VALUES (2, 99)")
        stray.close()
        await revision(migrations, "copy", COPY_PARENT)

        done = await migrations.up()

        assert len(done) == 1

    async def test_an_old_copy_is_removed(self, sqlite: Database, tmp_path: Path) -> None:
        """What an interrupted migration of somebody else left does not stop this one."""
        migrations = empty_migrations(sqlite, tmp_path)
        await revision(migrations, "make", f'{PARENT_AND_CHILD}\nop.execute("CREATE TABLE _alembic_tmp_parent (id)")')
        await migrations.up()
        await revision(migrations, "copy", COPY_PARENT)

        await migrations.up()

        assert "_alembic_tmp_parent" not in await tables(sqlite)

    async def test_an_old_copy_with_the_only_rows_is_kept(self, sqlite: Database, tmp_path: Path) -> None:
        """Where the table itself is gone, a person has to look."""
        migrations = empty_migrations(sqlite, tmp_path)
        await revision(migrations, "make", 'op.execute("CREATE TABLE _alembic_tmp_parent (id)")')
        await migrations.up()

        with pytest.raises(errors.MigrationError, match="may hold the only rows") as caught:
            await migrations.up()

        assert caught.value.hint.endswith("ALTER TABLE _alembic_tmp_parent RENAME TO parent")

    async def test_a_copy_does_not_lose_triggers(self, sqlite: Database, tmp_path: Path) -> None:
        """The run is refused, with the statement that makes the trigger again."""
        trigger = "CREATE TRIGGER watch AFTER UPDATE ON parent BEGIN SELECT 1; END"
        migrations = empty_migrations(sqlite, tmp_path)
        await revision(migrations, "make", f'{PARENT_AND_CHILD}\nop.execute("{trigger}")')
        await migrations.up()
        path = await revision(migrations, "copy", COPY_PARENT)

        with pytest.raises(errors.MigrationError, match="Copying parent lost its trigger watch") as caught:
            await migrations.up()

        assert trigger in caught.value.hint
        path.write_text(path.read_text().replace("def downgrade", f'    op.execute("{trigger}")\n\n\ndef downgrade'))
        assert len(await migrations.up()) == 1

    async def test_a_copied_table_keeps_its_views(self, sqlite: Database, tmp_path: Path) -> None:
        """SQLite reads them when the copy gets its name, and the table that they name is not there."""
        migrations = empty_migrations(sqlite, tmp_path)
        views = "CREATE VIEW ids AS SELECT id FROM parent", "CREATE VIEW more AS SELECT id + 1 AS next FROM ids"
        await revision(migrations, "make", "\n".join((PARENT_AND_CHILD, *(f'op.execute("{one}")' for one in views))))
        await migrations.up()
        await revision(migrations, "copy", COPY_PARENT)

        await migrations.up()

        async with sqlite.engine.begin() as connection:
            await connection.execute(text("SELECT id, next FROM ids, more"))
            assert await connection.scalar(text("PRAGMA legacy_alter_table")) == 0

    async def test_a_view_that_cannot_be_read_afterwards(self, sqlite: Database, tmp_path: Path) -> None:
        """The run is refused; one that could not be read before is nobody's loss."""
        migrations = empty_migrations(sqlite, tmp_path)
        views = "CREATE VIEW ids AS SELECT id FROM child", "CREATE VIEW lost AS SELECT id FROM nowhere"
        await revision(migrations, "make", "\n".join((PARENT_AND_CHILD, *(f'op.execute("{one}")' for one in views))))
        await migrations.up()
        path = await revision(migrations, "drop", 'op.drop_table("child")')

        with pytest.raises(errors.MigrationError, match=r"view ids cannot be read: no such table: main\.child"):
            await migrations.up()

        path.write_text(path.read_text().replace("op.drop", 'op.execute("DROP VIEW ids")\n    op.drop'))
        assert len(await migrations.up()) == 1

    async def test_a_trigger_may_be_dropped(self, sqlite: Database, tmp_path: Path) -> None:
        """Dropping a trigger, or a table with its triggers, is no loss."""
        migrations = empty_migrations(sqlite, tmp_path)
        make = 'op.execute("CREATE TRIGGER {0} AFTER UPDATE ON {1} BEGIN SELECT 1; END")'
        both = f"{make.format('one', 'parent')}\n{make.format('two', 'child')}"
        await revision(migrations, "make", f"{PARENT_AND_CHILD}\n{both}")
        await migrations.up()
        await revision(migrations, "drop", 'op.execute("DROP TRIGGER one")\nop.execute("DROP TABLE child")')

        done = await migrations.up()

        assert len(done) == 1


class TestPostgreSQL:
    async def test_waits_for_locks_are_short(self, postgres: Database) -> None:
        """The application's limits are lifted, and locks are not waited for."""
        async with turn(postgres.engine, lock_timeout=1.5) as connection:
            found = [
                await connection.scalar(text(f"SHOW {name}"))
                for name in ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout")
            ]

        assert found == ["1500ms", "0", "0"]

    async def test_what_a_revision_sets_ends_with_it(self, postgres: Database, tmp_path: Path) -> None:
        """The application gets no connection with another search path."""
        migrations = empty_migrations(postgres, tmp_path)
        await revision(migrations, "set", "op.execute(\"SET work_mem = '77MB'\")")

        await migrations.up()

        async with postgres.transaction() as session:
            assert await session.scalar(text("SHOW work_mem")) != "77MB"


class TestMariaDB:
    async def test_waits_for_locks_are_short(self, mariadb: Database) -> None:
        """The application's limits are lifted, and metadata locks are not waited for a day."""
        async with turn(mariadb.engine, lock_timeout=2) as connection:
            statement = text("SELECT @@lock_wait_timeout, @@max_statement_time, @@idle_transaction_timeout")
            found = (await connection.execute(statement)).one()

        assert tuple(found) == (2, 0, 0)
