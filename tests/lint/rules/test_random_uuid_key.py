"""Tests of random-uuid-key: keys in the order of time."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from sqlalchemy import Column, Integer, Sequence, String, Uuid, func, text
from sqlalchemy.sql.functions import FunctionElement

from sqlkeel.models import uuid7
from sqlkeel.types import utc_now
from tests.lint.examples import found


class elsewhere(FunctionElement[uuid.UUID]):
    """A function that PostgreSQL does not have."""

    inherit_cache = True


def _new_key() -> uuid.UUID:
    return uuid.uuid4()


class TestRandomUuidKey:
    @pytest.mark.parametrize(
        "default",
        [
            {"default": uuid.uuid4},
            {"default": lambda: str(uuid.uuid4())},
            {"default": lambda context: uuid.uuid4()},
            {"default": _new_key},
            {"default": func.gen_random_uuid()},
            {"server_default": func.gen_random_uuid()},
            {"server_default": text("uuid_generate_v4()")},
            {"server_default": text("public.uuid_generate_v4()")},
            {"server_default": text("(lower(hex(randomblob(16))))")},
            {"server_default": func.UUID_v4()},
        ],
    )
    def test_refused(self, default: dict[str, Any]) -> None:
        """A primary key of version 4, whoever makes it and however it is written."""
        (finding,) = found("random-uuid-key", Column("key", Uuid, primary_key=True, **default))

        assert finding.where == "thing.key"

    @pytest.mark.parametrize(
        "default",
        [
            {},
            {"default": uuid7},
            {"default": lambda: uuid7()},
            {"default": "uuid4"},
            {"server_default": text("uuidv7()")},
            {"server_default": "gen_random_uuid()"},
            {"server_default": text("'uuidv4'")},
            {"server_default": elsewhere()},
            {"server_default": utc_now()},
            {"default": Sequence("numbers")},
        ],
    )
    def test_accepted(self, default: dict[str, Any]) -> None:
        """Version 7, no default at all, and what only looks like the function."""
        assert not found("random-uuid-key", Column("key", Uuid, primary_key=True, **default))

    def test_other_columns(self) -> None:
        """What is no primary key may be random, and a secret has to be."""
        columns = Column("secret", Uuid, default=uuid.uuid4), Column("token", String(36), default=_new_key)

        assert not found("random-uuid-key", *columns)

    def test_part_of_a_key(self) -> None:
        """Each column of a composite key counts."""
        columns = Column("tenant", Integer, primary_key=True), Column("key", Uuid, primary_key=True, default=uuid.uuid4)

        assert len(found("random-uuid-key", *columns)) == 1

    @pytest.mark.parametrize(
        ("kind", "fix"),
        [(Uuid(), "default=sqlkeel.models.uuid7"), (String(36), "default=lambda: str(sqlkeel.models.uuid7())")],
        ids=["uuid", "text"],
    )
    def test_the_fix_has_the_type_of_the_column(self, kind: Any, fix: str) -> None:
        """A text takes no UUID."""
        (finding,) = found("random-uuid-key", Column("key", kind, primary_key=True, default=_new_key))

        assert finding.fix == f"Use {fix}, or UUIDKeyMixin."
