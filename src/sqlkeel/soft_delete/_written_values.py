"""Exclude deleted rows from SELECTs in attributes of objects, such as ``post.total = select(...).scalar_subquery()``.

A flush sends Core statements, which have no options for that.
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
"""Types of values that are not expressions; checked first, because a flush may have many values."""


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
        # The attributes shared by all SELECTs, which SQLAlchemy fills only from options of the outermost one.
        option.get_global_criteria(private.shared_notes_of(compiler))
    compiled: str = compiler.process(living.element, **options)
    return compiled


def prepare_values(session: SyncSession, options: Callable[[], Iterable[Any]]) -> None:
    """Add the *options* to SELECTs in values that new and changed objects will write, or remove them."""
    for instance in session.new:
        state = attributes.instance_state(instance)
        _prepare(state.dict, state.dict.keys(), options)
    for instance in session.dirty:
        state = attributes.instance_state(instance)
        _prepare(state.dict, state.committed_state, options)


def _prepare(values: dict[str, Any], keys: Iterable[str], options: Callable[[], Iterable[Any]]) -> None:
    found = [key for key in keys if type(values.get(key)) not in _PLAIN and _is_expression(values[key])]
    for key in found:
        # Into the dictionary, so that the attribute's listeners see no change.
        values[key] = _prepared(values[key], tuple(options()))


def mark_rows(statement: Any) -> None:
    """Mark the SELECTs in ``values([...])`` with several rows, which SQLAlchemy does not treat as its parts."""
    for rows in private.rows_of(statement):
        for row in rows:
            for value in row.values() if isinstance(row, Mapping) else row:
                if _is_expression(value):
                    mark(_element(value))


def refuse_default(mapper: Mapper[Any], column: Any) -> None:
    """Refuse a column default with a SELECT over soft-deletable rows, because it is not part of a session's statement.

    Raises:
        NotSupported: Names the column, and the class that it reads.
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
        hint=f"Select from the table, {read}.__table__, where deleted_at is NULL.",
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
