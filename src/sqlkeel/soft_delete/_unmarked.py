"""Add conditions on live rows to SELECTs that name classes but that SQLAlchemy does not treat as ORM statements.

SQLAlchemy recognises an ORM SELECT by its columns and conditions, but does not look inside ``or_()``, a window or a
function there: ``select(func.count()).where(or_(Post.id > 1, ...))`` would count deleted rows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from threading import RLock
from typing import Any, Final

from sqlalchemy import ColumnClause, Delete, FromClause, Join, LambdaElement, Select, SelectBase, Update, and_
from sqlalchemy.orm import LoaderCriteriaOption
from sqlalchemy.sql.elements import Grouping
from sqlalchemy.sql.util import surface_expressions

from .. import _sqlalchemy as private
from ..errors import NotSupported
from ._joins import add_conditions, live_in_joins
from ._live import OF_BASES
from ._living import ENTITY, HIDING, Living, living_in_tables, stands_apart, without_class
from ._marks import MARKED, has_mark

__all__ = ["MarkingOption", "mark", "parts_of"]

_marking: Final = RLock()
"""Threads may compile the same statement at the same time, but must not mark it together. It is reentrant, because
examining a class may configure it, which marks its properties."""


class MarkingOption(LoaderCriteriaOption):
    """A ``with_loader_criteria`` that marks the SELECTs inside a statement when it is compiled, and so only once."""

    __slots__ = ()
    _traverse_internals = LoaderCriteriaOption._traverse_internals

    def get_global_criteria(self, attributes: dict[Any, Any]) -> None:
        """Do the usual work of such an option, and note that the statement hides deleted rows."""
        super().get_global_criteria(attributes)
        attributes[HIDING] = True
        for name, options in attributes.items():
            if isinstance(name, tuple) and name[0] == "additional_entity_criteria":
                options[:] = [_Marked(one) if _is_a_lambda(one) else one for one in options]

    def process_compile_state(self, compile_state: Any) -> None:
        """Do the usual work of such an option, and mark the statement that it belongs to."""
        super().process_compile_state(compile_state)
        statement = getattr(compile_state, "select_statement", None)
        if statement is not None:  # an UPDATE or DELETE has been marked before
            mark(statement)
            for option in private.options_of(statement):
                _mark_conditions(option)
                _refuse_expression(option)


class _Marked:
    """Wraps a ``with_loader_criteria()`` with a lambda, whose SELECTs exist only after it has been called."""

    def __init__(self, option: LoaderCriteriaOption) -> None:
        self._option = option

    def __getattr__(self, name: str) -> Any:
        return getattr(self._option, name)

    def _resolve_where_criteria(self, entity: Any) -> Any:
        condition = private.conditions_of_loader(self._option, entity)
        mark(condition)
        return condition


def _is_a_lambda(option: Any) -> bool:
    """Return whether the option is the user's own, with a lambda."""
    if isinstance(option, MarkingOption | _Marked) or not option.deferred_where_criteria:
        return False
    return private.condition_behind(option) not in OF_BASES


def mark(statement: Any) -> bool:
    """Mark each SELECT in a statement that names a class, and return whether the statement itself is marked.

    The SELECTs are changed in place, as SQLAlchemy does when they are created.
    """
    with _marking:
        for part in parts_of(statement):
            if isinstance(part, Select | Update | Delete):
                _close_lambdas(part)
            if isinstance(part, Select):
                _mark_one(part)
    return isinstance(statement, Select) and bool(private.plugin_of(statement))


def _close_lambdas(statement: Any) -> None:
    """Put a WHERE with a lambda in parentheses.

    SQLAlchemy puts none around the OR of a lambda, so a condition after it would only apply to the last alternative.
    """
    written = private.where_of(statement)
    if any(isinstance(part, LambdaElement) for part in written):
        private.set_where(statement, [Grouping(and_(*written))])


def _mark_one(select: Any) -> None:
    if not private.plugin_of(select):
        entity = next(_entities(select.get_children()), None)
        if entity is None:
            return
        private.set_plugin(select, entity)
    known = set(_entities((*private.selected_by(select), *private.sources_of(select))))
    live_in_joins(select)
    _live_in_conditions(select, known)
    _live_in_kept_tables(select, known)
    for right, onclause, *_ in private.joins_of(select):
        for relation in (right, onclause):
            for condition in private.extra_conditions_of(relation):  # from and_()
                mark(condition)


def _live_in_kept_tables(select: Any, known: set[Any]) -> None:
    """Add the condition for a class whose table is kept by ``with_only_columns()`` without its annotation."""
    subject = private.plugin_of(select).get("plugin_subject")
    if subject is not None and subject not in known and has_mark(subject.mapper):
        add_conditions(select, living_in_tables(subject, private.sources_of(select)))


def _live_in_conditions(select: Any, known: set[Any]) -> None:
    """Add conditions on classes that only WHERE names, if SQLAlchemy does not see them or misplaces its own."""
    if not private.where_of(select):
        return
    # SQLAlchemy looks only at direct operands of a comparison, not inside functions.
    shallow = (one for part in private.where_of(select) for one in surface_expressions(part))  # type: ignore[no-untyped-call]
    seen = {private.notes_of(one).get(ENTITY) for one in shallow} | known
    named = [one for one in _tables_named(private.where_of(select)).items() if has_mark(one[0].mapper)]
    apart = {entity for entity, _ in named if entity not in known and stands_apart(entity)}
    if apart & seen:
        private.set_where(select, [without_class(part, of=apart) for part in private.where_of(select)])
    for entity, tables in named:
        if entity in apart or entity not in seen:
            add_conditions(select, living_in_tables(entity, tables))


def _tables_named(conditions: Iterable[Any]) -> dict[Any, list[Any]]:
    found: dict[Any, list[Any]] = {}
    for part in parts_of(*conditions, without=lambda part: isinstance(part, (SelectBase, Living))):
        if (entity := private.notes_of(part).get(ENTITY)) is not None:
            found.setdefault(entity, []).extend([part.table] if isinstance(part, ColumnClause) else [])
    return found


def _mark_conditions(option: Any) -> None:
    """Mark the SELECTs in the conditions of ``with_loader_criteria()`` and ``relation.and_()``."""
    if isinstance(option, LoaderCriteriaOption) and not option.deferred_where_criteria:
        mark(option.where_criteria)
    for element in private.steps_of(option):
        for condition in private.extra_conditions_of(element):
            mark(condition)


def _refuse_expression(option: Any) -> None:
    """Refuse ``with_expression()`` of a SELECT over soft-deletable rows, because SQLAlchemy removes the annotation."""
    for element in private.steps_of(option):
        if not dict(element.strategy or ()).get("query_expression"):
            continue
        read = _tables_read(element)
        names = sorted(one.class_.__name__ for one in chain(*MARKED.values()) if read.intersection(one.tables))
        if names:
            raise NotSupported(
                f"with_expression() would find deleted rows of {', '.join(names)}: it drops the class.",
                hint="Select it beside the object, select(Model, expression), or declare it as a column_property().",
            )


def _tables_read(element: Any) -> set[Any]:
    """Return the tables that the SELECTs of a loading option read, except the outer tables."""
    outer = set(_joined(element.path[-2].selectable))  # the tables that the SELECTs correlate with
    inner = parts_of(
        *private.extra_conditions_of(element), without=lambda part: isinstance(part, FromClause) and part in outer
    )
    found: set[Any] = set()
    for select in inner:
        if isinstance(select, Select):
            froms = select.get_final_froms()
            read = {table for one in froms for table in _joined(one)}
            found |= read if len(froms) == 1 else read - outer  # a single table does not correlate
    return set(parts_of(*found))


def _joined(table: Any) -> Iterator[Any]:
    """Yield the tables of a join, including those of an inherited class."""
    if isinstance(table, Join):
        yield from _joined(table.left)
        yield from _joined(table.right)
    else:
        yield table


def _entities(parts: Iterable[Any]) -> Iterator[Any]:
    """Yield the classes that are named in these parts outside nested SELECTs."""
    for part in parts_of(*parts, without=lambda part: isinstance(part, SelectBase)):
        if (entity := private.notes_of(part).get(ENTITY)) is not None:
            yield entity


def parts_of(*elements: Any, without: Callable[[Any], bool] = lambda part: False) -> Iterator[Any]:
    """Yield the elements and all their parts, each once, without the excluded ones and their parts.

    SQLAlchemy's ``iterate()`` follows every path to a part, and the number of paths doubles with each CTE that is used
    twice.
    """
    waiting = deque(elements)
    seen: dict[int, Any] = {}  # by identity, as == of a column is a condition; values keep ids from being reused
    while waiting:
        part = waiting.popleft()
        if id(part) not in seen and not without(part):
            seen[id(part)] = part
            yield part
            waiting.extend(part.get_children())
