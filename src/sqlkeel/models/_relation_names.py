"""Errors for a relationship that names a missing attribute, class or foreign key, in terms of the models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Table
from sqlalchemy.exc import AmbiguousForeignKeysError, ArgumentError, InvalidRequestError, NoForeignKeysError
from sqlalchemy.orm import Mapper, RelationshipProperty

from ..errors import InvalidRelation, KeelError

__all__ = ["explained"]


@contextmanager
def explained(relation: RelationshipProperty[Any]) -> Iterator[None]:
    """Replace SQLAlchemy's error while it configures *relation* by one that says what is missing.

    Raises:
        InvalidRelation: For a missing attribute, class or foreign key; other errors are not changed.
    """
    try:
        yield
    except (InvalidRequestError, ArgumentError) as error:
        refusal = None if isinstance(error, KeelError) else _refusal(relation, error)
        if refusal is None:
            raise
        raise refusal from error


def _refusal(relation: RelationshipProperty[Any], error: Exception) -> InvalidRelation | None:
    target = _target(relation)
    if target is None:
        return _no_class(relation)
    if isinstance(error, NoForeignKeysError):
        return _no_key(relation, target)
    if isinstance(error, AmbiguousForeignKeysError):
        return _several_keys(relation, target)
    named = relation.back_populates
    if isinstance(named, str) and named not in target.attrs:
        name = target.class_.__name__
        return InvalidRelation(
            f"{relation} has back_populates={named!r}, but {name} has no such attribute.",
            hint=_meant(named, target.attrs.keys(), "back_populates={!r}") or f"Declare {name}.{named} too.",
        )
    return None


def _target(relation: RelationshipProperty[Any]) -> Mapper[Any] | None:
    # Not `relation.mapper`: before it is resolved, that would configure the relationship and call this again.
    entity: Any = vars(relation).get("entity")
    return None if entity is None else entity.mapper


def _no_class(relation: RelationshipProperty[Any]) -> InvalidRelation | None:
    wanted: Any = relation.argument
    if not isinstance(wanted, str):
        return None
    known = [mapper.class_.__name__ for mapper in relation.parent.registry.mappers]
    hint = "Import the module that defines it before the models are used."
    return InvalidRelation(
        f"{relation} leads to {wanted!r}, but no class of this base has that name.",
        hint=_meant(wanted, known, 'Mapped[list["{}"]] or Mapped["{}"]') or hint,
    )


def _no_key(relation: RelationshipProperty[Any], target: Mapper[Any]) -> InvalidRelation:
    above, below = _tables(relation, target)
    if relation.uselist is False and not relation.cascade.delete:  # a parent()
        above, below = below, above
    return InvalidRelation(
        f"{relation}: there is no foreign key between {below} and {above}.",
        hint=f'{above}_id: Mapped[int] = mapped_column(ForeignKey("{above}.id"), index=True) in the model of {below}.',
    )


def _several_keys(relation: RelationshipProperty[Any], target: Mapper[Any]) -> InvalidRelation:
    above, below = relation.parent.local_table, target.local_table
    names = sorted([*_between(above, below), *_between(below, above)])
    listed, first = ", ".join(names), names[0] if names else "column"
    return InvalidRelation(
        f"{relation}: there are several foreign keys between the two tables, {listed}.",
        hint=f'Choose one, on both sides: foreign_keys="[Model.{first}]".',
    )


def _tables(relation: RelationshipProperty[Any], target: Mapper[Any]) -> tuple[str, str]:
    return str(relation.parent.local_table), str(target.local_table)


def _between(referring: Any, referred: Any) -> list[str]:
    keys = referring.foreign_key_constraints if isinstance(referring, Table) else ()
    return [name for key in keys if key.referred_table is referred for name in key.column_keys]


def _meant(name: str, known: Iterable[str], written: str) -> str | None:
    from difflib import get_close_matches  # imported only when an error needs it

    close = get_close_matches(name, list(known), n=1)
    return f"Did you mean {written.format(close[0], close[0])}?" if close else None
