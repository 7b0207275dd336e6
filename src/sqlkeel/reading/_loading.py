"""Relationships loaded with the query: one argument that chooses the cheaper way for each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeAlias

from sqlalchemy import Select, orm
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.exc import ArgumentError, InvalidRequestError, SQLAlchemyError
from sqlalchemy.orm import (
    ColumnProperty,
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

from .. import _sqlalchemy as private
from ..errors import KeelError, UnknownField, UsageError
from ..sessions._new_rows import called_empty

__all__ = ["Load", "listed", "loader_options", "refuse_options", "reloading"]

_ONE_WAY: Final = "Name each relationship and column once: the relationship itself, or one SQLAlchemy option."
_ON_THE_WAY: Final = "Begin at the model: load=[selectinload(Model.relationship).selectinload(Other.next)]."

Load: TypeAlias = QueryableAttribute[Any] | Sequence[QueryableAttribute[Any]] | ORMOption
"""What to load with a query: a relationship, a path of relationships as a tuple, or a SQLAlchemy option."""


_Taken: TypeAlias = tuple[Any, str, Any]
"""An object, the name of a relationship, and the value that it had loaded."""


class _Tree(dict[int, tuple[Any, "_Tree"]]):
    """The steps of all paths, each with the steps that follow it."""


def loader_options(load: Iterable[Load], model: type[Any] | None = None) -> list[ORMOption]:
    """Choose how each relationship is loaded: collections by a second statement, single rows by a join.

    A join repeats the parent for each member of a collection and breaks LIMIT; a second statement for a single row
    costs another round trip. So ``load=[User.articles, (User.articles, Article.tags), Article.author]`` sends one
    statement for each collection on the way and none for the rest. A relationship of a subclass, such as ``Dog.toys``
    in a query for animals, also loads the columns in the subclass's own table.

    Args:
        load: Relationships, paths, options.
        model: The class that the query selects; relationships of other classes are refused.

    Raises:
        UnknownField: When an element is not a relationship, or not one of the model.
    """
    start = None if model is None else sa_inspect(model)
    given, tree = listed(load), _Tree({})
    for element in given:
        if not isinstance(element, ORMOption):
            _plant(tree, element)
    return [*_branches(tree, start), *(element for element in given if isinstance(element, ORMOption))]


def listed(load: Iterable[Load]) -> list[Load]:
    """Return the relationships to load as a list.

    Raises:
        UnknownField: When the argument is a single one: ``load=User.articles`` lacks the brackets.
    """
    if isinstance(load, str):
        raise UnknownField(f"load={load!r} is not a list of relationships.", hint=f"load=[Model.{load}]")
    if isinstance(load, (QueryableAttribute, ORMOption)) or not isinstance(load, Iterable):
        raise UnknownField(f"load={load} is not a list of relationships.", hint=f"load=[{load}]")
    return list(load)


def refuse_options(statement: Select[Any], error: Exception) -> None:
    """Raise our own error if SQLAlchemy failed with *error* because of the options of *statement*.

    SQLAlchemy looks at options only when it compiles the statement, so its error would not name our argument.

    Raises:
        UsageError: When two options load the same relationship in different ways.
        UnknownField: When an option belongs to another model.
    """
    if isinstance(error, KeelError) or not isinstance(error, (InvalidRequestError, ArgumentError)):
        return
    try:
        statement.compile()
    except InvalidRequestError as conflict:
        raise UsageError(f"load= has two ways to load the same: {conflict}.", hint=_ONE_WAY) from error
    except ArgumentError as stranger:
        raise UnknownField(f"load= has an option of another model. {stranger}", hint=_ON_THE_WAY) from error
    except SQLAlchemyError:
        return


@contextmanager
def reloading(session: orm.Session, load: Iterable[Load], *, held: Any = None) -> Iterator[None]:
    """Let the query in the block reload relationships that may be stale, and keep the values that it does not load.

    A query fills only attributes that an object of the session has not loaded yet. *held* is the object that the caller
    asked for by its key: all its loaded relationships in *load* may be stale. On other objects, a relationship may be
    stale if `Repository.create` assumed that it is empty. Pending changes are kept.
    """
    taken: dict[tuple[int, str], _Taken] = {}
    for path in (_path(element) for element in load if not isinstance(element, ORMOption)):
        doubted = [attribute.key for attribute in path]
        _find([held] if held is not None else [], doubted, taken)
        for key in doubted:
            _find(called_empty(session, key), [key], taken)
    # Expired only after all are collected, because two paths may begin with the same step.
    for owner, key, _ in taken.values():
        session.expire(owner, [key])
    try:
        yield
    finally:
        for owner, key, value in taken.values():
            if key not in vars(owner):
                set_committed_value(owner, key, value)


def _find(owners: Iterable[Any], keys: Sequence[str], taken: dict[tuple[int, str], _Taken]) -> None:
    """Record what the objects have loaded along a path; skip relationships with pending changes."""
    if not keys:
        return
    reached: list[Any] = []
    for owner in owners:
        state = sa_inspect(owner)
        if keys[0] not in state.mapper.relationships or keys[0] not in state.dict:
            continue
        value = state.dict[keys[0]]
        if state.mapper.relationships[keys[0]].uselist:
            value = list(collection_adapter(value))
        reached += value if isinstance(value, list) else [value] if value is not None else []
        if keys[0] not in state.committed_state and state.persistent:
            taken[id(owner), keys[0]] = (owner, keys[0], value)
    _find(reached, keys[1:], taken)


def _path(element: Load) -> tuple[Any, ...]:
    return tuple(element) if isinstance(element, Sequence) and not isinstance(element, str) else (element,)


def _plant(tree: _Tree, element: Load) -> None:
    path = _path(element)
    if not path:
        raise UnknownField("An empty path is not a relationship.", hint="load=[(Model.relationship, Other.next)]")
    for attribute in path:
        _relation(attribute)
        # By identity: == on an attribute creates a SQL condition.
        tree = tree.setdefault(id(attribute), (attribute, _Tree({})))[1]


def _branches(tree: _Tree, start: Mapper[Any] | None) -> list[Any]:
    """Return the options for the paths that begin at *start*, each step nested in the one before."""
    options: list[Any] = []
    subclasses: dict[type[Any], None] = {}
    for attribute, below in tree.values():
        relation = _relation(attribute)
        own = _owner(attribute, start)
        if start is not None and own is not None and own is not start and own.isa(start):
            subclasses[own.class_] = None
        option: Any = selectinload(attribute) if relation.uselist else joinedload(attribute)
        options.append(option.options(*_branches(below, _target(attribute, relation))) if below else option)
    if start is None or not subclasses:
        return options
    # One option for all subclasses: SQLAlchemy refuses a second one for the same rows.
    return [selectin_polymorphic(start.entity, list(subclasses)), *options]


def _owner(attribute: Any, start: Mapper[Any] | None) -> Mapper[Any] | None:
    """Return the mapper that has the relationship and must match the rows of *start*; ``None`` for an alias."""
    if attribute.parent.is_aliased_class:
        return None
    own: Mapper[Any] = sa_inspect(attribute.class_)
    if start is not None and not start.isa(own) and not own.isa(start):
        name = start.class_.__name__
        hint = f"load=[({name}.relationship, {attribute})]"
        raise UnknownField(f"{attribute} is not a relationship of {name}.", hint=hint)
    return own


def _target(attribute: Any, relation: RelationshipProperty[Any]) -> Mapper[Any] | None:
    # The target of of_type() is in the attribute itself.
    return relation.mapper if private.subtype_of(attribute) is None else None


def _relation(attribute: Any) -> RelationshipProperty[Any]:
    relation = getattr(attribute, "property", None)
    if not isinstance(relation, RelationshipProperty):
        raise UnknownField(f"{_shown(attribute)} is not a relationship.", hint=_instead(attribute))
    return relation


def _shown(given: Any) -> str:
    return given.__name__ if isinstance(given, type) else repr(given) if isinstance(given, str) else str(given)


def _instead(given: Any) -> str:
    if isinstance(given, str):
        return f"load=[Model.{given}], the attribute itself."
    if isinstance(getattr(given, "property", None), ColumnProperty):
        return "Columns are loaded with their row; load a deferred one by load=[undefer(Model.column)]."
    return "load=[Model.relationship]"
