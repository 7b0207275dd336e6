"""The models of a plan, made at run time, and what the test has to know of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import MetaData
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.orm import (
    relationship,
)

from tests.properties.differential.classes import Bases, classes
from tests.properties.differential.columns import add_key, add_mixins, add_unique
from tests.properties.differential.drafts import NUMBER, Counter, Draft, Point
from tests.properties.differential.features import ADD, OF_THE_FAMILY
from tests.properties.differential.kinds import Kind
from tests.properties.differential.plans import Plan, plans
from tests.properties.differential.schemas import MOVED

__all__ = ["Counter", "Made", "Point", "Pool", "pool"]


@dataclass
class Made:
    """A model and what is known of it; names are those of attributes."""

    plan: Plan
    model: type[Any]
    fields: dict[str, Kind]
    """What a row may be given."""

    key: tuple[str, ...]
    made_key: bool
    """Whether the key is made by the database or by a default."""

    unique: tuple[str, ...]
    required: frozenset[str]
    masked: frozenset[str]
    """Attributes whose values no two runs have in common: times, UUIDs, counted keys."""

    counted: frozenset[str]
    """Attributes whose values are made once for each row."""

    version: str | None
    soft: bool
    siblings: tuple[type[Any], ...] = ()
    """Other classes of the hierarchy, rows of which are in the table too."""

    owner: type[Any] | None = None
    labels: frozenset[str] = frozenset()
    moved: dict[str | None, str | None] = field(default_factory=dict)
    """The ``schema_translate_map`` with which the model is used."""

    @property
    def name(self) -> str:
        """The name of the class."""
        return self.model.__name__

    @property
    def tables(self) -> list[Any]:
        """The tables in which a row is stored."""
        found = dict.fromkeys(sa_inspect(self.model).tables)
        for sibling in self.siblings:
            found |= dict.fromkeys(sa_inspect(sibling).tables)
        return list(found)

    @property
    def mutable(self) -> list[str]:
        """The attributes that may be changed in place."""
        return [name for name, kind in self.fields.items() if kind.mutable]


@dataclass
class Pool:
    """All models of one database, in one MetaData."""

    database: str
    metadata: MetaData
    made: list[Made]
    refused: list[str] = field(default_factory=list)
    """Plans of which no model could be made, with the reason."""

    registries: list[Any] = field(default_factory=list)

    def dispose(self) -> None:
        """Forget the models."""
        for one in self.registries:
            one.dispose(cascade=True)


def pool(database: str, *, seed: str, count: int, schemas: Mapping[str, str]) -> Pool:
    """Make the models of a database, whose further schemas have these names; a model that cannot be made is noted."""
    metadata = MetaData()
    found = Pool(database, metadata, [])
    bases = Bases(metadata, schemas)
    for plan in plans(database, seed=seed, count=count):
        try:
            found.made.append(_make(plan, bases))
        except Exception as error:  # noqa: BLE001 - whatever a user would see when the class is declared
            found.refused.append(f"{plan.number}: {sorted(plan.labels)}: {type(error).__name__}: {error}")
    found.registries = bases.registries()
    for base in found.registries:
        base.configure()
    return found


def _make(plan: Plan, bases: Bases) -> Made:
    draft = Draft(plan)
    mixins: list[type[Any]] = []
    key, made_key = add_key(draft, mixins)
    unique = add_unique(draft)
    version = add_mixins(draft, mixins)
    draft.add("n", NUMBER, how="renamed" if plan.number % 3 == 0 else "same")
    own = Draft(plan)
    for place, (kind, how) in enumerate(zip(plan.kinds, plan.names, strict=True)):
        own.add(f"c{place}", kind, how=how)
    below = plan.inheritance in {"single_child", "joined_child"}
    for feature in plan.features:
        ADD[feature](draft if below and feature in OF_THE_FAMILY else own, draft)
    name = f"{plan.database.title()}{plan.number:03}"
    if plan.schema == "moved":
        bases.metadata.info.setdefault(MOVED, {"owner"}).add(f"t{plan.number:03}")
    owner = bases.owners.get("ours" if plan.base == "ours" else "plain") if "owner" in plan.features else None
    if owner is not None:
        own.space["owner"] = relationship(owner, lazy="select")
    model, siblings = classes(plan, name, draft, own, mixins, bases)
    fields = {**draft.fields, **own.fields}
    labels = plan.labels | {f"type {kind.name}" for kind in plan.kinds}
    return Made(
        plan,
        model,
        fields,
        key,
        made_key,
        unique,
        frozenset(draft.required | own.required),
        frozenset(draft.masked | own.masked),
        frozenset(draft.counted | own.counted),
        version,
        "soft" in plan.mixins,
        siblings,
        owner,
        labels,
        bases.moved(plan),
    )
