"""Private names of SQLAlchemy that we use, all in this module.

`tests/test_sqlalchemy.py` has a canary test for each, which says what breaks without it. Names that are used in loops
are an `operator.attrgetter`, which costs next to nothing.
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
    "_connection_cls": "a block of an engine's connection raises the error of its end instead of the block's own error",
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
"""Methods and attributes that classes of ours override, if they exist, and what breaks without the name."""


# Statements and their parts

where_of: Final[_Getter] = attrgetter("_where_criteria")
"""The conditions of a statement as they were given; the public ``whereclause`` joins them into one."""

options_of: Final[_Getter] = attrgetter("_with_options")
"""The options of a statement."""

returned_by: Final[_Getter] = attrgetter("_returning")
"""What an INSERT, UPDATE or DELETE returns; the public description of it fails for a class."""

selected_by: Final[_Getter] = attrgetter("_raw_columns")
"""What a SELECT selects: the classes and tables themselves, not their columns."""

sources_of: Final[_Getter] = attrgetter("_from_obj")
"""The arguments of ``select_from()``; the public ``get_final_froms()`` compiles the statement."""

joins_of: Final[_Getter] = attrgetter("_setup_joins")
"""The arguments of each ``join()`` of a SELECT: right, ON, left, flags."""

tables_in: Final[_Getter] = attrgetter("_from_objects")
"""The tables that an expression reads."""

plugin_of: Final[_Getter] = attrgetter("_propagate_attrs")
"""The marker of an ORM statement, and the class that it is about."""

is_ordered: Final[_Getter] = attrgetter("_maintain_values_ordering")
"""Whether an UPDATE got its values from ``ordered_values()``, and so accepts no more."""

notes_of: Final[_Getter] = attrgetter("_annotations")
"""The annotations of a part of a statement, such as the class that it belongs to."""


def values_of(statement: Any) -> Mapping[Any, Any]:
    """Return the values of an INSERT or UPDATE; empty for a DELETE."""
    return getattr(statement, "_values", None) or {}


def rows_of(statement: Any) -> Sequence[Any]:
    """Return the lists of rows of an ``insert().values([...])``."""
    return getattr(statement, "_multi_values", ())


def set_where(statement: Any, conditions: Iterable[Any]) -> None:
    """Replace the conditions of a statement that no other code refers to yet."""
    statement._where_criteria = tuple(conditions)


def with_where(statement: Any, conditions: Iterable[Any]) -> Any:
    """Return a statement with other conditions; ``where()`` can only add some."""
    changed = statement._generate()
    set_where(changed, conditions)
    return changed


def with_options(statement: Any, options: Iterable[Any]) -> Any:
    """Return a statement with other options; ``options()`` can only add some."""
    changed = statement._generate()
    changed._with_options = tuple(options)
    return changed


def with_ordered_value(statement: Any, column: Any, value: Any) -> Any:
    """Return an UPDATE with one more value after those of ``ordered_values()``."""
    changed = statement._generate()
    changed._values = changed._values.union({column: value})
    return changed


def set_sources(select: Any, sources: Iterable[Any]) -> None:
    """Replace the explicit FROM elements of a SELECT."""
    select._from_obj = tuple(sources)


def set_joins(select: Any, joins: Iterable[Any]) -> None:
    """Replace the joins of a SELECT."""
    select._setup_joins = tuple(joins)


def set_selected(select: Any, columns: Iterable[Any]) -> None:
    """Replace what a SELECT selects."""
    select._raw_columns = list(columns)


def copy_of_join(join: Any) -> Any:
    """Return a shallow copy of a join."""
    return join._clone()


def forget_memoized(element: Any) -> None:
    """Discard cached properties of a join that was changed."""
    element._reset_memoizations()


def set_plugin(select: Any, entity: Any) -> None:
    """Make a SELECT an ORM statement about a class."""
    select._set_propagate_attrs({"compile_state_plugin": "orm", "plugin_subject": entity})


def forget_plugin(element: Any) -> None:
    """Remove the ORM marker from a subquery, so that it does not mark the outer statement."""
    element._propagate_attrs = immutabledict()


def with_notes(element: Any, notes: Mapping[str, Any]) -> Any:
    """Return a part of a statement with additional annotations."""
    return element._annotate(notes)


def without_notes(element: Any, names: Sequence[str] | None = None, *, clone: bool = False) -> Any:
    """Return a part of a statement without some or all of its annotations."""
    return element._deannotate(names, clone=clone)


# Compilation

shared_notes_of: Final[_Getter] = attrgetter("_global_attributes")
"""Attributes that all SELECTs of a statement share while it is compiled."""

columns_read: Final[_Getter] = attrgetter("_result_columns")
"""What a compiled statement reads; the public ``exported_columns`` omits eager joins."""


# Options and relationships


def extra_conditions_of(relationship: Any) -> Iterable[Any]:
    """Return the ``and_()`` conditions of a relationship, or of an option made from one; empty for anything else."""
    return getattr(relationship, "_extra_criteria", ())


def subtype_of(relationship: Any) -> Any:
    """Return the ``of_type()`` argument of a relationship; ``None`` if there is none."""
    return getattr(relationship, "_of_type", None)


def condition_behind(option: Any) -> Any:
    """Return the function of a ``with_loader_criteria()``, which stays the same after pickling."""
    return getattr(option, "_where_crit_orig", None)


def conditions_of_loader(option: Any, entity: Any) -> Any:
    """Return the condition that the function of a ``with_loader_criteria()`` creates for a class."""
    return option._resolve_where_criteria(entity)


def comparator_like(kind: Any, made: Any, *, plain: bool = False) -> Any:
    """Convert a relationship's comparator to *kind*; a *plain* one has no of_type() and and_()."""
    if plain:
        return kind(made.prop, made._parententity)
    return kind(made.prop, made._parententity, made._adapt_to_entity, made._of_type, made._extra_criteria)


def declare_in(base: Any, registry: orm.registry) -> None:
    """Make a declarative base use a registry for its subclasses; setting its public attribute is not enough."""
    base._sa_registry = registry


def steps_of(option: Any) -> Sequence[Any]:
    """Return the steps of a loading option, from class to class; there is no public way to inspect one."""
    return getattr(option, "context", ())


def reads_join(option: Any) -> bool:
    """Return whether an option is ``contains_eager()``, or leads to one."""
    return any("eager_from_alias" in step.local_opts for step in steps_of(option))


def configure_again(mapper: orm.Mapper[Any]) -> None:
    """Make a mapper that failed to configure try again at every later use."""
    mapper.configured = False


def check_version_by(mapper: orm.Mapper[Any], column: Column[Any]) -> None:
    """Make a flush check the version of each row, as ``__mapper_args__`` does before the mapper exists."""
    mapper.version_id_col = column


def read_back_defaults(mapper: orm.Mapper[Any]) -> None:
    """Make a flush fetch server defaults, as ``__mapper_args__`` does before the mapper exists."""
    mapper.eager_defaults = True


def fails_as_it_is(error: Any) -> None:
    """Make SQLAlchemy forget that a mapper failed with *error*; it would raise another error at the next use."""
    error._configure_failed = error


def makes_dataclass(model: type[Any]) -> bool:
    """Return whether SQLAlchemy turns the model into a dataclass."""
    return bool(getattr(model, "_sa_apply_dc_transforms", None))


# Sessions

new_states: Final[_Getter] = attrgetter("_new")
"""The new objects of a session or savepoint; the public ``new`` builds a set."""

deleted_states: Final[_Getter] = attrgetter("_deleted")
"""The deleted objects of a session or savepoint."""

is_flushing: Final[_Getter] = attrgetter("_flushing")
"""Whether a session is flushing; SQLAlchemy's recipe for a routing `get_bind` reads it."""

part_of_transaction: Final[_Getter] = attrgetter("_transaction")
"""The innermost part of a session's transaction, including that of a flush."""


def set_flushing(session: orm.Session, value: bool) -> None:
    """Make a routing `get_bind` answer as during a flush."""
    session._flushing = value


def shards_of(session: orm.Session) -> Mapping[Any, Any]:
    """Return the engines of a ``ShardedSession``; the public way would call the user's function without an object."""
    shards: Mapping[Any, Any] = vars(session)["_ShardedSession__shards"]
    return shards


def new_run() -> int:
    """Return the id of a load, which is higher than that of each earlier load."""
    return loading._new_runid()


def run_of(state: orm.InstanceState[Any]) -> int:
    """Return the id of the load that last read an object."""
    return state.runid or 0


def loads_only(state: orm.ORMExecuteState) -> Iterable[str]:
    """Return the attribute names that a load of expired or deferred columns requests."""
    return getattr(state._orm_compile_options(), "_only_load_props", None) or ()


def refreshed_state(state: orm.ORMExecuteState) -> Any:
    """Return the state of the object whose columns are reloaded."""
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
"""The buffered rows of a stream that were not read yet."""


def raise_adapted(raw: Any, error: Exception) -> None:
    """Raise the error that a driver's adapter makes of another; the adapter has no public method for that."""
    raw._handle_exception(error)


def is_waiting(raw: Any) -> bool:
    """Return whether a task waits for the answer to a statement; only asyncmy's adapter knows."""
    return bool(raw._execute_mutex.locked())


def compile_by(dialect: Dialect, compiler: type[Any]) -> None:
    """Make one dialect compile statements with another class."""
    dialect.statement_compiler = compiler


def watch_rows(result: Any, watched: Callable[[BufferedRowCursorFetchStrategy], Any]) -> None:
    """If a result is a stream, replace its fetch strategy by what *watched* makes of it."""
    raw: Any = getattr(result, "raw", result)
    strategy = getattr(raw, "cursor_strategy", None)
    if isinstance(strategy, BufferedRowCursorFetchStrategy):
        raw.cursor_strategy = watched(strategy)


ASYNCPG_SET_UPS: Final = ("setup_asyncpg_json_codec", "setup_asyncpg_jsonb_codec", "_disable_asyncpg_inet_codecs")
"""The methods of asyncpg's dialect that use a new connection; the last one runs on request."""


def refuse_use(connection: Connection, refuse: Callable[[], None]) -> None:
    """Call *refuse* when a transaction whose connection is gone is used, instead of SQLAlchemy's error."""
    connection._invalid_transaction = refuse  # type: ignore[method-assign,assignment]


def renew_queue(pool: Any) -> None:
    """Give a pool a new queue with the connections of the old one."""
    former, pool._pool = pool._pool, pool._queue_class(pool._pool.maxsize, use_lifo=pool._pool.use_lifo)
    while not former.empty():
        pool._pool.put(former.get(False), False)


def forget_pool_locks(pool: Pool) -> None:
    """Remove the locks around the first connection, which are bound to an event loop.

    SQLAlchemy recreates them if they are missing. They are still needed after a first connection that failed.
    """
    listeners: Any
    for listeners in (pool.dispatch.connect, pool.dispatch.first_connect):
        if hasattr(listeners, "_exec_once_mutex"):
            listeners._exec_once_mutex = None


def forget_literals(dialect: Dialect) -> None:
    """Forget types that were cached for a parameter style; there is no public way to do that."""
    dialect._type_memos = WeakKeyDictionary()
