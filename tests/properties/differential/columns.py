"""The keys, unique columns and mixins of a model."""

from __future__ import annotations

from typing import Any, Final
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy import Integer, UniqueConstraint
from sqlalchemy.orm import (
    mapped_column,
)

from sqlkeel import (
    DualIDMixin,
    IntKeyMixin,
    SoftDeleteMixin,
    TimestampMixin,
    UTCDateTime,
    UUIDKeyMixin,
    VersionMixin,
    unique_live,
)
from sqlkeel.types import utc_now
from tests.properties.differential.drafts import FRESH, NUMBER, SHORT, Draft, next_text, uninitialised
from tests.properties.differential.kinds import UUIDS, Kind
from tests.properties.differential.plans import Plan

__all__ = ["add_key", "add_mixins", "add_unique", "key_names"]


def add_key(draft: Draft, mixins: list[type[Any]]) -> tuple[tuple[str, ...], bool]:
    recipe = draft.plan.key
    if recipe in {"identity", "dual", "uuid7"}:
        mixins.append({"identity": IntKeyMixin, "dual": DualIDMixin, "uuid7": UUIDKeyMixin}[str(recipe)])
        draft.masked.add("id")
        draft.fields["id"] = UUID_KEYS if recipe == "uuid7" else COUNTED_KEYS
        if recipe == "dual":
            draft.masked.add("public_id")
            draft.fields["public_id"] = UUID_KEYS
        draft.keys["id"] = "id"
        return ("id",), True
    if recipe == "auto":
        draft.add("id", COUNTED_KEYS, primary_key=True, **uninitialised(draft))
        draft.masked.add("id")
        return ("id",), True
    if recipe == "counted_text":
        draft.add("id", SHORT, primary_key=True, default=next_text)
        draft.counted.add("id")
        return ("id",), True
    assert not isinstance(recipe, str)
    hows = key_names(draft.plan)
    for place, kind in enumerate(recipe):
        counting: dict[str, Any] = {"autoincrement": False} if len(recipe) == 1 else {}
        draft.add(f"key{place}", kind, primary_key=True, how=hows[place], **counting)
    return tuple(f"key{place}" for place in range(len(recipe))), False


def key_names(plan: Plan) -> tuple[str, str]:
    if plan.inheritance.startswith("joined"):
        return "same", "same"
    return ("renamed", "same") if plan.number % 2 else ("same", "keyed")


def _counted(number: int) -> int:
    return 5001 + number if number < 10 else -number


# New keys that are given are negative: the counter of MariaDB goes on from the largest, and would meet them.
COUNTED_KEYS: Final = Kind(
    "counted", Integer, tuple(range(5001, 5020)), key=True, many=lambda n: 5001 + n if n < 10 else -n
)
UUID_KEYS: Final = Kind(
    "uuid key", sa.Uuid, UUIDS, key=True, many=lambda n: type(UUIDS[0])(int=UUIDS[0].int + 1000 + n)
)


def add_unique(draft: Draft) -> tuple[str, ...]:
    plan = draft.plan
    how = ("same", "renamed", "keyed", "odd")[plan.number % 4]
    draft.add("code", plan.code, nullable=False, how=how)
    column = draft.keys["code"]
    arguments: list[Any] = []
    unique: tuple[str, ...] = ("code",)
    if plan.unique == "composite":
        draft.add("part", SHORT, nullable=False)
        arguments.append(UniqueConstraint("part", column))
        unique = ("code", "part")
    elif plan.unique == "partitioned":
        # No unique constraint of a partitioned table goes without the key by which it is divided.
        unique = tuple(name for name in draft.space if name.startswith("key"))
    elif plan.unique == "live":
        deleted = "removed_on" if "renamed" in plan.mixins else "deleted_at"
        arguments.append(unique_live(column, deleted=deleted))
    else:
        arguments.append(UniqueConstraint(column))
    draft.space["__arguments__"] = arguments
    return unique


def add_mixins(draft: Draft, mixins: list[type[Any]]) -> str | None:
    plan = draft.plan
    renamed = "renamed" in plan.mixins
    version = None
    if "timestamp" in plan.mixins:
        mixins.append(TimestampMixin)
        draft.masked |= {"created_at", "updated_at"}
        if renamed:
            draft.space["updated_at"] = mapped_column(
                "changed_on", UTCDateTime(), server_default=utc_now(), onupdate=utc_now()
            )
    if "version" in plan.mixins:
        mixins.append(VersionMixin)
        version = "version"
        if renamed:
            draft.space["version"] = mapped_column("revision", Integer, server_default="1")
    if "soft" in plan.mixins:
        mixins.append(SoftDeleteMixin)
        draft.masked |= {"deleted_at", "deletion_id"}
        if renamed:
            draft.space["deleted_at"] = mapped_column("removed_on", UTCDateTime(), default=None, nullable=True)
    if "plain_version" in plan.mixins:
        made = draft.add("revision", NUMBER, nullable=False, given=False, **uninitialised(draft))
        draft.space["__mapper_args__"] = {"version_id_col": made}
        draft.required.discard("revision")
        version = "revision"
    if "text_version" in plan.mixins:
        made = draft.add("revision", FRESH, nullable=False, given=False, **uninitialised(draft))
        draft.space["__mapper_args__"] = {"version_id_col": made, "version_id_generator": lambda _: uuid4().hex}
        draft.required.discard("revision")
        draft.masked.add("revision")
        version = "revision"
    return version
