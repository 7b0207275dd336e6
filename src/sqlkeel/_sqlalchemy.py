"""What we use of SQLAlchemy that it does not promise: private names stand here and nowhere else.

`tests/test_sqlalchemy.py` has a canary for each, which says what breaks. What is asked for in loops is an
`operator.attrgetter`, which costs next to nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final
from weakref import WeakKeyDictionary

from sqlalchemy import (
    Column,
    Connection,
    Dialect,
    ForeignKey,
    ForeignKeyConstraint,
    Pool,
    orm,
)
from sqlalchemy.engine.cursor import BufferedRowCursorFetchStrategy
from sqlalchemy.orm import loading
from sqlalchemy.orm.relationships import _RelationshipDeclared as DeclaredRelationship
from sqlalchemy.util import immutabledict

__all__ = [
    "ASYNCPG_SET_UPS",
    "OVERRIDDEN",
    "DeclaredRelationship",
    "bound_to_type",
    "check_version_by",
    "columns_read",
    "comparator_like",
    "compile_by",
    "condition_behind",
    "conditions_of_loader",
    "configure_again",
    "copy_of_join",
    "declare_in",
    "deleted_states",
    "extra_conditions_of",
    "fails_as_it_is",
    "forget_literals",
    "forget_memoized",
    "forget_plugin",
    "forget_pool_locks",
    "is_flushing",
    "is_ordered",
    "is_waiting",
    "joins_of",
    "key_part_of",
    "leave_out_of_statements",
    "loads_only",
    "makes_dataclass",
    "new_run",
    "new_states",
    "notes_of",
    "options_of",
    "part_of_transaction",
    "plugin_of",
    "raise_adapted",
    "read_back_defaults",
    "reads_join",
    "refreshed_state",
    "refuse_use",
    "renew_queue",
    "returned_by",
    "rows_ahead",
    "rows_of",
    "run_of",
    "selected_by",
    "set_flushing",
    "set_joins",
    "set_plugin",
    "set_selected",
    "set_sources",
    "set_where",
    "shards_of",
    "shared_notes_of",
    "sources_of",
    "steps_of",
    "subtype_of",
    "tables_in",
    "values_of",
    "watch_rows",
    "where_of",
    "with_notes",
    "with_options",
    "with_ordered_value",
    "with_where",
    "without_notes",
]

_Getter = Callable[[Any], Any]

OVERRIDDEN: Final[Mapping[str, str]] = {
    "_connection_cls": "a block of an engine's connection raises what its end raised, and not what the block did",
    "_autoflush": "queries that find nothing to write flush all the same",
    "_criterion_exists": "any() and has() over a relation of one table see deleted rows",
    "_flush_warning": "what another task links during a flush is lost",
    "_from_objects": "a SELECT as the value of an attribute has no FROM",
    "_identity_lookup": "get() and lazy loads return deleted rows that are held",
    "_resolve_where_criteria": "the SELECTs in a with_loader_criteria() of a lambda find deleted rows",
    "_regenerate_proxy_for_target": "a copy of an engine has not our connections",
    "_set_parent": "live_parent() on a table that comes later is not unique",
    "_set_remote_table": "live_parent() on a table that comes later is not unique",
    "_traverse_internals": "conditions on living rows are not copied, or are cached as one",
}
"""Methods and attributes that classes of ours override, where these are; and what breaks without the name."""


# Statements and what they are made of

where_of: Final[_Getter] = attrgetter("_where_criteria")
"""The conditions of a statement as they were given; the public ``whereclause`` has made one of them."""

options_of: Final[_Getter] = attrgetter("_with_options")
"""The options of a statement."""

returned_by: Final[_Getter] = attrgetter("_returning")
"""What an INSERT, UPDATE or DELETE returns; the public description of it fails on a class."""

selected_by: Final[_Getter] = attrgetter("_raw_columns")
"""What a SELECT selects: classes and tables as such, not their columns."""

sources_of: Final[_Getter] = attrgetter("_from_obj")
"""What ``select_from()`` was given; the public ``get_final_froms()`` compiles the statement."""

joins_of: Final[_Getter] = attrgetter("_setup_joins")
"""What each ``join()`` of a SELECT was given: right, ON, left, flags."""

tables_in: Final[_Getter] = attrgetter("_from_objects")
"""The tables that an expression reads."""

plugin_of: Final[_Getter] = attrgetter("_propagate_attrs")
"""What marks a statement as one of the ORM, and the class that it is about."""

is_ordered: Final[_Getter] = attrgetter("_maintain_values_ordering")
"""Whether an UPDATE has its values by ``ordered_values()``, which takes no more."""

notes_of: Final[_Getter] = attrgetter("_annotations")
"""What is noted at a part of a statement, as the class that it is of."""


def values_of(statement: Any) -> Mapping[Any, Any]:
    """Return the values of an INSERT or UPDATE; a DELETE has none."""
    return getattr(statement, "_values", None) or {}


def rows_of(statement: Any) -> Sequence[Any]:
    """Return the lists of rows of an ``insert().values([...])``."""
    return getattr(statement, "_multi_values", ())


def set_where(statement: Any, conditions: Iterable[Any]) -> None:
    """Replace the conditions of a statement that is nobody else's yet."""
    statement._where_criteria = tuple(conditions)


def with_where(statement: Any, conditions: Iterable[Any]) -> Any:
    """Return a statement with other conditions; ``where()`` only adds."""
    changed = statement._generate()
    set_where(changed, conditions)
    return changed


def with_options(statement: Any, options: Iterable[Any]) -> Any:
    """Return a statement with other options; ``options()`` only adds."""
    changed = statement._generate()
    changed._with_options = tuple(options)
    return changed


def with_ordered_value(statement: Any, column: Any, value: Any) -> Any:
    """Return an UPDATE with one more value behind those of ``ordered_values()``."""
    changed = statement._generate()
    changed._values = changed._values.union({column: value})
    return changed


def set_sources(select: Any, sources: Iterable[Any]) -> None:
    """Replace what a SELECT reads beside its columns."""
    select._from_obj = tuple(sources)


def set_joins(select: Any, joins: Iterable[Any]) -> None:
    """Replace the joins of a SELECT."""
    select._setup_joins = tuple(joins)


def set_selected(select: Any, columns: Iterable[Any]) -> None:
    """Replace what a SELECT selects."""
    select._raw_columns = list(columns)


def copy_of_join(join: Any) -> Any:
    """Return a copy of a join, whose parts are the same objects."""
    return join._clone()


def forget_memoized(element: Any) -> None:
    """Have what a changed join has computed of itself computed again."""
    element._reset_memoizations()


def set_plugin(select: Any, entity: Any) -> None:
    """Make a SELECT one of the ORM, about a class."""
    select._set_propagate_attrs({"compile_state_plugin": "orm", "plugin_subject": entity})


def forget_plugin(element: Any) -> None:
    """Make a subquery none of the ORM, so that it does not make a statement around it one."""
    element._propagate_attrs = immutabledict()


def with_notes(element: Any, notes: Mapping[str, Any]) -> Any:
    """Return a part of a statement with more notes."""
    return element._annotate(notes)


def without_notes(element: Any, names: Sequence[str] | None = None, *, clone: bool = False) -> Any:
    """Return a part of a statement without some of its notes, or all."""
    return element._deannotate(names, clone=clone)


# What is compiled

shared_notes_of: Final[_Getter] = attrgetter("_global_attributes")
"""What all SELECTs of a statement share while it is compiled."""

columns_read: Final[_Getter] = attrgetter("_result_columns")
"""What a compiled statement reads; the public ``exported_columns`` has nothing of eager joins."""


# Options and relationships


def extra_conditions_of(relationship: Any) -> Iterable[Any]:
    """Return what ``and_()`` of a relationship was given, and a part of an option made of it; of all else nothing."""
    return getattr(relationship, "_extra_criteria", ())


def subtype_of(relationship: Any) -> Any:
    """Return what ``of_type()`` of a relationship was given, or ``None``."""
    return getattr(relationship, "_of_type", None)


def condition_behind(option: Any) -> Any:
    """Return the function that a ``with_loader_criteria()`` was given, which stays the same where it was pickled."""
    return getattr(option, "_where_crit_orig", None)


def conditions_of_loader(option: Any, entity: Any) -> Any:
    """Return what the function of a ``with_loader_criteria()`` makes for a class."""
    return option._resolve_where_criteria(entity)


def comparator_like(kind: Any, made: Any, *, plain: bool = False) -> Any:
    """Return a comparator of a relationship as one of *kind*; as a *plain* one, without of_type() and and_()."""
    if plain:
        return kind(made.prop, made._parententity)
    return kind(made.prop, made._parententity, made._adapt_to_entity, made._of_type, made._extra_criteria)


def declare_in(base: Any, registry: orm.registry) -> None:
    """Have the models below a declarative base made in a registry: its own name for it is not enough."""
    base._sa_registry = registry


def steps_of(option: Any) -> Sequence[Any]:
    """Return the steps of a loading option, from class to class; it has no other way to say what it does."""
    return getattr(option, "context", ())


def reads_join(option: Any) -> bool:
    """Return whether an option is ``contains_eager()``, or leads to one."""
    return any("eager_from_alias" in step.local_opts for step in steps_of(option))


def configure_again(mapper: orm.Mapper[Any]) -> None:
    """Have a mapper that failed asked again at every later use."""
    mapper.configured = False


def check_version_by(mapper: orm.Mapper[Any], column: Column[Any]) -> None:
    """Have a flush check the version of each row; what ``__mapper_args__`` says once the mapper is made."""
    mapper.version_id_col = column


def read_back_defaults(mapper: orm.Mapper[Any]) -> None:
    """Have a flush read what the server has filled in; what ``__mapper_args__`` says once the mapper is made."""
    mapper.eager_defaults = True


def fails_as_it_is(error: Any) -> None:
    """Have SQLAlchemy forget that a mapper failed with *error*; it would raise one of its own at the next use."""
    error._configure_failed = error


def makes_dataclass(model: type[Any]) -> bool:
    """Return whether SQLAlchemy is to make a dataclass of a model."""
    return bool(getattr(model, "_sa_apply_dc_transforms", None))


# Sessions

new_states: Final[_Getter] = attrgetter("_new")
"""What a session, or a savepoint, has that is new; the public ``new`` makes a set of it."""

deleted_states: Final[_Getter] = attrgetter("_deleted")
"""What a session, or a savepoint, has that is deleted."""

is_flushing: Final[_Getter] = attrgetter("_flushing")
"""Whether a session flushes; SQLAlchemy's recipe for a `get_bind` that routes reads it."""

part_of_transaction: Final[_Getter] = attrgetter("_transaction")
"""The innermost part of a session's transaction, that of a flush among them."""


def set_flushing(session: orm.Session, value: bool) -> None:
    """Let a `get_bind` that routes answer as in a flush."""
    session._flushing = value


def shards_of(session: orm.Session) -> Mapping[Any, Any]:
    """Return the engines of a ``ShardedSession``; the public way asks the caller's function for no object."""
    shards: Mapping[Any, Any] = vars(session)["_ShardedSession__shards"]
    return shards


def new_run() -> int:
    """Return the number of a load, which is higher than that of each load before."""
    return loading._new_runid()


def run_of(state: orm.InstanceState[Any]) -> int:
    """Return the number of the load that has read an object last."""
    return state.runid or 0


def loads_only(state: orm.ORMExecuteState) -> Iterable[str]:
    """Return the names that a load of expired or deferred columns is for."""
    return getattr(state._orm_compile_options(), "_only_load_props", None) or ()


def refreshed_state(state: orm.ORMExecuteState) -> Any:
    """Return the object whose columns are loaded again."""
    options: Any = state.load_options
    return options._refresh_state


# Parts of tables


def bound_to_type() -> dict[str, Any]:
    """Return the options of a constraint that its column's type makes: copies of the table have it once."""
    return {"_type_bound": True}


def leave_out_of_statements() -> dict[str, Any]:
    """Return the options of a column that no statement of the ORM writes or reads."""
    return {"_omit_from_statements": True}


def key_part_of(kind: type[ForeignKey], target: str, constraint: ForeignKeyConstraint) -> ForeignKey:
    """Return a part of a foreign key, of a class of ours."""
    return kind(target, _constraint=constraint)


# Dialects, pools and connections

rows_ahead: Final[_Getter] = attrgetter("_rowbuffer")
"""The rows of a stream that have arrived and were not read yet."""


def raise_adapted(raw: Any, error: Exception) -> None:
    """Raise what the adapter of a driver makes of an error: there is no other way in."""
    raw._handle_exception(error)


def is_waiting(raw: Any) -> bool:
    """Return whether a task waits for the answer to a statement: the adapter of asyncmy keeps that to itself."""
    return bool(raw._execute_mutex.locked())


def compile_by(dialect: Dialect, compiler: type[Any]) -> None:
    """Have the statements of one dialect compiled by another class."""
    dialect.statement_compiler = compiler


def watch_rows(result: Any, watched: Callable[[BufferedRowCursorFetchStrategy], Any]) -> None:
    """Have the rows of a result, if it is a stream, read by what *watched* makes of what reads them."""
    raw: Any = getattr(result, "raw", result)
    strategy = getattr(raw, "cursor_strategy", None)
    if isinstance(strategy, BufferedRowCursorFetchStrategy):
        raw.cursor_strategy = watched(strategy)


ASYNCPG_SET_UPS: Final = ("setup_asyncpg_json_codec", "setup_asyncpg_jsonb_codec", "_disable_asyncpg_inet_codecs")
"""The methods of asyncpg's dialect that speak to a new connection; the last one runs on request."""


def refuse_use(connection: Connection, refuse: Callable[[], None]) -> None:
    """Have *refuse* called where SQLAlchemy would refuse what is asked of a transaction whose connection is gone."""
    connection._invalid_transaction = refuse  # type: ignore[method-assign,assignment]


def renew_queue(pool: Any) -> None:
    """Give a pool a queue of its own, with the connections of the former one."""
    former, pool._pool = pool._pool, pool._queue_class(pool._pool.maxsize, use_lifo=pool._pool.use_lifo)
    while not former.empty():
        pool._pool.put(former.get(False), False)


def forget_pool_locks(pool: Pool) -> None:
    """Forget the locks around the first connection, which are bound to an event loop.

    They are made anew where they are missing. After a first connection that failed they are still needed.
    """
    listeners: Any
    for listeners in (pool.dispatch.connect, pool.dispatch.first_connect):
        if hasattr(listeners, "_exec_once_mutex"):
            listeners._exec_once_mutex = None


def forget_literals(dialect: Dialect) -> None:
    """Forget what was made for a style of parameters: no public way empties it."""
    dialect._type_memos = WeakKeyDictionary()
