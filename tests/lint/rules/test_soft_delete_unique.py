"""Tests of soft-delete-unique: unique among the live rows."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from sqlalchemy import Column, Computed, DateTime, ForeignKey, Index, Integer, String, UniqueConstraint, Uuid, text

from sqlkeel import unique_live
from sqlkeel.lint import Finding
from sqlkeel.models import metadata_with_names
from tests.lint.examples import found, found_in, table


def marked(*parts: Any) -> list[Finding]:
    """Return the findings on a table with soft delete, an address and what is given."""
    return found("soft-delete-unique", Column("email", String(320)), Column("deleted_at", DateTime), *parts)


class TestSoftDeleteUnique:
    @pytest.mark.parametrize("part", [UniqueConstraint("email"), Index(None, "email", unique=True)])
    def test_refused(self, part: Any) -> None:
        """A constraint and an index count deleted rows alike."""
        (finding,) = marked(part)

        assert finding.where == "thing.email"
        assert finding.fix == 'Put unique_live("email") into __table_args__ instead.'

    def test_composite(self) -> None:
        """All columns go into the fix."""
        (finding,) = marked(Column("team", Integer), UniqueConstraint("team", "email"))

        assert 'unique_live("team", "email")' in finding.fix

    @pytest.mark.parametrize("mark", ["deleted_at", "deletion_id"])
    def test_mark_in_the_constraint(self, mark: str) -> None:
        """With a mark that is NULL in live rows it keeps none of them apart."""
        (finding,) = marked(Column("deletion_id", Uuid), UniqueConstraint("email", mark))

        assert finding.message == "Two live rows may have the same (email), because NULLs are not equal."

    @pytest.mark.parametrize(
        "part",
        [
            unique_live("email"),
            Index(None, "email"),
            Index(None, "email", unique=True, postgresql_where=text("deleted_at IS NULL")),
            UniqueConstraint("email", "deleted_at", postgresql_nulls_not_distinct=True),
            UniqueConstraint("email", "id"),
            Index("thing_email_idx", text("lower(email)"), unique=True),
        ],
    )
    def test_accepted(self, part: Any) -> None:
        """What leaves deleted rows out, is not unique, holds a key, or cannot be read."""
        assert not marked(part)

    def test_marker_of_live_rows(self) -> None:
        """A computed column beside it makes the difference, as on MariaDB."""
        live = Column("live", Integer, Computed("CASE WHEN deleted_at IS NULL THEN 1 END"))

        assert not marked(live, UniqueConstraint("email", "live"))

    def test_made_for_the_row(self) -> None:
        """A UUID that the row was given comes no second time; one from elsewhere may."""
        assert not marked(Column("public", Uuid, default=uuid.uuid4, unique=True))
        assert marked(Column("device", Uuid, unique=True))

    @pytest.mark.parametrize(
        "name", ["token", "token_hash", "client_secret", "invoice_number", "invite_code", "event_id", "api_key"]
    )
    def test_given_out(self, name: str) -> None:
        """What was given out, or is somebody else's id, must not come a second time."""
        assert not marked(Column(name, String(64), unique=True))

    @pytest.mark.parametrize("name", ["slug", "code", "number", "key", "phone_number", "country_code", "tokens_left"])
    def test_comes_again(self, name: str) -> None:
        """Other names may be taken again by a living row."""
        assert marked(Column(name, String(64), unique=True))

    def test_one_to_one(self) -> None:
        """A foreign key is not made for the row, whatever its default is."""
        assert marked(Column("user_id", Uuid, ForeignKey("user.id"), default=uuid.uuid4, unique=True))

    def test_target_of_a_key(self) -> None:
        """What a foreign key points to cannot be partial."""
        metadata = metadata_with_names()
        table(Column("deleted_at", DateTime), Column("code", String(9), unique=True), name="shop", metadata=metadata)
        assert found_in("soft-delete-unique", metadata)

        table(Column("shop_code", ForeignKey("shop.code")), metadata=metadata)

        assert not found_in("soft-delete-unique", metadata)

    @pytest.mark.parametrize("mark", [Column("deleted_at", DateTime, nullable=False), Column("removed_at", DateTime)])
    def test_no_soft_delete(self, mark: Any) -> None:
        """Without a deleted_at that may be NULL there is no soft delete."""
        assert not found("soft-delete-unique", Column("email", String(320), unique=True), mark)
