"""Soft delete: rows are marked as deleted instead of removed, and hidden unless requested."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Any, Final
from weakref import WeakSet

from sqlalchemy import ColumnElement, Select, Uuid, event, orm
from sqlalchemy.ext.asyncio import async_session
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import LoaderCriteriaOption, Mapped, Mapper, ORMExecuteState, with_loader_criteria
from sqlalchemy.orm.interfaces import UserDefinedOption
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.util import immutabledict
from sqlalchemy.util.concurrency import in_greenlet

from .. import _sqlalchemy as private
from ..errors import InvalidValue, NotSupported
from ..errors import shown as refused
from ..models._base import Base
from ..models._mixed_columns import mixed_column, with_columns
from ..models._relations import KeepsRows
from ..sessions._behaviour import Behaviour, register
from ..sessions._holding import AnyAsyncSession, AnySyncSession, session_in
from ..sessions._session import SyncSession
from ..types._exact import UTCDateTime
from ._deletion import Deletion, restore
from ._live import OF_BASES, hard_bases, is_live, is_live_written
from ._losses import refuse_orphan
from ._marks import MARKED
from ._named_beside import ReadingOption, conditions_beside, refuse_inner_writes
from ._own_class import name_inner_rows
from ._unmarked import MarkingOption, mark
from ._written_values import mark_rows, prepare_values, refuse_default

__all__ = ["SoftDeleteMixin", "include_deleted", "restore"]


@with_columns
class SoftDeleteMixin(KeepsRows):
    """``deleted_at`` and ``deletion_id``: a deleted row stays in its table and out of every answer.

    ``session.delete(obj)`` and ``Repository.delete`` mark the row, and every row that a relationship made with
    `children` would have deleted with it, with one ``deletion_id`` and one time, one statement for each level. ORM
    queries then omit them: entities, joins (in ON, so outer joins stay outer), EXISTS, subqueries, eager and lazy
    loads, ``update()`` and ``delete()`` statements. ``execution_options(include_deleted=True)``, on a statement or a
    whole session, shows them, including later loads from the objects found; ``with include_deleted(session)`` shows
    them in a block. You have to filter SQL text and Core statements on the table yourself.

    Use `unique_live` for unique values, and a real delete if the law requires that data is removed.
    """

    # The existing column: two classes of one table may have the mixin, and their base not.
    deleted_at: Mapped[datetime | None] = mixed_column(
        UTCDateTime(), default=None, index=True, sort_order=903, use_existing_column=True
    )
    deletion_id: Mapped[uuid.UUID | None] = mixed_column(
        Uuid(), default=None, index=True, sort_order=904, use_existing_column=True
    )

    @hybrid_property
    def is_deleted(self) -> bool:
        """Whether the row is deleted; in a query, the condition that it is."""
        return self.deleted_at is not None

    @is_deleted.inplace.expression
    @classmethod
    def _is_deleted(cls) -> ColumnElement[bool]:
        return cls.deleted_at.is_not(None)


@contextmanager
def include_deleted(session: AnyAsyncSession | AnySyncSession) -> Iterator[None]:
    """Show deleted rows to everything that the session does in the block.

    For what the option of a statement does not reach: ``get()`` of a loaded object, ``refresh``, a lazy load from an
    object that was found before. After the block the session hides them again, also from lazy loads of objects found
    inside; the objects and collections themselves stay as they were loaded. Blocks nest, and an exception ends them
    too. Nothing is sent to the database, so it is a plain ``with`` for both kinds of session.

    Raises:
        NotSupported: When the session is not based on `SyncSession`, and shows deleted rows anyway.
    """
    current = session_in(session)
    inner = getattr(current, "sync_session", current)
    if not isinstance(inner, SyncSession):
        raise NotSupported(
            "This session shows deleted rows at any time.",
            hint="Use a session of Database, or async_sessionmaker(engine, sync_session_class=SyncSession).",
        )
    before = inner.execution_options
    inner.execution_options = before.union({"include_deleted": _IN_BLOCK})
    try:
        yield
    finally:
        inner.execution_options = before


# Created once, because creating it for each statement would double the cost of preparing a statement.
_ONLY_LIVE = ReadingOption(SoftDeleteMixin, is_live, include_aliases=True)
_ONLY_LIVE_WRITTEN = MarkingOption(SoftDeleteMixin, is_live_written, include_aliases=True)
_CONDITIONS: Final = (is_live, is_live_written, *OF_BASES)


class _Shown(UserDefinedOption):
    """Marks objects that were loaded with ``include_deleted``, so that their lazy loads show deleted rows too."""

    propagate_to_loaders = True


class _SoftDelete(Behaviour):
    """Marks objects of a class with the mixin instead of deleting them, and hides marked objects."""

    def delete(self, session: SyncSession, obj: Any) -> bool:
        deletion = Deletion(session, obj)
        deletion.check()
        session.run_after_flush(deletion.run)
        return True

    def hides(
        self,
        session: SyncSession,
        obj: Any,
        *,
        passive: orm.PassiveFlag = orm.PassiveFlag.PASSIVE_OFF,
        lazy_loaded_from: orm.InstanceState[Any] | None = None,
        execution_options: Mapping[str, Any] = immutabledict(),
        **_: Any,
    ) -> bool:
        if execution_options.get("include_deleted", session.execution_options.get("include_deleted", False)):
            return False
        if lazy_loaded_from is not None and any(isinstance(one, _Shown) for one in lazy_loaded_from.load_options):
            return False
        return _is_deleted(session, obj, passive)


register(_SoftDelete(), of=SoftDeleteMixin)


def _is_deleted(session: orm.Session, found: Any, passive: orm.PassiveFlag) -> bool:
    may_ask = passive & orm.PassiveFlag.SQL_OK and passive & orm.PassiveFlag.RELATED_OBJECT_OK
    if "deleted_at" in vars(found) or not may_ask or (async_session(session) is not None and not in_greenlet()):
        return vars(found).get("deleted_at") is not None
    try:  # it has expired, or was left out by `load_only`
        return found.deleted_at is not None
    except orm.exc.ObjectDeletedError:
        return True


class _InBlock:
    """The value of ``include_deleted`` in a block: it shows deleted rows, but does not mark the loaded objects."""


_SHOWN: Final = _Shown()
_IN_BLOCK: Final = _InBlock()

_OPTIONS: Final = "sqlkeel.live_options"
"""The key in a metadata's ``info`` for the options of its classes, so that they are freed with the metadata."""


@event.listens_for(SoftDeleteMixin, "after_mapper_constructed", propagate=True)
def _note_registry(mapper: Mapper[Any], cls: type) -> None:
    MARKED.setdefault(mapper.registry, WeakSet()).add(mapper)
    # Created at the first statement: before that, a class may still get a base (AbstractConcreteBase) or subclasses.
    mapper.registry.metadata.info.pop(_OPTIONS, None)
    event.listen(mapper, "before_delete", refuse_orphan)
    name_inner_rows(mapper, SoftDeleteMixin)


@event.listens_for(Base, "mapper_configured", propagate=True)
@event.listens_for(SoftDeleteMixin, "mapper_configured", propagate=True)
def _mark_properties(mapper: Mapper[Any], cls: type) -> None:
    # An expression in a class, such as a column_property(), is compiled with the class and is not in the statement.
    for prop in mapper.column_attrs:
        for expression in prop.columns:
            mark(expression)
            refuse_default(mapper, expression)


def _options_of(registry: orm.registry, *, written: bool) -> tuple[LoaderCriteriaOption, ...]:
    """Return the options for a SELECT or, if *written*, for an UPDATE or DELETE: for the mixin and bases without it."""
    made = registry.metadata.info.setdefault(_OPTIONS, {})
    if registry not in made:
        # Not registry.mappers: it fails for a class that is mapped later, at configuration (AbstractConcreteBase).
        bases = hard_bases(list(MARKED[registry]))
        shown, changed = ([with_loader_criteria(base, fn, include_aliases=True) for base in bases] for fn in OF_BASES)
        made[registry] = (_ONLY_LIVE, *shown), (_ONLY_LIVE_WRITTEN, *changed)
    found: tuple[LoaderCriteriaOption, ...] = made[registry][written]
    return found


def _options_for(mapper: Mapper[Any] | None, *, written: bool) -> Iterable[LoaderCriteriaOption]:
    """Return the options for a statement on a mapper, or on none.

    They are kept with each object that is loaded, so that those on the bases of other registries do not belong there.
    """
    if mapper is not None and mapper.registry not in MARKED:
        return [_ONLY_LIVE_WRITTEN if written else _ONLY_LIVE]  # it may name classes of another registry
    registries = list(MARKED) if mapper is None else [mapper.registry]
    return dict.fromkeys(option for registry in registries for option in _options_of(registry, written=written))


@event.listens_for(SyncSession, "do_orm_execute", retval=True)
def _mark_selects(state: ORMExecuteState) -> Any:
    """Run a SELECT as an ORM statement if it names mapped classes and SQLAlchemy has not recognised that."""
    statement: Any = state.statement
    if not MARKED or (isinstance(statement, Select) and state.is_orm_statement):
        return None  # done when it is compiled
    if isinstance(statement, FunctionElement):
        statement = statement.select()  # as SQLAlchemy runs it
    is_marked = mark(statement)
    return state.invoke_statement(statement) if is_marked and not state.is_orm_statement else None


@event.listens_for(SyncSession, "do_orm_execute")
def _leave_out_deleted(state: ORMExecuteState) -> None:
    if state.is_column_load or not (state.is_select or state.is_update or state.is_delete or state.is_insert):
        return
    if not MARKED:
        return
    shown = state.execution_options.get("include_deleted", False)
    if not shown and state.is_relationship_load:
        shown = any(isinstance(option, _Shown) for option in state.user_defined_options)
    if not shown:
        written = state.is_update or state.is_delete
        _add_options(state, _options_for(state.bind_mapper, written=written))
        if not state.is_select:
            _leave_out_beside(state, written=written)
        return
    if state.is_relationship_load:
        _drop_condition(state)
    if shown is _IN_BLOCK:
        return
    if shown is not True:
        raise InvalidValue(f"The execution option include_deleted is True or False, not {refused(shown)}.")
    _add_options(state, [_SHOWN])


def _leave_out_beside(state: ORMExecuteState, *, written: bool) -> None:
    statement: Any = state.statement
    mark_rows(statement)
    refuse_inner_writes(statement)
    # SQLAlchemy's strategy core_only ignores loader options, but accepts conditions with a list of parameters.
    is_core = state.execution_options.get("dml_strategy") == "core_only"
    if written and (is_core or not state.is_executemany):
        state.statement = statement.where(*conditions_beside(statement, own_too=is_core))


@event.listens_for(SyncSession, "before_flush")
def _leave_out_of_values(session: SyncSession, *_: Any) -> None:
    if MARKED:
        shown = session.execution_options.get("include_deleted", False)
        prepare_values(session, tuple if shown else partial(_options_for, None, written=False))


def _add_options(state: ORMExecuteState, options: Iterable[Any]) -> None:
    statement: Any = state.statement
    given = private.options_of(statement)
    if missing := [option for option in options if option not in given]:
        state.statement = statement.options(*missing)


def _drop_condition(state: ORMExecuteState) -> None:
    """Take the condition from a lazy load: it came with the object, which was found when deleted rows were hidden."""
    statement: Any = state.statement
    options = private.options_of(statement)
    # Not by identity: an object that was pickled brings copies.
    kept = tuple(option for option in options if private.condition_behind(option) not in _CONDITIONS)
    if len(kept) < len(options):
        state.statement = private.with_options(statement, kept)
