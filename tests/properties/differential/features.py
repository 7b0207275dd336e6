"""What a model may have besides: defaults, computed and deferred columns, constraints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Computed, ForeignKey, func
from sqlalchemy.orm import (
    column_property,
    composite,
)

from tests.properties.differential.drafts import (
    LONG,
    NUMBER,
    OWNERS,
    SHORT,
    SMALL,
    Draft,
    Point,
    next_number,
    next_text,
    uninitialised,
)

__all__ = ["ADD", "OF_THE_FAMILY"]


def _default_scalar(own: Draft, family: Draft) -> None:
    own.add("d_scalar", NUMBER, default=7, nullable=False)
    own.required.discard("d_scalar")


def _default_callable(own: Draft, family: Draft) -> None:
    own.add("d_callable", NUMBER, default=next_number)
    own.counted.add("d_callable")


def _default_context(own: Draft, family: Draft) -> None:
    number = family.keys["n"]

    def double(context: Any) -> Any:
        given = context.get_current_parameters()
        return f"of {given.get(number)}"

    own.add("d_context", SHORT, default=double, how="renamed")


def _default_of_default(own: Draft, family: Draft) -> None:
    own.add("d_first", NUMBER, default=5)
    own.add("d_second", NUMBER, default=_after_first)


def _after_first(context: Any) -> int:
    first = context.get_current_parameters().get("d_first")
    return first + 1 if isinstance(first, int) else -1


def _default_sql(own: Draft, family: Draft) -> None:
    own.add("d_sql", SHORT, default=func.lower("NAMELESS"))


def _server_default(own: Draft, family: Draft) -> None:
    own.add("d_server", SHORT, server_default="srv")


def _onupdate_scalar(own: Draft, family: Draft) -> None:
    own.add("u_scalar", NUMBER, onupdate=5)


def _onupdate_callable(own: Draft, family: Draft) -> None:
    own.add("u_callable", SHORT, onupdate=next_text, default="first")
    own.counted.add("u_callable")


def _onupdate_context(own: Draft, family: Draft) -> None:
    number = family.keys["n"]
    own.add("u_context", SHORT, onupdate=lambda context: f"to {context.get_current_parameters().get(number, 'same')}")


def _onupdate_sql(own: Draft, family: Draft) -> None:
    own.add("u_sql", SHORT, onupdate=func.lower("CHANGED"))


def _computed(own: Draft, family: Draft) -> None:
    own.add("base", NUMBER)
    own.add("twice", NUMBER, Computed("base * 2", persisted=True), given=False, how="renamed", **uninitialised(own))


def _column_property(own: Draft, family: Draft) -> None:
    number = own.add("width", NUMBER, how="renamed")
    own.space["wider"] = column_property(number.column + 1)


def _composite(own: Draft, family: Draft) -> None:
    own.add("x", NUMBER, how="renamed")
    own.add("y", NUMBER)
    own.space["point"] = composite(Point, "x", "y")


def _deferred(own: Draft, family: Draft) -> None:
    own.add("later", LONG, deferred=True)


def _owner(own: Draft, family: Draft) -> None:
    own.add("owner_id", OWNERS, ForeignKey("owner.id"))


def _required(own: Draft, family: Draft) -> None:
    own.add("needed", SHORT, nullable=False)


def _check(own: Draft, family: Draft) -> None:
    own.add("small", SMALL, sa.CheckConstraint("small <> 13"))


def _second_unique(own: Draft, family: Draft) -> None:
    own.add("other", SHORT, unique=True)


ADD: Final[dict[str, Callable[[Draft, Draft], None]]] = {
    "default_scalar": _default_scalar,
    "default_callable": _default_callable,
    "default_context": _default_context,
    "default_of_default": _default_of_default,
    "default_sql": _default_sql,
    "server_default": _server_default,
    "onupdate_scalar": _onupdate_scalar,
    "onupdate_callable": _onupdate_callable,
    "onupdate_context": _onupdate_context,
    "onupdate_sql": _onupdate_sql,
    "computed": _computed,
    "column_property": _column_property,
    "composite": _composite,
    "deferred": _deferred,
    "owner": _owner,
    "required": _required,
    "check": _check,
    "second_unique": _second_unique,
}
OF_THE_FAMILY: Final = frozenset({"default_scalar"})
