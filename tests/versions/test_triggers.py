"""The trigger that counts versions: its names, and where it can be. What it counts is in test_trigger_version.py."""

from __future__ import annotations

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, create_mock_engine, text
from sqlalchemy.dialects import oracle

from sqlkeel import Database
from sqlkeel.errors import NotSupported
from sqlkeel.versions._triggers import VersionTrigger

LONG = "a" * 60


def table(name: str, *, schema: str | None = None, column: str = "version") -> Table:
    """Return a table with a version."""
    parts = Column("id", Integer, primary_key=True), Column(column, Integer, server_default="1")
    return Table(name, MetaData(), *parts, Column("x", Integer), schema=schema)


class TestName:
    @pytest.mark.parametrize("name", ["article", "a" * 47])
    def test_it_is_the_tables(self, name: str) -> None:
        """The trigger is named after its table, up to the 63 bytes that a name may have."""
        assert VersionTrigger(table(name)).name == f"{name}_version_trigger"

    @pytest.mark.parametrize(("first", "second"), [(f"{LONG}b", f"{LONG}c"), ("ü" * 30, "ü" * 29 + "x")])
    def test_a_long_one_stays_its_own(self, first: str, second: str) -> None:
        """Two tables that differ where the name is cut have triggers of different names, and the names fit."""
        names = [VersionTrigger(table(name)).name for name in (first, second)]

        assert names[0] != names[1]
        assert max(len(name.encode()) for name in names) <= 63

    def test_without_a_mark_there_is_none(self) -> None:
        """A table has the trigger that was attached to it, and no other."""
        plain, counted = table("plain"), table("counted")
        VersionTrigger(counted).attach()

        assert VersionTrigger.of(plain) is None
        assert VersionTrigger.of(counted) == VersionTrigger(counted)


class TestDatabases:
    def test_an_unknown_one_is_refused(self) -> None:
        """A database whose triggers are not known is named."""
        with pytest.raises(NotSupported, match="not of oracle"):
            VersionTrigger(table("article")).creation(oracle.dialect())  # type: ignore[no-untyped-call]  # SQLAlchemy's

    @pytest.mark.parametrize(
        ("name", "column"), [("order", "version"), ("Article", "Version no"), (LONG, "group"), ("50% off", "p%")]
    )
    async def test_any_name_will_do(self, every_driver: Database, name: str, column: str) -> None:
        """Reserved words, capitals, spaces and long names are quoted."""
        counted = table(name, column=column)
        trigger = VersionTrigger(counted, column)
        trigger.attach()

        async with every_driver.engine.begin() as connection:
            before = await connection.run_sync(trigger.exists)
            await connection.run_sync(counted.metadata.create_all)
            await connection.execute(counted.insert().values(id=1))
            await connection.execute(counted.update().values(x=2))

            assert (before, await connection.run_sync(trigger.exists)) == (False, True)
            assert (await connection.execute(counted.select())).one()[1] == 2

    @pytest.mark.parametrize("schema", ["Other", "main"])
    async def test_it_stands_in_the_schema_of_its_table(self, postgres: Database, schema: str) -> None:
        """Table, trigger and function share a schema."""
        counted = table("article", schema=schema)
        VersionTrigger(counted).attach()

        async with postgres.engine.begin() as connection:
            await connection.execute(text(f'CREATE SCHEMA "{schema}"'))
            await connection.run_sync(counted.metadata.create_all)
            await connection.execute(counted.insert().values(id=1))
            await connection.execute(counted.update().values(x=2))

            assert await connection.run_sync(VersionTrigger(counted).exists)
            assert not await connection.run_sync(VersionTrigger(table("article")).exists)
            assert (await connection.execute(counted.select())).one().version == 2

    async def test_one_that_is_switched_off_is_missing(self, postgres: Database) -> None:
        """A trigger that PostgreSQL was told not to fire does not count as one."""
        counted = table("article")
        trigger = VersionTrigger(counted)
        trigger.attach()

        async with postgres.engine.begin() as connection:
            await connection.run_sync(counted.metadata.create_all)
            await connection.execute(text(f"ALTER TABLE article DISABLE TRIGGER {trigger.name}"))

            assert not await connection.run_sync(trigger.exists)

    @pytest.mark.parametrize("schema", [None, "shared"])
    async def test_it_stands_in_the_schema_that_the_connection_names(
        self, postgres: Database, schema: str | None
    ) -> None:
        """Where a schema is translated, the table of that one has the trigger, and no table of the same name."""
        counted = table("article", schema=schema)
        trigger = VersionTrigger(counted)
        trigger.attach()
        plain = table("article", schema=schema)

        async with postgres.engine.connect() as connection:
            for name in ("shared", "tenant"):
                await connection.execute(text(f"CREATE SCHEMA {name}"))
            await connection.run_sync(plain.metadata.create_all)
            tenant = await connection.execution_options(schema_translate_map={schema: "tenant"})
            before = await tenant.run_sync(trigger.exists)
            await tenant.run_sync(counted.metadata.create_all)
            await tenant.execute(counted.insert().values(id=1))
            await tenant.execute(counted.update().values(x=2))

            assert (before, await tenant.run_sync(trigger.exists)) == (False, True)
            assert (await tenant.execute(counted.select())).one().version == 2
            await tenant.run_sync(counted.metadata.drop_all)
            await tenant.run_sync(counted.metadata.create_all)

    @pytest.mark.parametrize("name", ["article", "50% off"])
    def test_it_is_written_where_nothing_is_sent(self, name: str) -> None:
        """An engine that only shows the statements shows those of the trigger, too."""
        counted = table(name)
        VersionTrigger(counted).attach()
        shown: list[str] = []
        engine = create_mock_engine("postgresql+asyncpg://", lambda ddl, *_: shown.append(str(ddl.compile(engine))))

        counted.metadata.create_all(engine)

        assert [statement.split()[:3] for statement in shown[1:]] == [["CREATE", "OR", "REPLACE"]] * 2
