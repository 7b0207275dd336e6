"""The declarative base: constraint names, exact types, and a repr() that loads nothing."""

from __future__ import annotations

import ast
import sys
import uuid
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, ClassVar, Literal, get_args, get_origin

from sqlalchemy import JSON, MetaData, Text, Uuid, event, inspect
from sqlalchemy.ext.asyncio import AsyncAttrs
from sqlalchemy.orm import DeclarativeBase, Mapper, TypeResolve, registry
from sqlalchemy.types import TypeEngine

from .. import _sqlalchemy as private
from .._syntax import parse_expression
from ..errors import UsageError
from ..types._choice import Choice, is_choice, not_of_values
from ..types._exact import Money, UTCDateTime
from ..types._times import Duration, PlainDate, PlainTime
from ._detached import explain_detached
from ._naming import metadata_with_names

__all__ = ["Base"]


class Base(AsyncAttrs, DeclarativeBase):
    """The class that a project's own base inherits from: ``class Base(sqlkeel.Base): ...``.

    Each direct subclass has its own metadata and registry, so that two applications, or two tests, do not share tables.
    Annotations map to types that lose nothing: ``datetime`` to an aware timestamp, ``date`` to a day, ``Decimal`` to an
    exact amount, an enumeration or ``Literal`` to a checked string, ``dict[...]`` and ``list[...]`` to JSON (``jsonb``
    on PostgreSQL), ``str`` to text without a limit (write ``String(320)`` if there is one, and always for a key or an
    index on MariaDB). docs/patterns/types.md has the whole table. Your own ``type_annotation_map`` takes precedence.
    """

    metadata: ClassVar[MetaData] = metadata_with_names()
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        date: PlainDate(),
        datetime: UTCDateTime(),
        Decimal: Money(),
        str: Text(),
        time: PlainTime(),
        timedelta: Duration(),
        uuid.UUID: Uuid(),
    }

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Make a direct subclass without a table the base of a project."""
        if Base in cls.__bases__ and not {"__tablename__", "__table__"} & cls.__dict__.keys():
            _make_base(cls)
        super().__init_subclass__(**kwargs)

    def __repr__(self) -> str:
        """Return the class and the key; never load anything."""
        identity = inspect(self).identity
        key = "new" if identity is None else ", ".join(map(str, identity))
        return f"<{type(self).__name__} {key}>"


@event.listens_for(Base.metadata, "before_create")
def _refuse_no_tables(metadata: MetaData, *_: Any, **__: Any) -> None:
    if not metadata.tables:
        raise UsageError(
            "sqlkeel.Base has no tables: your own base class inherits from it.",
            hint="class Base(sqlkeel.Base): ..., and then Base.metadata.create_all",
        )


@event.listens_for(Base, "after_mapper_constructed", propagate=True)
def _read_back(mapper: Mapper[Any], cls: type) -> None:
    # Also fetches values that the server sets on an UPDATE: SQLAlchemy would expire them, and async code could not read
    # them.
    if mapper.eager_defaults == "auto":
        private.read_back_defaults(mapper)


@event.listens_for(Base, "mapper_configured", propagate=True)
def _explain_detached(mapper: Mapper[Any], cls: type) -> None:
    explain_detached(mapper)


def _make_base(cls: type[Base]) -> None:
    own = cls.__dict__
    cls.__abstract__ = True
    cls.metadata = own.get("metadata") or metadata_with_names()
    cls.type_annotation_map = {**Base.type_annotation_map, **own.get("type_annotation_map", {})}
    cls.registry = registry(metadata=cls.metadata, type_annotation_map=cls.type_annotation_map)
    private.declare_in(cls, cls.registry)
    event.listen(cls.registry, "resolve_type_annotation", _resolve)
    # Relationships write ON DELETE into the foreign keys when the mappers are configured, so do that before any CREATE.
    event.listen(cls.metadata, "before_create", lambda *_, **__: cls.registry.configure())


def _resolve(annotation: TypeResolve) -> TypeEngine[Any] | None:
    """Return the type of annotations that a map cannot list: each enumeration, and each shape of JSON."""
    kind: Any = annotation.resolved_type
    if _names(annotation, kind):
        return None
    if is_choice(kind):
        return Choice(_as_written(annotation, kind))
    return _document() if (get_origin(kind) or kind) in {dict, list} else None


def _as_written(annotation: TypeResolve, kind: Any) -> Any:
    """Return the ``Literal`` from the class's source, if annotations are kept as strings.

    SQLAlchemy quotes what looks like a class name in such a string, and turns the numbers in a ``Literal`` into
    strings.
    """
    if get_origin(kind) is not Literal or not all(isinstance(value, str) for value in get_args(kind)):
        return kind
    for owner in annotation.cls.__mro__:
        text = vars(owner).get("__annotations__", {}).get(annotation.key)
        if text is not None:
            written = _literal_in(text, vars(sys.modules[owner.__module__])) if isinstance(text, str) else None
            return kind if written is None else written
    return kind


def _literal_in(text: str, names: Mapping[str, Any]) -> Any:
    outer, inner = "", parse_expression(text)
    while isinstance(inner, ast.Subscript):
        outer, inner = ast.unparse(inner.value), inner.slice
    if names.get(outer) is not Literal and not outer.endswith("Literal"):
        return None
    values = inner.elts if isinstance(inner, ast.Tuple) else [inner]
    try:
        return Literal[tuple(ast.literal_eval(value) for value in values)]
    except ValueError:  # members of an enumeration are not literals
        raise not_of_values(text) from None


def _names(annotation: TypeResolve, kind: Any) -> bool:
    """Return whether the project's own map has an entry for this annotation, by SQLAlchemy's rules."""
    known = annotation.registry.type_annotation_map
    above = [one for one in kind.__mro__ if issubclass(one, Enum)] if isinstance(kind, type) else [Literal]
    written = annotation.raw_type, annotation.raw_pep_593_type, annotation.raw_pep_695_type, kind
    return any(one in known for one in (*written, *(above if is_choice(kind) else ())))


def _document() -> TypeEngine[Any]:
    # Imported here: the dialect would take a tenth of the time of `import sqlkeel`.
    from sqlalchemy.dialects.postgresql import JSONB

    # None is stored as NULL, as in other columns; IS NULL would not find a JSON null.
    return JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
