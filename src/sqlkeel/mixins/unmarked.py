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

from sqlalchemy import FromClause, Join, Select, SelectBase, true
from sqlalchemy.orm import LoaderCriteriaOption
from sqlalchemy.sql.util import surface_expressions

from ..errors import NotSupported
from .marks import MARKED, is_soft, soft_parts

__all__ = ["MarkingOption", "mark", "parts_of"]

_ENTITY: Final = "parententity"

_marking: Final = RLock()
"""Threads may compile the same statement at once, and each reads it behind its own turn. A class that is looked at may
have to be configured first, and its properties are marked then."""


class MarkingOption(LoaderCriteriaOption):
    """``with_loader_criteria`` that marks the SELECTs inside of a statement when that is compiled, and so once."""

    __slots__ = ()
    _traverse_internals = LoaderCriteriaOption._traverse_internals

    def process_compile_state(self, compile_state: Any) -> None:
        """Do what every such option does, and look at the statement that it stands on."""
        super().process_compile_state(compile_state)
        statement = getattr(compile_state, "select_statement", None)
        if statement is not None:  # an UPDATE or DELETE is marked before
            mark(statement)
            for option in statement._with_options:
                _mark_conditions(option)
                _refuse_expression(option)


def mark(statement: Any) -> bool:
    """Mark each SELECT in a statement that names a class of its own, and tell whether the statement itself is marked.

    The SELECTs are changed where they stand, as SQLAlchemy does it when they are made.
    """
    with _marking:
        for part in parts_of(statement):
            if isinstance(part, Select):
                _mark_one(part)
    return isinstance(statement, Select) and bool(statement._propagate_attrs)


def _mark_one(select: Any) -> None:
    if not select._propagate_attrs:
        entity = next(_entities(select.get_children()), None)
        if entity is None:
            return
        select._set_propagate_attrs({"compile_state_plugin": "orm", "plugin_subject": entity})
    _unfold_join(select)
    # What is compared decides which classes a condition is about, and not what stands in a function there.
    shallow = (one for part in select._where_criteria for one in surface_expressions(part))  # type: ignore[no-untyped-call]
    known = set(_entities((*select._raw_columns, *select._from_obj)))
    seen = {one._annotations.get(_ENTITY) for one in shallow} | known
    named = [one for one in dict.fromkeys(_entities(select._where_criteria)) if _has_mark(one)]
    hidden = [one for one in named if one not in seen]
    select._where_criteria += tuple(true()._annotate({_ENTITY: one}) for one in hidden)
    if not select._setup_joins:
        # The condition is on another table than the one that is named: without its join every row of that would count.
        apart = [one for one in named if one not in known and isinstance(one.selectable, Join)]
        select._from_obj += select.select_from(*(one.entity for one in apart))._from_obj[len(select._from_obj) :]


def _unfold_join(select: Any) -> None:
    """Make a join that was given to ``select_from()`` one of the SELECT's own, whose ON takes the conditions."""
    if select._setup_joins or len(select._from_obj) != 1:
        return
    steps, left = [], select._from_obj[0]
    while _is_made_by_hand(left):
        steps.append(left)
        left = left.left
    joined = [part._annotations.get(_ENTITY) for part in (left, *(step.right for step in steps))]
    if not steps or not any(one is not None and _has_mark(one) for one in joined):
        return
    unfolded: Any = Select().select_from(_target(left))
    for step in reversed(steps):
        unfolded = unfolded.join(_target(step.right), step.onclause, isouter=step.isouter, full=step.full)
    select._from_obj, select._setup_joins = unfolded._from_obj, unfolded._setup_joins


def _is_made_by_hand(table: Any) -> bool:
    """Tell whether it is a join, and not the tables of an inherited class."""
    entity = table._annotations.get(_ENTITY)  # of a join that SQLAlchemy's ORM has made, that on the left
    return isinstance(table, Join) and (entity is None or table != entity.selectable)


def _target(table: Any) -> Any:
    entity = table._annotations.get(_ENTITY)
    return table if entity is None else entity.entity


def _mark_conditions(option: Any) -> None:
    """Mark the SELECTs in what ``with_loader_criteria()`` and ``relation.and_()`` ask for beside the statement."""
    if isinstance(option, LoaderCriteriaOption) and not option.deferred_where_criteria:
        mark(option.where_criteria)
    for element in getattr(option, "context", ()):
        for condition in element._extra_criteria:
            mark(condition)


def _has_mark(entity: Any) -> bool:
    return is_soft(entity.mapper) or any(True for _ in soft_parts(entity.mapper))


def _refuse_expression(option: Any) -> None:
    """Refuse ``with_expression()`` of a SELECT over soft-deletable rows: SQLAlchemy takes the class out of it."""
    for element in getattr(option, "context", ()):
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
    inner = parts_of(*element._extra_criteria, without=lambda part: isinstance(part, FromClause) and part in outer)
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
    """Yield the classes that are named outside of the SELECTs in the parts of one."""
    for part in parts_of(*parts, without=lambda part: isinstance(part, SelectBase)):
        if (entity := part._annotations.get(_ENTITY)) is not None:
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
