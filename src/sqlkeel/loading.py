"""Relationships loaded with the query: one argument that chooses the cheaper way for each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from sqlalchemy.orm import QueryableAttribute, RelationshipProperty, joinedload, selectinload
from sqlalchemy.orm.interfaces import ORMOption

from .errors import UnknownField

__all__ = ["Load", "loader_options"]

Load: TypeAlias = QueryableAttribute[Any] | Sequence[QueryableAttribute[Any]] | ORMOption
"""What to load with a query: a relationship, a path of them as a tuple, or an option of SQLAlchemy's."""


def loader_options(load: Iterable[Load]) -> list[ORMOption]:
    """Choose how each relationship is loaded: collections by a second statement, single rows by a join.

    A join repeats the parent for each member of a collection and breaks LIMIT; a second statement for a single row is
    a round trip more. So ``load=[User.articles, (User.articles, Article.tags), Article.author]`` is one statement for
    each collection on the way and none for the rest.

    Raises:
        UnknownField: When an element is not a relationship.
    """
    return [_option(element) for element in load]


def _option(element: Load) -> ORMOption:
    if isinstance(element, ORMOption):
        return element
    path: tuple[Any, ...] = (
        tuple(element) if isinstance(element, Sequence) and not isinstance(element, str) else (element,)
    )
    if not path:
        raise UnknownField("An empty path is not a relationship.", hint="load=[(Model.relationship, Other.next)]")
    option: Any = None
    for attribute in path:
        option = _step(option, attribute)
    return option  # type: ignore[no-any-return]  # a Load, which is an ORMOption


def _step(option: Any, attribute: QueryableAttribute[Any]) -> Any:
    relation = getattr(attribute, "property", None)
    if not isinstance(relation, RelationshipProperty):
        raise UnknownField(f"{attribute} is not a relationship.", hint="load=[Model.relationship]")
    if relation.uselist:
        return selectinload(attribute) if option is None else option.selectinload(attribute)
    return joinedload(attribute) if option is None else option.joinedload(attribute)
