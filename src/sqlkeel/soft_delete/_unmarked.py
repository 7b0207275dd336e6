"""SELECTs that name classes, and that SQLAlchemy takes for plain ones: they get the conditions on the classes, too.

SQLAlchemy marks a SELECT as one of the ORM by its columns and conditions, and does not look behind ``or_()``, a window
or a function there: ``select(func.count()).where(or_(Post.id > 1, ...))`` would count deleted rows.
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
"""Threads may compile the same statement at once, and each reads it behind its own turn. A class that is looked at may
have to be configured first, and its properties are marked then."""


class MarkingOption(LoaderCriteriaOption):
    """``with_loader_criteria`` that marks the SELECTs inside a statement when that is compiled, and so once."""

    __slots__ = ()
    _traverse_internals = LoaderCriteriaOption._traverse_internals

    def get_global_criteria(self, attributes: dict[Any, Any]) -> None:
        """Do what every such option does, and note that the statement hides deleted rows."""
        super().get_global_criteria(attributes)
        attributes[HIDING] = True
        for name, options in attributes.items():
            if isinstance(name, tuple) and name[0] == "additional_entity_criteria":
                options[:] = [_Marked(one) if _is_a_lambda(one) else one for one in options]

    def process_compile_state(self, compile_state: Any) -> None:
        """Do what every such option does, and look at the statement that it stands on."""
        super().process_compile_state(compile_state)
        statement = getattr(compile_state, "select_statement", None)
        if statement is not None:  # an UPDATE or DELETE is marked before
            mark(statement)
            for option in private.options_of(statement):
                _mark_conditions(option)
                _refuse_expression(option)


class _Marked:
    """Stands for a ``with_loader_criteria()`` of a lambda, whose SELECTs are there when it has been called."""

    def __init__(self, option: LoaderCriteriaOption) -> None:
        self._option = option

    def __getattr__(self, name: str) -> Any:
        return getattr(self._option, name)

    def _resolve_where_criteria(self, entity: Any) -> Any:
        condition = private.conditions_of_loader(self._option, entity)
        mark(condition)
        return condition


def _is_a_lambda(option: Any) -> bool:
    """Return whether it is one of the user's own."""
    if isinstance(option, MarkingOption | _Marked) or not option.deferred_where_criteria:
        return False
    return private.condition_behind(option) not in OF_BASES


def mark(statement: Any) -> bool:
    """Mark each SELECT in a statement that names a class of its own, and tell whether the statement itself is marked.

    The SELECTs are changed where they stand, as SQLAlchemy does it when they are made.
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

    SQLAlchemy writes none around the OR of a lambda, and a condition behind it would be one on the last alternative.
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
            for condition in private.extra_conditions_of(relation):  # of and_()
                mark(condition)


def _live_in_kept_tables(select: Any, known: set[Any]) -> None:
    """Put the condition on a class of which ``with_only_columns()`` has kept the table and forgotten the name."""
    subject = private.plugin_of(select).get("plugin_subject")
    if subject is not None and subject not in known and has_mark(subject.mapper):
        add_conditions(select, living_in_tables(subject, private.sources_of(select)))


def _live_in_conditions(select: Any, known: set[Any]) -> None:
    """Put conditions on classes that only WHERE names, where SQLAlchemy does not see them or misplaces its own."""
    if not private.where_of(select):
        return
    # What is compared decides which classes a condition is about, and not what stands in a function there.
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
    """Mark the SELECTs in what ``with_loader_criteria()`` and ``relation.and_()`` ask for beside the statement."""
    if isinstance(option, LoaderCriteriaOption) and not option.deferred_where_criteria:
        mark(option.where_criteria)
    for element in private.steps_of(option):
        for condition in private.extra_conditions_of(element):
            mark(condition)


def _refuse_expression(option: Any) -> None:
    """Refuse ``with_expression()`` of a SELECT over soft-deletable rows: SQLAlchemy takes the class out of it."""
    for element in private.steps_of(option):
        if not dict(element.strategy or ()).get("query_expression"):
            continue
        read = _tables_read(element)
        names = sorted(one.class_.__name__ for one in chain(*MARKED.values()) if read.intersection(one.tables))
        if names:
            raise NotSupported(
                f"with_expression() would find deleted rows of {', '.join(names)}: it drops which class is meant.",
                hint="Select it beside the object, select(Model, expression), or declare it as a column_property().",
            )


def _tables_read(element: Any) -> set[Any]:
    """Return what the SELECTs of a loading option read, and what that is made of, but for the outer tables."""
    outer = set(_joined(element.path[-2].selectable))  # what the SELECTs are correlated with
    inner = parts_of(
        *private.extra_conditions_of(element), without=lambda part: isinstance(part, FromClause) and part in outer
    )
    found: set[Any] = set()
    for select in inner:
        if isinstance(select, Select):
            froms = select.get_final_froms()
            read = {table for one in froms for table in _joined(one)}
            found |= read if len(froms) == 1 else read - outer  # one alone is correlated with nothing
    return set(parts_of(*found))


def _joined(table: Any) -> Iterator[Any]:
    """Yield the tables of a join, which those of an inherited class are, too."""
    if isinstance(table, Join):
        yield from _joined(table.left)
        yield from _joined(table.right)
    else:
        yield table


def _entities(parts: Iterable[Any]) -> Iterator[Any]:
    """Yield the classes that are named outside the SELECTs in the parts of one."""
    for part in parts_of(*parts, without=lambda part: isinstance(part, SelectBase)):
        if (entity := private.notes_of(part).get(ENTITY)) is not None:
            yield entity


def parts_of(*elements: Any, without: Callable[[Any], bool] = lambda part: False) -> Iterator[Any]:
    """Yield the elements and all that they are made of, each once, but for some and what these are made of.

    SQLAlchemy's ``iterate()`` goes down on every way that leads to a part, and their number doubles with each CTE that
    is read twice.
    """
    waiting = deque(elements)
    seen: dict[int, Any] = {}  # by identity, as == of a column makes a condition; kept, so that none has another's
    while waiting:
        part = waiting.popleft()
        if id(part) not in seen and not without(part):
            seen[id(part)] = part
            yield part
            waiting.extend(part.get_children())
