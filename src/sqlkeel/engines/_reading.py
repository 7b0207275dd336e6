"""Recognise a driver's error about a value in the database that Python cannot represent."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import PurePath
from types import TracebackType
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Column
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import TypeEngine

from .. import _sqlalchemy as private
from ..errors import UnreadableValue
from . import _drivers as drivers

__all__ = ["is_of_reading", "unreadable"]

_AS_LARGE: Final = (int, str, float, Decimal, bytes, UUID, dict)
"""Python types of columns that cannot have such values: neither times, nor lists or ranges of them."""


def is_of_reading(error: BaseException) -> bool:
    """Return whether a value of a row caused *error*; drivers raise the same error for a value to be sent."""
    # The name of a compiled function includes its class.
    return any(code.co_name.rpartition(".")[2] in drivers.READS_ROWS for code in _codes_of(error))


def unreadable(execution: Any, error: Exception, statement: str | None) -> UnreadableValue:
    """Return the error with all columns that may have the unreadable value, because no driver names the column."""
    of_times = PurePath([*_codes_of(error)][-1].co_filename).stem == drivers.READS_TIMES
    read = [(name, column) for name, column, kind in _read_by(execution) if not issubclass(kind, _AS_LARGE)]
    names = ", ".join(name if column is None else f"{column.table.name}.{column.name}" for name, column in read)
    where = "A row" if not of_times or not read else names if len(read) == 1 else f"One of {names}"
    fault = UnreadableValue(f"{where} holds a value that Python does not have.", orig=error, statement=statement)
    if where == names and (column := read[0][1]) is not None:
        fault.table, fault.column = column.table.name, column.name
    return fault


def _codes_of(error: BaseException) -> Iterator[Any]:
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        yield trace.tb_frame.f_code
        trace = trace.tb_next


def _read_by(execution: Any) -> Iterator[tuple[str, Column[Any] | None, type[Any]]]:
    """Yield the name, column and Python type of everything that a statement reads, including eager joins."""
    compiled = getattr(execution, "compiled", None)
    if isinstance(compiled, SQLCompiler):
        for entry in private.columns_read(compiled):
            column = next((one for one in entry.objects if isinstance(one, Column)), None)
            yield entry.name, column, _python_type(entry.type)


def _python_type(kind: TypeEngine[Any]) -> type[Any]:
    try:
        return kind.python_type
    except NotImplementedError:  # ranges, and types of other libraries
        return object
