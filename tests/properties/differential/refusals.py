"""What a fast path may refuse although one object at a time would do it: each with the reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tests.properties.differential.cases import Case, Step

__all__ = ["Refusal", "is_allowed"]

BULK: Final = frozenset(
    {"insert_many", "insert_many_returning", "update_many", "upsert_many", "upsert", "get_or_create", "delete_many"}
)
READING: Final = frozenset({"get_all", "page", "stream"})
UNORDERED: Final = frozenset(
    {
        "native_enum", "text_enum", "pg_enum", "float", "single", "json", "json_null", "plain_json", "mutable_dict",
        "mutable_list", "document", "jsonb", "jsonbs", "integers", "texts", "enums", "matrix", "uuids", "steps",
        "pickle", "hstore", "mutable_hstore", "pair", "multirange", "int_range", "day_range", "moment_range", "set",
        "inet", "cidr",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Refusal:
    """Which verbs may refuse which models, with which error."""

    verbs: frozenset[str]
    error: str
    when: Callable[[Case, Step], bool]
    why: str


def _has(feature: str) -> Callable[[Case, Step], bool]:
    return lambda case, step: feature in case.made.plan.features


def _is_wrong(case: Case, step: Step) -> bool:
    return step.wrong is not None


def _has_twins(case: Case, step: Step) -> bool:
    keys = [repr([row[name] for name in case.made.key]) for row in step.rows]
    return len({*keys}) < len(keys)


REFUSALS: Final = [
    Refusal(BULK, "NotSupported", lambda c, s: c.made.plan.inheritance == "joined_child", "rows of several tables"),
    Refusal(
        frozenset({"delete_many"}),
        "ForeignKeyViolation",
        lambda c, s: c.made.plan.inheritance == "joined_base",
        "the other part of a row of a subclass",
    ),
    Refusal(frozenset({"upsert_many"}), "NotSupported", _has("default_sql"), "a default made by SQL cannot be staged"),
    Refusal(
        frozenset({"update_many"}),
        "InvalidKey",
        lambda c, s: _has_twins(c, s) and any(c.made.version in row for row in s.rows),
        "the first of two rows moves the version of the second",
    ),
    *(
        Refusal(frozenset({"upsert_many", "upsert", "get_or_create"}), error, _is_wrong, "the row is one to insert")
        for error in (
            "NotNullViolation",
            "CheckViolation",
            "ValueRefused",
            "InvalidValue",
            "NaiveDatetime",
            "InexactNumber",
        )
    ),
    Refusal(
        READING,
        "NotSupported",
        lambda c, s: any(c.made.fields[name].name in UNORDERED for name in (*c.made.key, *(s.order or ())[:1])),
        "values that are not compared as they are sorted",
    ),
]


def is_allowed(case: Case, step: Step, error: str) -> bool:
    """Tell whether a step may be refused with an error of this class."""
    return any(step.verb in one.verbs and one.error == error and one.when(case, step) for one in REFUSALS)
