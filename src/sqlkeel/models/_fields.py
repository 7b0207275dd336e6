"""The fields of a model that can be set by name, and how to set one so that the flush writes it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from sqlalchemy import Column
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.orm import ColumnProperty, InstanceState, RelationshipProperty
from sqlalchemy.orm.attributes import flag_modified

from ..errors import InvalidValue, UnknownField

__all__ = ["assign", "changes_row", "refusal_of_field", "refuse_fields", "values_of_row"]


def values_of_row(model: type[Any], values: Mapping[str, Any] | None, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of one row, from the mapping and from the keywords *fields*, which take precedence.

    Raises:
        InvalidValue: When *values* is not a mapping.
        UnknownField: When a name of a field is not a string.
    """
    if values is None:
        return dict(fields)
    if not isinstance(values, Mapping):
        name = model.__name__
        raise InvalidValue(
            f"The values of a {name} are a mapping of field names, or keywords, and not a {type(values).__name__}.",
            hint="Such as row._mapping, dataclasses.asdict(obj), model.model_dump(). session.add() takes an object.",
        )
    for field in values:
        if not isinstance(field, str):
            named = getattr(field, "key", None) or "field"
            raise UnknownField(
                f"{model.__name__} has no field {field}: one is named by a text.", hint=f'{{"{named}": ...}}'
            )
    return {**values, **fields}


def refuse_fields(model: type[Any], fields: Iterable[str]) -> None:
    """Refuse fields that cannot be set and, if *fields* is a mapping, values that they cannot have.

    Raises:
        UnknownField: For the first such field.
        InvalidValue: When the value for a relationship is not an object or objects; a client may have sent it.
    """
    for field in fields:
        if (reason := refusal_of_field(model, field)) is not None:
            raise UnknownField(f"{model.__name__} {reason}.", hint=_meant(model, field))
    if isinstance(fields, Mapping):
        _refuse_strangers(model, fields)


def _refuse_strangers(model: type[Any], values: Mapping[str, Any]) -> None:
    """Refuse a value for a relationship that is not an object, before SQLAlchemy looks for its state."""
    relations = sa_inspect(model).relationships
    for field in values.keys() & relations.keys():
        relation, value = relations[field], values[field]
        if _is_strange(value) if relation.uselist else value is not None and not _are_objects([value]):
            raise _stranger(model, relation, value)


def _is_strange(value: Any) -> bool:
    """Return whether the value cannot be a collection of objects, whatever the class of the collection."""
    given = value.values() if isinstance(value, Mapping) else value
    if isinstance(given, str | bytes | int | float | None) or _are_objects([value]):
        return True
    return isinstance(given, Collection) and not _are_objects(given)


def _are_objects(given: Iterable[Any]) -> bool:
    return all(isinstance(sa_inspect(one, raiseerr=False), InstanceState) for one in given)


def _stranger(model: type[Any], relation: RelationshipProperty[Any], value: Any) -> InvalidValue:
    target = relation.mapper.class_.__name__
    keys = ", ".join(f"{column.key}=…" for column in relation.local_columns if column.foreign_keys)
    taken = f"a list of {target}" if relation.uselist else f"a {target}"
    hint = f"{keys}, or {relation.key}={target.lower()}, the object" if keys else f"{relation.key}=[{target}(...)]"
    refused = InvalidValue(f"{model.__name__}.{relation.key} takes {taken}, not a {type(value).__name__}.", hint=hint)
    refused.column = relation.key
    return refused


def _meant(model: type[Any], field: str) -> str:
    """Return a hint with the most similar field, or with all fields."""
    from difflib import get_close_matches  # imported only when an error needs it

    mapper = sa_inspect(model)
    if field in mapper.all_orm_descriptors:
        return ""
    known = [one.key for one in mapper.attrs if _is_written(one)]
    close = get_close_matches(str(field), known, n=1)
    return f"Did you mean {close[0]!r}?" if close else f"It has {', '.join(known)}."


def refusal_of_field(model: type[Any], field: str) -> str | None:
    """Return why *field* cannot be set: it does not exist, or a flush would not write it; ``None`` if it can."""
    mapper = sa_inspect(model)
    if field in mapper.attrs:
        return None if _is_written(mapper.attrs[field]) else f"computes {field!r}, which cannot be written"
    if field in mapper.all_orm_descriptors:
        # A hybrid may lack a setter; an association proxy has no ``fset``, but can be set.
        is_set = getattr(mapper.all_orm_descriptors[field], "fset", field) is not None
        return None if is_set else f"computes {field!r}, which has no setter"
    if getattr(getattr(model, field, None), "fset", None) is None:
        return f"has no field {field!r}"
    return None


def assign(obj: Any, field: str, value: Any) -> None:
    """Set *field*; if the object already holds this mutable value, mark the field as modified.

    SQLAlchemy would compare the value with itself, and not notice a list or mapping that was changed in place.
    """
    is_held = vars(obj).get(field) is value
    setattr(obj, field, value)
    if is_held and type(value).__hash__ is None and field in sa_inspect(type(obj)).column_attrs:
        flag_modified(obj, field)


def changes_row(obj: Any) -> bool:
    """Return whether the object has changes in its columns that the next flush writes."""
    state = sa_inspect(obj)
    return any(state.attrs[attribute.key].history.has_changes() for attribute in state.mapper.column_attrs)


def _is_written(attribute: Any) -> bool:
    if isinstance(attribute, RelationshipProperty):
        return not attribute.viewonly
    return not isinstance(attribute, ColumnProperty) or isinstance(attribute.columns[0], Column)
