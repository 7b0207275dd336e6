"""Identity columns of PostgreSQL: changed options are applied, another kind is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import BigInteger, Column, Identity, Integer, MetaData, String, Table, text

from sqlkeel.errors import MigrationError
from sqlkeel.migrations import Migrations
from sqlkeel.sessions import Database
from tests.migrations.revisions import round_trip

CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "increment and start": ({}, {"start": 5, "increment": 2}),
    "always": ({}, {"always": True}),
    "by default": ({"always": True}, {}),
    "cycle and a maximum": ({}, {"cycle": True, "maxvalue": 1000}),
}


def models(*identity: Identity, kind: type[Integer] = Integer) -> MetaData:
    """Return a table whose key counts by an identity, or as a SERIAL without one."""
    metadata = MetaData()
    Table("ticket", metadata, Column("id", kind, *identity, primary_key=True), Column("name", String(5)))
    return metadata


class TestOptions:
    @pytest.mark.parametrize("case", CHANGES)
    async def test_they_change(self, postgres: Database, tmp_path: Path, case: str) -> None:
        """There and back."""
        before, after = (models(Identity(**options)) for options in CHANGES[case])

        await round_trip(postgres, tmp_path, before, after)


class TestRange:
    @pytest.mark.parametrize("identity", [[], [Identity()]], ids=["serial", "identity"])
    async def test_a_key_counts_on_as_far_as_its_type(
        self, postgres: Database, tmp_path: Path, identity: list[Identity]
    ) -> None:
        """The sequence of a SERIAL would end at 2147483647, which the column does no more."""
        before, after = (models(*identity, kind=kind) for kind in (Integer, BigInteger))

        await round_trip(postgres, tmp_path, before, after)

        async with postgres.engine.begin() as connection:
            await connection.execute(text("SELECT setval('ticket_id_seq', 2147483647)"))
            made = await connection.scalar(text("INSERT INTO ticket (name) VALUES ('a') RETURNING id"))
            assert made == 2147483648


class TestKinds:
    @pytest.mark.parametrize("to_identity", [True, False], ids=["to_identity", "to_serial"])
    async def test_another_kind_is_refused(self, postgres: Database, tmp_path: Path, to_identity: bool) -> None:
        """The hint says what to write, and the column goes on counting."""
        both = [models(), models(Identity())]
        before, after = both if to_identity else both[::-1]
        first = Migrations(postgres, before, tmp_path / "migrations")
        await first.new("first")
        await first.up()
        second = Migrations(postgres, after, tmp_path / "migrations")
        await second.new("second")

        with pytest.raises(MigrationError, match=r"ticket\.id") as caught:
            await second.up()

        assert "op.execute()" in caught.value.hint
        async with postgres.engine.begin() as connection:
            await connection.execute(text("INSERT INTO ticket (name) VALUES ('a')"))
