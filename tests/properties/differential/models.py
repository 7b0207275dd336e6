"""The models of a plan, made at run time, and what the test has to know of each."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy import Computed, ForeignKey, Integer, MetaData, String, Text, UniqueConstraint, event, func
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    MappedAsDataclass,
    column_property,
    composite,
    mapped_column,
    registry,
    relationship,
)

import sqlkeel
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
from tests.properties.differential.kinds import MOMENTS, UUIDS, Kind
from tests.properties.differential.plans import Plan, plans

__all__ = ["Counter", "Made", "Point", "Pool", "pool"]


class Counter:
    """Counts the values that defaults make, so that two runs get the same."""

    numbers: Iterator[int] = itertools.count(1_000_001)

    @classmethod
    def reset(cls) -> None:
        """Begin again."""
        cls.numbers = itertools.count(1_000_001)


def _next_number() -> int:
    return next(Counter.numbers)


def _next_text() -> str:
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


class _Draft:
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
        column, key = _names(name, how)
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
        made = mapped_column(column, kind.make(), *args, **options)
        self.space[name] = made
        if given:
            self.fields[name] = kind
        if options.get("nullable") is False:
            self.required.add(name)
        return made


def _names(name: str, how: str) -> tuple[str, str | None]:
    if how == "renamed":
        return f"col_{name}", None
    if how == "keyed":
        return f"Name of {name}", f"k_{name}"
    if how == "odd":
        return f"50%_{name}", None
    return name, None


def pool(database: str, *, seed: str, count: int) -> Pool:
    """Make the models of a database; one that cannot be made is noted."""
    metadata = MetaData()
    found = Pool(database, metadata, [])
    bases = _Bases(metadata)
    for plan in plans(database, seed=seed, count=count):
        try:
            found.made.append(_make(plan, bases))
        except Exception as error:  # noqa: BLE001 - whatever a user would see when the class is declared
            found.refused.append(f"{plan.number}: {sorted(plan.labels)}: {type(error).__name__}: {error}")
    if database == "postgresql":
        _prepare_postgresql(metadata)
    found.registries = bases.registries()
    for base in found.registries:
        base.configure()
    return found


class _Bases:
    """The declarative bases of a pool, over one MetaData."""

    def __init__(self, metadata: MetaData) -> None:
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
        self.decorated = registry(metadata=metadata)
        self.ours, self.plain, self.data = Ours, Plain, Data

        class Owner(Ours):
            __tablename__ = "owner"
            id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
            name: Mapped[str] = mapped_column(String(20))

        class PlainOwner(Plain):
            __table__ = Owner.__table__

        self.owners = {"ours": Owner, "plain": PlainOwner}

    def registries(self) -> list[Any]:
        return [self.ours.registry, self.plain.registry, self.data.registry, self.decorated]


def _make(plan: Plan, bases: _Bases) -> Made:
    draft = _Draft(plan)
    mixins: list[type[Any]] = []
    key, made_key = _add_key(draft, mixins)
    unique = _add_unique(draft)
    version = _add_mixins(draft, mixins)
    draft.add("n", NUMBER, how="renamed" if plan.number % 3 == 0 else "same")
    own = _Draft(plan)
    for place, (kind, how) in enumerate(zip(plan.kinds, plan.names, strict=True)):
        own.add(f"c{place}", kind, how=how)
    below = plan.inheritance in {"single_child", "joined_child"}
    for feature in plan.features:
        ADD[feature](draft if below and feature in OF_THE_FAMILY else own, draft)
    name = f"{plan.database.title()}{plan.number:03}"
    if plan.schema == "moved":
        bases.metadata.info.setdefault("moved", set()).add(f"t{plan.number:03}")
    owner = bases.owners.get("ours" if plan.base == "ours" else "plain") if "owner" in plan.features else None
    if owner is not None:
        own.space["owner"] = relationship(owner, lazy="select")
    model, siblings = _classes(plan, name, draft, own, mixins, bases)
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
    )


def _add_key(draft: _Draft, mixins: list[type[Any]]) -> tuple[tuple[str, ...], bool]:
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
        draft.add("id", COUNTED_KEYS, primary_key=True, **({"init": False} if draft.dataclass else {}))
        draft.masked.add("id")
        return ("id",), True
    if recipe == "counted_text":
        draft.add("id", SHORT, primary_key=True, default=_next_text)
        draft.counted.add("id")
        return ("id",), True
    assert not isinstance(recipe, str)
    hows = _key_names(draft.plan)
    for place, kind in enumerate(recipe):
        counting = {"autoincrement": False} if len(recipe) == 1 else {}
        draft.add(f"key{place}", kind, primary_key=True, how=hows[place], **counting)
    return tuple(f"key{place}" for place in range(len(recipe))), False


def _key_names(plan: Plan) -> tuple[str, str]:
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


def _add_unique(draft: _Draft) -> tuple[str, ...]:
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


def _add_mixins(draft: _Draft, mixins: list[type[Any]]) -> str | None:
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
        made = draft.add("revision", NUMBER, nullable=False, given=False, **_uninitialised(draft))
        draft.space["__mapper_args__"] = {"version_id_col": made}
        draft.required.discard("revision")
        version = "revision"
    if "text_version" in plan.mixins:
        made = draft.add("revision", FRESH, nullable=False, given=False, **_uninitialised(draft))
        draft.space["__mapper_args__"] = {"version_id_col": made, "version_id_generator": lambda _: uuid4().hex}
        draft.required.discard("revision")
        draft.masked.add("revision")
        version = "revision"
    return version


def _uninitialised(draft: _Draft) -> dict[str, Any]:
    return {"init": False} if draft.dataclass else {}


def _default_scalar(own: _Draft, family: _Draft) -> None:
    own.add("d_scalar", NUMBER, default=7, nullable=False)
    own.required.discard("d_scalar")


def _default_callable(own: _Draft, family: _Draft) -> None:
    own.add("d_callable", NUMBER, default=_next_number)
    own.counted.add("d_callable")


def _default_context(own: _Draft, family: _Draft) -> None:
    number = family.keys["n"]

    def double(context: Any) -> Any:
        given = context.get_current_parameters()
        return f"of {given.get(number)}"

    own.add("d_context", SHORT, default=double, how="renamed")


def _default_of_default(own: _Draft, family: _Draft) -> None:
    own.add("d_first", NUMBER, default=5)
    own.add("d_second", NUMBER, default=_after_first)


def _after_first(context: Any) -> int:
    first = context.get_current_parameters().get("d_first")
    return first + 1 if isinstance(first, int) else -1


def _default_sql(own: _Draft, family: _Draft) -> None:
    own.add("d_sql", SHORT, default=func.lower("NAMELESS"))


def _server_default(own: _Draft, family: _Draft) -> None:
    own.add("d_server", SHORT, server_default="srv")


def _onupdate_scalar(own: _Draft, family: _Draft) -> None:
    own.add("u_scalar", NUMBER, onupdate=5)


def _onupdate_callable(own: _Draft, family: _Draft) -> None:
    own.add("u_callable", SHORT, onupdate=_next_text, default="first")
    own.counted.add("u_callable")


def _onupdate_context(own: _Draft, family: _Draft) -> None:
    number = family.keys["n"]
    own.add("u_context", SHORT, onupdate=lambda context: f"to {context.get_current_parameters().get(number, 'same')}")


def _onupdate_sql(own: _Draft, family: _Draft) -> None:
    own.add("u_sql", SHORT, onupdate=func.lower("CHANGED"))


def _computed(own: _Draft, family: _Draft) -> None:
    own.add("base", NUMBER)
    own.add("twice", NUMBER, Computed("base * 2", persisted=True), given=False, how="renamed", **_uninitialised(own))


def _column_property(own: _Draft, family: _Draft) -> None:
    number = own.add("width", NUMBER, how="renamed")
    own.space["wider"] = column_property(number.column + 1)


def _composite(own: _Draft, family: _Draft) -> None:
    own.add("x", NUMBER, how="renamed")
    own.add("y", NUMBER)
    own.space["point"] = composite(Point, "x", "y")


def _deferred(own: _Draft, family: _Draft) -> None:
    own.add("later", LONG, deferred=True)


def _owner(own: _Draft, family: _Draft) -> None:
    own.add("owner_id", OWNERS, ForeignKey("owner.id"))


def _required(own: _Draft, family: _Draft) -> None:
    own.add("needed", SHORT, nullable=False)


def _check(own: _Draft, family: _Draft) -> None:
    own.add("small", SMALL, sa.CheckConstraint("small <> 13"))


def _second_unique(own: _Draft, family: _Draft) -> None:
    own.add("other", SHORT, unique=True)


ADD: Final[dict[str, Callable[[_Draft, _Draft], None]]] = {
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


def _classes(
    plan: Plan, name: str, draft: _Draft, own: _Draft, mixins: list[type[Any]], bases: _Bases
) -> tuple[type[Any], tuple[type[Any], ...]]:
    table = f"t{plan.number:03}"
    arguments = draft.space.pop("__arguments__")
    options = {"schema": plan.schema} if plan.schema in {"tenant", "other"} else {}
    if plan.unique == "partitioned":
        options = {"postgresql_partition_by": f'HASH ("{_names("key0", _key_names(plan)[0])[0]}")'}
        bases.metadata.info.setdefault("partitioned", []).append(table)
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
    plan: Plan, name: str, table: str, draft: _Draft, own: _Draft, above: Any
) -> tuple[type[Any], tuple[type[Any], ...]]:
    children = []
    for place in ("one", "two"):
        space: dict[str, Any] = {"__mapper_args__": {"polymorphic_identity": place}}
        if plan.inheritance.startswith("joined"):
            key = sa_inspect(above).primary_key[0]
            name_of_key = sa_inspect(above).get_property_by_column(key).key
            space["__tablename__"] = f"{table}_{place}"
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
    name: str, table: str, draft: _Draft, own: _Draft, mixins: list[type[Any]], base: Any, settings: dict[str, Any]
) -> tuple[type[Any], tuple[type[Any], ...]]:
    # Named as the key below is: an attribute that a concrete subclass does not have itself breaks in SQLAlchemy.
    keys = [name for name in ("key0", "key1") if name in draft.space] or ["id"]
    space = {"__tablename__": f"{table}_above"}
    space |= {key: mapped_column(Integer, primary_key=True, autoincrement=False) for key in keys}
    above = type(f"{name}Above", (base,), space)
    settings["__mapper_args__"] = {"concrete": True}
    below = type(name, (*mixins, above), {**draft.space, **own.space, **settings})
    return below, ()


def _one(
    plan: Plan, name: str, space: dict[str, Any], annotations: dict[str, Any], mixins: list[type[Any]], bases: _Bases
) -> type[Any]:
    if plan.base == "decorated":
        cls = type(name, tuple(mixins), {**space, "__annotations__": annotations})
        return bases.decorated.mapped_as_dataclass(cls, kw_only=True)
    if plan.base in {"dataclass", "ours_dataclass"}:
        space = {**space, "__annotations__": annotations}
        if plan.base == "dataclass":
            return _dataclass(name, (*mixins, bases.data), space)
        return _dataclass(name, (MappedAsDataclass, *mixins, bases.ours), space)
    return type(name, (*mixins, bases.ours if plan.base == "ours" else bases.plain), space)


def _dataclass(name: str, above: tuple[type[Any], ...], space: dict[str, Any]) -> type[Any]:
    import types

    return types.new_class(name, above, {"kw_only": True}, lambda made: made.update(space))


def _prepare_postgresql(metadata: MetaData) -> None:
    statements = [
        "CREATE SCHEMA IF NOT EXISTS other",
        "CREATE SCHEMA IF NOT EXISTS tenant",
        "CREATE SCHEMA IF NOT EXISTS tenant_a",
        "CREATE EXTENSION IF NOT EXISTS citext SCHEMA public",
        "CREATE EXTENSION IF NOT EXISTS hstore SCHEMA public",
        "DROP TYPE IF EXISTS differential_pair",
        "CREATE TYPE differential_pair AS (n int, t text)",
    ]

    @event.listens_for(metadata, "before_create")
    def prepare(target: Any, connection: Any, **kw: Any) -> None:
        for statement in statements:
            connection.exec_driver_sql(statement)

    @event.listens_for(metadata, "after_create")
    def translate(target: Any, connection: Any, **kw: Any) -> None:
        # The same tables once more, where those of a tenant are.
        for name in metadata.tables.keys() & metadata.info.get("partitioned", ()):
            connection.exec_driver_sql(
                f"CREATE TABLE {name}_all PARTITION OF {name} FOR VALUES WITH (MODULUS 1, REMAINDER 0)"
            )
        for table in metadata.sorted_tables:
            if table.schema == "tenant" or table.name.partition("_")[0] in metadata.info.get("moved", ()):
                moved = {table.schema: "tenant_a"}
                table.create(connection.execution_options(schema_translate_map=moved), checkfirst=True)
        connection.execution_options(schema_translate_map={})
