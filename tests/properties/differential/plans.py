"""Which models are tried: each a random choice of a base, a key, types, names, mixins and features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Final, TypeVar

from tests.properties.differential.kinds import Kind, kinds_on

__all__ = ["Plan", "plans"]

T = TypeVar("T")

BASES: Final = ("ours", "ours", "ours", "plain", "plain", "dataclass", "decorated", "ours_dataclass")
MADE_KEYS: Final = ("identity", "identity", "dual", "uuid7", "auto", "counted_text")
INHERITANCE: Final = ("none",) * 7 + ("single_child", "single_base", "joined_child", "joined_base", "concrete")
MIXINS: Final[Sequence[tuple[str, ...]]] = (
    (),
    (),
    (),
    ("timestamp",),
    ("version",),
    ("soft",),
    ("timestamp", "version"),
    ("soft", "version", "timestamp"),
    ("soft", "renamed"),
    ("timestamp", "version", "renamed"),
    ("plain_version",),
    ("text_version",),
)
FEATURES: Final = (
    "default_scalar",
    "default_callable",
    "default_context",
    "default_of_default",
    "default_sql",
    "server_default",
    "onupdate_scalar",
    "onupdate_callable",
    "onupdate_context",
    "onupdate_sql",
    "computed",
    "column_property",
    "composite",
    "deferred",
    "owner",
    "required",
    "check",
    "second_unique",
)
NAMES: Final = ("same", "same", "same", "renamed", "keyed", "odd")
UNIQUES: Final = ("single", "single", "composite", "live", "single", "partitioned")


@dataclass(frozen=True)
class Plan:
    """What a model is to be made of."""

    number: int
    database: str
    base: str
    key: tuple[Kind, ...] | str
    code: Kind
    unique: str
    kinds: tuple[Kind, ...]
    names: tuple[str, ...]
    features: tuple[str, ...]
    mixins: tuple[str, ...]
    inheritance: str
    schema: str | None

    @property
    def labels(self) -> frozenset[str]:
        """What the model has, in words for the table of what was run."""
        key = self.key if isinstance(self.key, str) else "+".join(kind.name for kind in self.key)
        found = {f"base {self.base}", f"key {key}", f"unique {self.unique}", f"code {self.code.name}"}
        found |= {f"name {name}" for name in self.names}
        found |= {f"has {feature}" for feature in self.features}
        found |= {f"mixin {mixin}" for mixin in self.mixins}
        found |= {f"inheritance {self.inheritance}"} | ({f"schema {self.schema}"} if self.schema else set())
        return frozenset(found)


def plans(database: str, *, seed: str, count: int) -> Iterator[Plan]:
    """Yield *count* plans, the same for the same seed; every choice comes about equally often."""
    random = Random(f"{seed}/{database}")
    kinds = kinds_on(database)
    keys = [kind for kind in kinds if kind.key and (kind.many or len(kind.values) >= 3)]
    many = [kind for kind in keys if kind.many]
    singles: list[Any] = [(kind,) for kind in keys] + list(MADE_KEYS) * (len(keys) // 4)
    pairs = [(one, random.choice(keys)) for one in many] + [(random.choice(keys), one) for one in many]
    deck = {
        "base": _deck(random, BASES),
        "key": _deck(random, [*singles, *pairs[: len(singles) // 2]]),
        "code": _deck(random, many),
        "kind": _deck(random, kinds),
        "feature": _deck(random, FEATURES),
        "mixins": _deck(random, MIXINS),
        "inheritance": _deck(random, INHERITANCE),
        "name": _deck(random, NAMES),
        "unique": _deck(random, UNIQUES),
        "schema": _deck(random, (None,) * 7 + ("tenant", "other", "moved")),
    }
    for number in range(count):
        chosen = tuple(next(deck["kind"]) for _ in range(3))
        yield _fitting(
            Plan(
                number=number,
                database=database,
                base=next(deck["base"]),
                key=next(deck["key"]),
                code=next(deck["code"]),
                unique=next(deck["unique"]),
                kinds=chosen,
                names=tuple(next(deck["name"]) for _ in chosen),
                features=tuple(sorted({next(deck["feature"]) for _ in range(3)})),
                mixins=next(deck["mixins"]),
                inheritance=next(deck["inheritance"]),
                schema=next(deck["schema"]),
            )
        )


def _fitting(plan: Plan) -> Plan:
    """Leave out what SQLAlchemy itself does not combine."""
    changes: dict[str, Any] = {}
    features = list(plan.features)
    if "dataclass" in plan.base or plan.base == "decorated":
        features = [one for one in features if one not in {"column_property", "composite", "owner", "required"}]
        # SQLAlchemy 2.1 takes no attribute from a mixin that is not a dataclass itself.
        mixins = tuple(one for one in plan.mixins if one.endswith("_version"))
        key = "auto" if plan.key in {"identity", "dual", "uuid7"} else plan.key
        plan = replace(plan, inheritance="none", mixins=mixins, key=key)
    if plan.inheritance.startswith("joined"):
        changes["key"] = plan.key if isinstance(plan.key, str) or len(plan.key) == 1 else plan.key[:1]
    if plan.inheritance == "single_child":
        features = [one for one in features if one != "required"]
    mixins = changes.get("mixins", plan.mixins)
    if plan.schema in {"other", "tenant"} and plan.database != "postgresql":
        # From another schema, neither SQLite nor SQLAlchemy on MariaDB can name a table of the database's own.
        features = [one for one in features if one != "owner"]
    if plan.unique == "live" and "soft" not in mixins:
        changes["unique"] = "single"
    if plan.unique == "partitioned":
        key, schema = changes.get("key", plan.key), changes.get("schema", plan.schema)
        fits = plan.database == "postgresql" and not isinstance(key, str) and schema is None
        if not fits or changes.get("inheritance", plan.inheritance) != "none":
            changes["unique"] = "single"
        else:
            features = [one for one in features if one != "second_unique"]
    return Plan(**{**vars(plan), **changes, "features": tuple(features)})


def _deck(random: Random, cards: Sequence[T]) -> Iterator[T]:
    while True:
        shuffled = list(cards)
        random.shuffle(shuffled)
        yield from shuffled
