"""Relationships loaded with the query: one argument that chooses the cheaper way for each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

from sqlalchemy import inspect as sa_inspect
from sqlalchemy.orm import (
    Mapper,
    QueryableAttribute,
    RelationshipProperty,
    joinedload,
    selectin_polymorphic,
    selectinload,
)
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.orm.collections import collection_adapter
from sqlalchemy.orm.interfaces import ORMOption

from .errors import UnknownField

__all__ = ["Load", "loader_options", "reloading"]

Load: TypeAlias = QueryableAttribute[Any] | Sequence[QueryableAttribute[Any]] | ORMOption
"""What to load with a query: a relationship, a path of them as a tuple, or an option of SQLAlchemy's."""


def loader_options(load: Iterable[Load], model: type[Any] | None = None) -> list[ORMOption]:
    """Choose how each relationship is loaded: collections by a second statement, single rows by a join.

    A join repeats the parent for each member of a collection and breaks LIMIT; a second statement for a single row is
    a round trip more. So ``load=[User.articles, (User.articles, Article.tags), Article.author]`` is one statement for
    each collection on the way and none for the rest. A relationship of a subclass, ``Dog.toys`` of animals, loads what
    the rows of that class have in tables of their own, too.

    Args:
        load: Relationships, paths, options.
        model: What the query selects; relationships of other models are refused then.

    Raises:
        UnknownField: When an element is not a relationship, or not one of the model.
    """
    if isinstance(load, (QueryableAttribute, ORMOption, str)) or not isinstance(load, Iterable):
        raise UnknownField(f"load={load} is not a list of relationships.", hint=f"load=[{load}]")
    start = None if model is None else sa_inspect(model)
    return [option for element in load for option in _options(element, start)]


@contextmanager
def reloading(obj: Any, load: Iterable[Load]) -> Iterator[None]:
    """Let the query in the block load again what *load* names of *obj*, and lose nothing that it does not bring.

    A query fills in what an object of the session has not loaded, and leaves alone what it has: a collection that was
    loaded once would never show what came since. Changes that wait to be written stay.
    """
    taken: list[tuple[Any, str, Any]] = []
    for element in load:
        if not isinstance(element, ORMOption):
            _take([obj], _path(element), taken)
    try:
        yield
    finally:
        for owner, key, value in taken:
            if key not in vars(owner):
                set_committed_value(owner, key, value)


def _take(owners: Iterable[Any], path: Sequence[Any], taken: list[tuple[Any, str, Any]]) -> None:
    if not path:
        return
    key, reached = path[0].key, []
    for owner in owners:
        state = sa_inspect(owner)
        if key not in state.mapper.relationships or key not in state.dict:
            continue
        value = state.dict[key]
        members = list(collection_adapter(value)) if hasattr(value, "_sa_adapter") else value
        reached += members if isinstance(members, list) else [members] if members is not None else []
        if key not in state.committed_state and state.persistent:
            taken.append((owner, key, value if members is value else members))
            del state.dict[key]
    _take(reached, path[1:], taken)


def _path(element: Load) -> tuple[Any, ...]:
    return tuple(element) if isinstance(element, Sequence) and not isinstance(element, str) else (element,)


def _options(element: Load, start: Mapper[Any] | None) -> list[ORMOption]:
    if isinstance(element, ORMOption):
        return [element]
    path = _path(element)
    if not path:
        raise UnknownField("An empty path is not a relationship.", hint="load=[(Model.relationship, Other.next)]")
    relations = [_relation(attribute) for attribute in path]
    return _steps(list(zip(path, relations, strict=True)), start)


def _steps(steps: list[tuple[Any, RelationshipProperty[Any]]], start: Mapper[Any] | None) -> list[Any]:
    """Return the options for a path that begins at *start*, each step below the one before."""
    if not steps:
        return []
    (attribute, relation), *rest = steps
    own: Mapper[Any] = sa_inspect(attribute.class_)
    aliased = attribute.parent.is_aliased_class
    if start is not None and not aliased and not start.isa(own) and not own.isa(start):
        name = start.class_.__name__
        raise UnknownField(
            f"{attribute} is not a relationship of {name}.", hint=f"load=[({name}.relationship, {attribute})]"
        )
    option: Any = selectinload(attribute) if relation.uselist else joinedload(attribute)
    below = _steps(rest, _target(attribute, relation))
    option = option.options(*below) if below else option
    is_of_subclass = start is not None and not aliased and own is not start and own.isa(start)
    return (
        [selectin_polymorphic(start.entity, [own.class_]), option] if is_of_subclass and start is not None else [option]
    )


def _target(attribute: Any, relation: RelationshipProperty[Any]) -> Mapper[Any] | None:
    # An of_type() says itself what it leads to.
    return relation.mapper if getattr(attribute, "_of_type", None) is None else None


def _relation(attribute: Any) -> RelationshipProperty[Any]:
    relation = getattr(attribute, "property", None)
    if not isinstance(relation, RelationshipProperty):
        raise UnknownField(f"{attribute} is not a relationship.", hint="load=[Model.relationship]")
    return relation
