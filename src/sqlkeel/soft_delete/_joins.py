"""Put the conditions on live rows into the joins of a SELECT: into the ON clause, so that outer joins stay outer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from sqlalchemy import FromClause, Join, and_, inspect
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import PropComparator, join
from sqlalchemy.sql import operators
from sqlalchemy.sql.selectable import FromGrouping

from .. import _sqlalchemy as private
from ._living import ENTITY, Living, living
from ._marks import has_mark

__all__ = ["add_conditions", "live_in_joins"]


def live_in_joins(select: Any) -> None:
    """Move the conditions on joined classes to the correct clause, and add them if SQLAlchemy adds none.

    SQLAlchemy puts them into the ON clause of a plain join, and otherwise into WHERE, which loses the rows that an
    outer join should keep. It puts none on a class in a join passed to ``select_from()``, or on either side of a full
    join.
    """
    private.set_sources(select, [_changed(select, one) for one in private.sources_of(select)])
    steps: list[Any] = []
    for step in private.joins_of(select):
        steps.append(_step(select, step, steps))
    private.set_joins(select, steps)


def _changed(select: Any, table: Any) -> Any:
    changed, conditions = _with_conditions(table)
    if _is_made_by_hand(table):  # otherwise SQLAlchemy adds the conditions
        add_conditions(select, conditions)
    return changed


def add_conditions(select: Any, conditions: Iterable[Living]) -> None:
    """Add conditions to WHERE unless it already has them."""
    written = private.where_of(select)
    private.set_where(select, (*written, *_missing(conditions, written)))


def _missing(conditions: Iterable[Living], written: Iterable[Any]) -> Iterator[Living]:
    known = {part.about for one in written for part in _clauses(one) if isinstance(part, Living)}
    for one in conditions:
        if one.about not in known:
            known.add(one.about)
            yield one


def _clauses(condition: Any) -> Iterable[Any]:
    return condition.clauses if getattr(condition, "operator", None) is operators.and_ else [condition]


def _with_conditions(table: Any) -> tuple[Any, list[Living]]:
    """Return the joined table with conditions in each ON clause, and the conditions that have to go elsewhere."""
    if isinstance(table, FromGrouping):
        inner, rest = _with_conditions(table.element)
        return (table if inner is table.element else inner.self_group()), rest
    if not _is_made_by_hand(table):
        return table, _of(private.notes_of(table).get(ENTITY))
    (left, of_left), (right, of_right) = _with_conditions(table.left), _with_conditions(table.right)
    # In a full join, a deleted row is not matched and then filtered out, so that the row on the other side stays.
    asked, rest = ([*of_left, *of_right],) * 2 if table.full else (of_right, of_left)
    missing = list(_missing(asked, [table.onclause]))
    if not missing and left is table.left and right is table.right:
        return table, rest
    changed = private.copy_of_join(table)
    changed.left, changed.right = left, right
    changed.onclause = and_(*_clauses(table.onclause), *missing)
    private.forget_memoized(changed)
    return changed, rest


def _of(entity: Any) -> list[Living]:
    return [living(entity)] if entity is not None and has_mark(entity.mapper) else []


def _is_made_by_hand(table: Any) -> bool:
    """Return whether the user wrote the join; SQLAlchemy also joins the tables of an inherited class."""
    inner = table.element if isinstance(table, FromGrouping) else table
    entity = private.notes_of(inner).get(ENTITY)  # for a join by SQLAlchemy's ORM, the entity on the left
    return isinstance(inner, Join) and (entity is None or inner != entity.selectable)


def _step(select: Any, step: Any, before: list[Any]) -> Any:
    """Return a ``join()`` of the SELECT with the conditions that SQLAlchemy does not put into its ON clause."""
    right, onclause, left, flags = step
    is_table = isinstance(right, FromClause)
    changed, asked = _joined(right) if is_table and _is_made_by_hand(right) else (right, [])
    if flags["full"]:
        own = asked or _of(_target(right, onclause))
        add_conditions(select, own)
        asked = [*asked, *_left_over(select, step, before)]
    if not asked:
        return step if changed is right else (changed, onclause, left, flags)
    if onclause is None and is_table:
        onclause = _found(right, _on_the_left(select, step, before))
    if isinstance(right, PropComparator):
        return _with_more(right, asked), onclause, left, flags
    if isinstance(onclause, PropComparator):
        return right, _with_more(onclause, asked), left, flags
    if onclause is None:
        return changed, onclause, left, flags
    return changed, and_(*_clauses(onclause), *_missing(asked, [onclause])), left, flags


def _joined(table: Any) -> tuple[Any, list[Living]]:
    """Return a nested join as a plain one, because SQLAlchemy would consider only the left side of an ORM join."""
    changed, rest = _with_conditions(table)
    inner: Any = changed.element if isinstance(changed, FromGrouping) else changed
    if ENTITY in private.notes_of(inner):
        changed = Join(inner.left, inner.right, inner.onclause, inner.isouter, inner.full)
    return changed, rest


def _with_more(relation: Any, conditions: list[Living]) -> Any:
    missing = list(_missing(conditions, private.extra_conditions_of(relation)))
    return relation.and_(*missing) if missing else relation


def _target(right: Any, onclause: Any) -> Any:
    if isinstance(right, FromClause):
        return private.notes_of(right).get(ENTITY)
    relation = right if isinstance(right, PropComparator) else onclause
    return private.subtype_of(relation) or relation.property.entity


def _left_over(select: Any, step: Any, before: list[Any]) -> Iterator[Living]:
    """Yield the conditions that the rows on the left of a full join still need in WHERE."""
    for table in _on_the_left(select, step, ()):
        yield from _with_conditions(table)[1]
    for right, onclause, _, flags in before:
        if flags["full"]:
            yield from _of(_target(right, onclause))


def _on_the_left(select: Any, step: Any, before: Iterable[Any]) -> list[Any]:
    right, onclause, left, _ = step
    joined = [one for one, *_ in reversed(list(before)) if isinstance(one, FromClause)]
    if left is not None:
        return [*joined, left]
    if private.sources_of(select):
        return [*joined, *private.sources_of(select)]
    relation: Any = right if isinstance(right, PropComparator) else onclause
    if isinstance(relation, PropComparator):
        return [*joined, _tables_of(inspect(relation).parent)]
    known = dict.fromkeys(private.notes_of(part).get(ENTITY) for part in private.selected_by(select))
    return [*joined, *(_tables_of(one) for one in known if one not in (None, _target(right, onclause)))]


def _tables_of(entity: Any) -> Any:
    return private.with_notes(entity.selectable, {ENTITY: entity})


def _found(right: Any, candidates: list[Any]) -> Any:
    """Return the ON clause that SQLAlchemy finds by foreign keys; ``None`` if there is none."""
    for left in candidates:
        with suppress(ArgumentError):
            return join(left, right).onclause
    return None
