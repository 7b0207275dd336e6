"""Models and tables to try a rule on."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import typing
import uuid
from types import ModuleType
from typing import Any, ClassVar

import sqlalchemy
from fastapi import FastAPI
from sqlalchemy import Column, Integer, MetaData, Table
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

import sqlkeel
from sqlkeel.lint import Finding, check
from sqlkeel.models import metadata_with_names, uuid7
from sqlkeel.types import utc_now

__all__ = ["example", "found", "found_in", "models", "table"]

_NAMES: dict[str, Any] = {
    **vars(sqlalchemy),
    **{name: getattr(sqlkeel, name) for name in sqlkeel.__all__},
    "Any": typing.Any,
    "Decimal": decimal.Decimal,
    "FastAPI": FastAPI,
    "JSONB": JSONB,
    "Mapped": Mapped,
    "UTC": datetime.UTC,
    "UUID": uuid.UUID,
    "dataclass": dataclasses.dataclass,
    "date": datetime.date,
    "datetime": datetime.datetime,
    "enum": enum,
    "mapped_column": mapped_column,
    "relationship": relationship,
    "utc_now": utc_now,
    "uuid4": uuid.uuid4,
    "uuid7": uuid7,
}


def example(source: str) -> ModuleType:
    """Run an example as a module that has imported all it needs, and return what it defines."""

    class Base(sqlkeel.Base):
        example: ClassVar[ModuleType]

    module, names = ModuleType("example"), {**_NAMES, "Base": Base}
    exec(compile(source, "example", "exec", dont_inherit=True), names)
    vars(module).update({name: value for name, value in names.items() if value is not _NAMES.get(name)})
    Base.example = module  # SQLAlchemy holds no class of a base, which the collector may take before it is looked at
    return module


def models(source: str) -> Any:
    """Run an example and return its base."""
    return example(source).Base


def table(*parts: Any, name: str = "thing", metadata: MetaData | None = None) -> Table:
    """Return a table with a primary key and what is given."""
    home = metadata if metadata is not None else metadata_with_names()
    return Table(name, home, Column("id", Integer, primary_key=True), *parts)


def found(code: str, *parts: Any, name: str = "thing", **options: Any) -> list[Finding]:
    """Return what one rule finds on a table."""
    made = table(*parts, name=name)
    return [one for one in check(made.metadata, **options) if one.code == code]


def found_in(code: str, target: Any) -> list[Finding]:
    """Return what one rule finds in a base, a metadata, or the text of models."""
    return [one for one in check(models(target) if isinstance(target, str) else target) if one.code == code]
