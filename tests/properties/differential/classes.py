"""The classes of a model, in each form of base and inheritance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ForeignKey, Integer, MetaData, String
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    MappedAsDataclass,
    mapped_column,
    registry,
)

import sqlkeel
from tests.properties.differential.columns import key_names
from tests.properties.differential.drafts import Draft, names
from tests.properties.differential.plans import Plan
from tests.properties.differential.schemas import PARTITIONED

__all__ = ["Bases", "classes"]


class Bases:
    """The declarative bases of a pool, over one MetaData."""

    def __init__(self, metadata: MetaData, schemas: Mapping[str, str]) -> None:
        class Ours(sqlkeel.Base):
            pass

        Ours.metadata = metadata
        Ours.registry.metadata = metadata

        class Plain(DeclarativeBase):
            pass

        Plain.metadata = metadata
        Plain.registry.metadata = metadata

        class Data(MappedAsDataclass, DeclarativeBase, kw_only=True):
            pass

        Data.metadata = metadata
        Data.registry.metadata = metadata
        self.metadata = metadata
        self.schemas = schemas
        self.decorated = registry(metadata=metadata)
        self.ours, self.plain, self.data = Ours, Plain, Data

        class Owner(Ours):
            __tablename__ = "owner"
            id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
            name: Mapped[str] = mapped_column(String(20))

        class PlainOwner(Plain):
            __table__ = Owner.__table__

        self.owners = {"ours": Owner, "plain": PlainOwner}

    def schema(self, plan: Plan) -> str | None:
        """Return the schema that the tables of a plan are declared in."""
        return self.schemas.get(plan.schema or "")

    def moved(self, plan: Plan) -> dict[str | None, str | None]:
        """Return the ``schema_translate_map`` with which the model of a plan is used."""
        # The same keys in both: SQLAlchemy's cache of statements wants that on one engine.
        tenant, one = self.schemas["tenant"], self.schemas["tenant_a"]
        moved = {"moved": {None: one, tenant: one}, "tenant": {None: None, tenant: one}}
        return moved.get(plan.schema or "", {})

    def registries(self) -> list[Any]:
        """Return what knows the classes."""
        return [self.ours.registry, self.plain.registry, self.data.registry, self.decorated]


def classes(
    plan: Plan, name: str, draft: Draft, own: Draft, mixins: list[type[Any]], bases: Bases
) -> tuple[type[Any], tuple[type[Any], ...]]:
    table = f"t{plan.number:03}"
    arguments = draft.space.pop("__arguments__")
    options: dict[str, Any] = {"schema": bases.schema(plan)}
    if plan.unique == "partitioned":
        options = {"postgresql_partition_by": f'HASH ("{names("key0", key_names(plan)[0])[0]}")'}
        bases.metadata.info.setdefault(PARTITIONED, set()).add(table)
    settings = {"__tablename__": table, "__table_args__": (*arguments, options)}
    if plan.inheritance == "none":
        return _one(
            plan,
            name,
            {**draft.space, **own.space, **settings},
            {**draft.annotations, **own.annotations},
            mixins,
            bases,
        ), ()
    base: Any = bases.ours if plan.base == "ours" else bases.plain
    if plan.inheritance == "concrete":
        return _concrete(name, table, draft, own, mixins, base, settings)
    settings["__mapper_args__"] = {
        **draft.space.pop("__mapper_args__", {}),
        "polymorphic_on": "kind",
        "polymorphic_identity": "base",
    }
    family = {**draft.space, **settings, "kind": mapped_column(String(10), nullable=False)}
    if plan.inheritance.endswith("_base"):
        family |= own.space
    above = type(f"{name}Base", (*mixins, base), family)
    return _below(plan, name, table, draft, own, above)


def _below(
    plan: Plan, name: str, table: str, draft: Draft, own: Draft, above: Any
) -> tuple[type[Any], tuple[type[Any], ...]]:
    children = []
    for place in ("one", "two"):
        space: dict[str, Any] = {"__mapper_args__": {"polymorphic_identity": place}}
        if plan.inheritance.startswith("joined"):
            key = sa_inspect(above).primary_key[0]
            name_of_key = sa_inspect(above).get_property_by_column(key).key
            space["__tablename__"], space["__table_args__"] = f"{table}_{place}", {"schema": key.table.schema}
            space[name_of_key] = mapped_column(key.type, ForeignKey(key), primary_key=True, autoincrement=False)
        if place == "one":
            space |= own.space if plan.inheritance.endswith("_child") else {}
        elif plan.inheritance.startswith("joined"):
            space["extra"] = mapped_column(Integer, nullable=True)
        children.append(type(f"{name}{place.title()}", (above,), space))
    if plan.inheritance.endswith("_child"):
        return children[0], (above, children[1])
    return above, (children[0], children[1])


def _concrete(
    name: str, table: str, draft: Draft, own: Draft, mixins: list[type[Any]], base: Any, settings: dict[str, Any]
) -> tuple[type[Any], tuple[type[Any], ...]]:
    # As the key below is: an attribute that a concrete subclass does not have itself breaks in SQLAlchemy, and the
    # base's types are those by which it sorts the objects of a flush.
    types = {name: draft.space[name].column.type for name in ("key0", "key1") if name in draft.space} or {"id": Integer}
    space: dict[str, Any] = {"__tablename__": f"{table}_above"}
    space |= {key: mapped_column(kind, primary_key=True, autoincrement=False) for key, kind in types.items()}
    above = type(f"{name}Above", (base,), space)
    settings["__mapper_args__"] = {**draft.space.pop("__mapper_args__", {}), "concrete": True}
    below = type(name, (*mixins, above), {**draft.space, **own.space, **settings})
    return below, ()


def _one(
    plan: Plan, name: str, space: dict[str, Any], annotations: dict[str, Any], mixins: list[type[Any]], bases: Bases
) -> type[Any]:
    if plan.base == "decorated":
        cls: Any = type(name, tuple(mixins), {**space, "__annotations__": annotations})
        made: Any = bases.decorated.mapped_as_dataclass(cls, kw_only=True)
        return made
    if plan.base in {"dataclass", "ours_dataclass"}:
        space = {**space, "__annotations__": annotations}
        if plan.base == "dataclass":
            return _dataclass(name, (*mixins, bases.data), space)
        return _dataclass(name, (MappedAsDataclass, *mixins, bases.ours), space)
    return type(name, (*mixins, bases.ours if plan.base == "ours" else bases.plain), space)


def _dataclass(name: str, above: tuple[type[Any], ...], space: dict[str, Any]) -> type[Any]:
    import types

    return types.new_class(name, above, {"kw_only": True}, lambda made: made.update(space))
