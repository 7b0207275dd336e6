"""The attributes of a class that is about to be made, and what their defaults make."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Integer, String, Text
from sqlalchemy.orm import (
    Mapped,
    mapped_column,
)

from sqlkeel import UTCDateTime
from tests.properties.differential.kinds import MOMENTS, Kind
from tests.properties.differential.plans import Plan

__all__ = [
    "FRESH",
    "LONG",
    "MOMENT",
    "NUMBER",
    "OWNERS",
    "SHORT",
    "SMALL",
    "Counter",
    "Draft",
    "Point",
    "names",
    "next_number",
    "next_text",
    "uninitialised",
]


class Counter:
    """Counts the values that defaults make, so that two runs get the same."""

    PLANTED: Final = 1_000_001
    """Where those of the planted rows begin."""

    WRITTEN: Final = 1_000_051
    """Where those of the verbs begin: what they make is told from what was there."""

    numbers: Iterator[int] = itertools.count(PLANTED)

    @classmethod
    def begin(cls, first: int) -> None:
        """Go on from here."""
        cls.numbers = itertools.count(first)


def next_number() -> int:
    return next(Counter.numbers)


def next_text() -> str:
    return f"made-{next(Counter.numbers)}"


@dataclass
class Point:
    """A value of two columns."""

    x: int | None
    y: int | None

    def __composite_values__(self) -> tuple[int | None, int | None]:
        return self.x, self.y


NUMBER: Final = Kind("number", Integer, (0, 1, 2, 7, 13, -4), many=lambda n: n)
SMALL: Final = Kind("small number", Integer, (0, 1, 2), wrong=(13,))
SHORT: Final = Kind("short", lambda: String(30), ("a", "A", "b", "it's"), key=True, many=lambda n: f"p{n}")
LONG: Final = Kind("long", Text, ("long", "Long", ""))
MOMENT: Final = Kind("stamp", UTCDateTime, MOMENTS)
OWNERS: Final = Kind("owner", Integer, (1, 2, 3))
FRESH: Final = Kind("fresh", lambda: String(36), ("v1", "v2"))


class Draft:
    """The attributes of a class that is about to be made."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.dataclass = "dataclass" in plan.base or plan.base == "decorated"
        self.space: dict[str, Any] = {}
        self.annotations: dict[str, Any] = {}
        self.fields: dict[str, Kind] = {}
        self.required: set[str] = set()
        self.masked: set[str] = set()
        self.counted: set[str] = set()
        self.keys: dict[str, str] = {}

    def add(self, name: str, kind: Kind, *args: Any, how: str = "same", given: bool = True, **options: Any) -> Any:
        """Add a column; *how* says how its name differs from that of the attribute."""
        column, key = names(name, how)
        if key is not None:
            options["key"] = key
        self.keys[name] = key or column
        if not options.get("primary_key") and "nullable" not in options:
            options["nullable"] = True
        if self.dataclass:
            self.annotations[name] = Mapped[Any]
            default = options.pop("default", None)
            if callable(default) or isinstance(default, sa.ColumnElement):
                options |= {"insert_default": default, "init": False}
            elif default is not None or (not options.get("primary_key") and options.get("nullable")):
                options["default"] = default
        made = mapped_column(column, self._type(kind), *args, **options)
        self.space[name] = made
        if given:
            self.fields[name] = kind
        if options.get("nullable") is False:
            self.required.add(name)
        return made

    def _type(self, kind: Kind) -> Any:
        made = kind.make()
        named = getattr(made, "item_type", made)
        if self.plan.schema == "moved" and self.plan.database == "postgresql" and hasattr(named, "schema"):
            # One type for the tables of all tenants: SQLAlchemy does not translate the schema of a type in a cast.
            named.schema = "public"
        return made


def names(name: str, how: str) -> tuple[str, str | None]:
    if how == "renamed":
        return f"col_{name}", None
    if how == "keyed":
        return f"Name of {name}", f"k_{name}"
    if how == "odd":
        return f"50%_{name}", None
    return name, None


def uninitialised(draft: Draft) -> dict[str, Any]:
    return {"init": False} if draft.dataclass else {}
