"""Tests of sqlkeel.bulk._on_conflict: the statements as PostgreSQL and SQLite read them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import column, select, table
from sqlalchemy.dialects import postgresql

from sqlkeel.bulk._databases.postgresql import PostgreSQLWriter
from sqlkeel.bulk._on_conflict import merging_insert, upserting_insert
from sqlkeel.bulk._target import Target
from sqlkeel.bulk._writer import Merge
from tests.bulk.models import Guest, Member


def merge_of(model: type[Any], *assigned: str, on: Any) -> Merge:
    target = Target(model)
    touched = target.touched(assigned) if assigned else {}
    return Merge(
        target,
        target.unique(target.names(on, of="on"), PostgreSQLWriter().predicate),
        target.columns(assigned),
        touched,
    )


def sql(statement: Any) -> str:
    return " ".join(str(statement.compile(dialect=postgresql.dialect())).split())


class TestOneRow:
    def test_the_target_is_a_live_row(self) -> None:
        """A partial index is named with its condition, and a deleted row is not touched."""
        merge = merge_of(Member, "name", on=[Member.email])

        text = sql(upserting_insert(postgresql.insert, {"email": "a", "name": "n"}, merge))

        assert "ON CONFLICT (email) WHERE deleted_at IS NULL DO UPDATE SET name = excluded.name" in text
        assert "updated_at = now()" in text
        assert "version = (bulk_member.version + %(version_1)s::INTEGER)" in text
        assert "WHERE bulk_member.deleted_at IS NULL RETURNING" in text

    def test_nothing_to_update(self) -> None:
        """Without a column to update, an existing row is left alone."""
        merge = merge_of(Guest, on=[Guest.first, Guest.last])

        text = sql(upserting_insert(postgresql.insert, {"first": "a", "last": "b"}, merge))

        assert "ON CONFLICT (first, last) DO NOTHING RETURNING" in text


class TestManyRows:
    def test_only_what_differs_is_written(self) -> None:
        """The condition compares what is assigned, and nothing else."""
        merge = merge_of(Guest, "age", on=[Guest.first, Guest.last])
        stage = table("stage", column("first"), column("last"), column("age"))

        text = sql(
            merging_insert(
                postgresql.insert, stage, select(*stage.c), merge, lambda old, new: old.is_distinct_from(new)
            )
        )

        assert text.startswith(f"INSERT INTO bulk_guest (first, last, age) SELECT {stage.name}.first")
        assert text.endswith("SET age = excluded.age WHERE bulk_guest.age IS DISTINCT FROM excluded.age")
