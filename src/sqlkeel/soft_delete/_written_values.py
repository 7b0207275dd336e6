"""SELECTs in the attributes of objects, as ``post.total = select(...).scalar_subquery()``: they leave out deleted rows.

A flush writes Core statements, which have no options that could tell them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Final

from sqlalchemy import ClauseElement, ColumnElement, SelectBase
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Mapper, attributes
from sqlalchemy.sql.visitors import InternalTraversal

from .. import _sqlalchemy as private
from ..errors import NotSupported
from ..sessions._sync_session import SyncSession
from ._living import ENTITY
from ._marks import has_mark
from ._unmarked import mark, parts_of

__all__ = ["mark_rows", "prepare_values", "refuse_default"]

_PLAIN: Final = frozenset({int, str, float, bool, bytes, type(None)})
"""Types of values that are no expressions: an object may have many of them, and a flush many objects."""


class _Living(ColumnElement[Any]):
    """An expression whose SELECTs are compiled with options."""

    inherit_cache = True
    _traverse_internals: ClassVar[Any] = [  # type: ignore[misc]  # SQLAlchemy declares it of instances
        ("element", InternalTraversal.dp_clauseelement),
        ("options", InternalTraversal.dp_executable_options),
    ]

    def __init__(self, element: Any, options: tuple[Any, ...]) -> None:
        self.element = element
        self.options = options
        self.type = element.type

    @property
    def _from_objects(self) -> Any:
        return private.tables_in(self.element)


@compiles(_Living)
def _compile(living: _Living, compiler: Any, **options: Any) -> str:
    for option in living.options:
        # What all SELECTs of a statement know. SQLAlchemy fills it from the options of the outermost one.
        option.get_global_criteria(private.shared_notes_of(compiler))
    compiled: str = compiler.process(living.element, **options)
    return compiled


def prepare_values(session: SyncSession, options: Callable[[], Iterable[Any]]) -> None:
    """Give the *options* to the SELECTs in what new and changed objects are to be written with, or take them."""
    for instance in session.new:
        state = attributes.instance_state(instance)
        _prepare(state.dict, state.dict.keys(), options)
    for instance in session.dirty:
        state = attributes.instance_state(instance)
        _prepare(state.dict, state.committed_state, options)


def _prepare(values: dict[str, Any], keys: Iterable[str], options: Callable[[], Iterable[Any]]) -> None:
    found = [key for key in keys if type(values.get(key)) not in _PLAIN and _is_expression(values[key])]
    for key in found:
        # Into the dictionary: for the listeners of the attribute nothing has changed.
        values[key] = _prepared(values[key], tuple(options()))


def mark_rows(statement: Any) -> None:
    """Mark the SELECTs in ``values([...])`` of several rows, which are no parts of it for SQLAlchemy."""
    for rows in private.rows_of(statement):
        for row in rows:
            for value in row.values() if isinstance(row, Mapping) else row:
                if _is_expression(value):
                    mark(_element(value))


def refuse_default(mapper: Mapper[Any], column: Any) -> None:
    """Refuse a SELECT over soft-deletable rows as the default of a column: it stands in no statement of a session.

    Raises:
        NotSupported: Names the column, and the class that is read.
    """
    for name in ("default", "onupdate"):
        default = getattr(column, name, None)
        for part in parts_of(default.arg) if default is not None and default.is_clause_element else ():
            entity = private.notes_of(part).get(ENTITY)
            if entity is not None and has_mark(entity.mapper):
                raise _default(f"{name}= of {mapper.class_.__name__}.{column.key}", entity.mapper.class_.__name__)


def _default(which: str, read: str) -> NotSupported:
    return NotSupported(
        f"{which} is a SELECT over {read}, and would find deleted rows.",
        hint=f"Read the table, {read}.__table__, with the condition that deleted_at is NULL.",
    )


def _is_expression(value: Any) -> bool:
    return isinstance(value, ClauseElement) or hasattr(type(value), "__clause_element__")


def _prepared(value: Any, options: tuple[Any, ...]) -> Any:
    element = value.element if isinstance(value, _Living) else _element(value)
    if not any(isinstance(part, SelectBase) for part in parts_of(element)):
        return value
    mark(element)
    if isinstance(element, SelectBase):
        element = element.scalar_subquery()
    return _Living(element, options) if options else element


def _element(value: Any) -> Any:
    return value.__clause_element__() if hasattr(value, "__clause_element__") else value
