"""Make EXISTS over a relationship between rows of one table, such as ``Post.replies.any()``, filter the inner rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from weakref import WeakSet

from sqlalchemy import BooleanClauseList, ColumnClause, Exists, Select, SelectBase, and_, event, exists, inspect
from sqlalchemy.orm import Mapper, PropComparator, RelationshipProperty, aliased
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import Grouping
from sqlalchemy.sql.visitors import replacement_traverse

from .. import _sqlalchemy as private
from ._unmarked import parts_of

__all__ = ["name_inner_rows"]

_CLOSED: Final = ["no_replacement_traverse"]
"""The name of SQLAlchemy's annotation for parts of an EXISTS that must not be replaced."""


class _ByAlias(RelationshipProperty.Comparator[Any]):
    """Refers to the inner table of an EXISTS as an alias of the class.

    SQLAlchemy creates the alias, but annotates it as the class itself. A condition on the class, such as the one on
    live rows, then applies to the outer table, and the inner rows are not filtered. The overridden method is private;
    any(), has(), ``==``, ``!=``, a negated contains() and association proxies use it.
    """

    __slots__ = ()

    def _criterion_exists(self, criterion: Any = None, **values: Any) -> Exists:
        found = super()._criterion_exists(criterion, **values)
        inner: Any = found.element.element  # the SELECT inside the parentheses
        target, *between = private.sources_of(inner)
        if self.entity.is_aliased_class or target == self.entity.selectable:
            return found
        alias = aliased(self.entity, target)
        condition = _name_in_subqueries(inner.whereclause, inspect(alias))
        return exists(1).where(condition).select_from(alias, *between).correlate_except(target, *between)

    def of_type(self, class_: Any) -> PropComparator[Any]:
        return _kept(super().of_type(class_))

    def and_(self, *criteria: Any) -> PropComparator[Any]:
        return _kept(super().and_(*criteria))


def _name_in_subqueries(condition: Any, alias: Any) -> Any:
    """Fix subqueries in the condition too: SQLAlchemy replaces the class by the alias there as well."""
    if not any(isinstance(part, SelectBase) for part in parts_of(condition)):
        return condition
    table = private.without_notes(alias.selectable)
    named = {"parententity": alias, "parentmapper": alias.mapper, "entity_namespace": alias}

    def name(part: Any) -> Any:
        known = _is(part, table) or (isinstance(part, ColumnClause) and part.table is table)
        return private.with_notes(part, named) if known else None

    for part in parts_of(condition):
        if isinstance(part, Select):  # created for this EXISTS if it reads the table, so it may be changed in place
            private.set_sources(part, [_named(one, table, named) for one in private.sources_of(part)])
            private.set_selected(part, [_named(one, table, named) for one in private.selected_by(part)])
    joined = isinstance(condition, BooleanClauseList) and condition.operator is operators.and_
    return and_(*(_replaced(clause, name) for clause in (condition.clauses if joined else [condition])))


def _named(part: Any, table: Any, notes: Mapping[str, Any]) -> Any:
    return private.with_notes(part, notes) if _is(part, table) else part


def _is(part: Any, table: Any) -> bool:
    return isinstance(part, type(table)) and part == table


def _replaced(clause: Any, name: Any) -> Any:
    """Replace parts of a clause although SQLAlchemy has annotated it, or a part of it, as not replaceable."""
    if isinstance(clause, Grouping):
        return Grouping(_replaced(clause.element, name))
    opened = private.without_notes(clause, _CLOSED, clone=True)
    return private.with_notes(replacement_traverse(opened, {}, name), private.notes_of(clause))


def _kept(made: Any) -> PropComparator[Any]:
    """Return SQLAlchemy's comparator as one of ours; its methods always return its own class."""
    return private.comparator_like(_ByAlias, made)  # type: ignore[no-any-return]


_WATCHED: Final[WeakSet[type]] = WeakSet()


def name_inner_rows(mapper: Mapper[Any], mixin: type) -> None:
    """Make all relationships in the hierarchy of a class with the mixin refer to the inner rows.

    A relationship may be added later than its class, and may lead from a class without the mark to a subclass with it.
    """
    base = mapper.base_mapper
    watched = mixin if issubclass(base.class_, mixin) else base.class_
    if watched not in _WATCHED:
        _WATCHED.add(watched)
        event.listen(watched, "attribute_instrument", _replace_one, propagate=True)
        event.listen(watched, "instrument_class", _replace_when_made, propagate=True)
        for one in base.self_and_descendants:
            _replace_all(one, one.class_)


def _replace_when_made(mapper: Mapper[Any], cls: type) -> None:
    event.listen(mapper, "after_mapper_constructed", _replace_all)


def _replace_all(mapper: Mapper[Any], cls: type) -> None:
    for key, attribute in mapper.class_manager.items():
        _replace_one(cls, key, attribute)


def _replace_one(cls: type, key: str, attribute: Any) -> None:
    made = attribute.comparator
    if isinstance(made, RelationshipProperty.Comparator) and not isinstance(made, _ByAlias):
        kind = type(made)
        ours = _ByAlias if kind is RelationshipProperty.Comparator else type(kind.__name__, (_ByAlias, kind), {})
        attribute.comparator = private.comparator_like(ours, made, plain=True)
