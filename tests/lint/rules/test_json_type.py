"""Tests of json-type: documents are jsonb."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import JSON, Column, Text
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.ext.mutable import MutableDict
from sqlalchemy.types import TypeDecorator

from tests.lint.examples import found


class Document(TypeDecorator[Any]):
    """A type of a project."""

    impl = JSON
    cache_ok = True


class TestJsonType:
    @pytest.mark.parametrize("kind", [JSON(), postgresql.JSON(), MutableDict.as_mutable(JSON())])
    def test_refused(self, kind: Any) -> None:
        """What PostgreSQL would store as json."""
        (finding,) = found("json-type", Column("payload", kind))

        assert finding.fix == 'Use JSON().with_variant(JSONB(), "postgresql").'

    def test_type_of_the_project(self) -> None:
        """It is mended where it is made, once, and not where a column uses it."""
        (finding,) = found("json-type", Column("payload", Document()))

        assert finding.fix == 'Let Document.impl be JSON().with_variant(JSONB(), "postgresql").'

    @pytest.mark.parametrize(
        "kind",
        [
            postgresql.JSONB(),
            JSON().with_variant(postgresql.JSONB(), "postgresql"),
            Text().with_variant(sqlite.JSON(), "sqlite"),
            Text(),
            mysql.TINYINT(1),
        ],
    )
    def test_accepted(self, kind: Any) -> None:
        """What is jsonb there, no JSON at all, or nothing that PostgreSQL has."""
        assert not found("json-type", Column("payload", kind))

    def test_type_of_the_project_in_two_columns(self) -> None:
        """It is one finding."""
        columns = Column("payload", Document()), Column("answer", Document())

        assert len(found("json-type", *columns)) == 1
