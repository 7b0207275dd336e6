"""What a row of the database holds and Python has no value for: the driver's error over it is read here."""

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
"""What a column is read as that is none of the types of `READS_TIMES`, nor a list or a range of them."""


def is_of_reading(error: BaseException) -> bool:
    """Tell whether *error* was raised over a value of a row; a driver calls it what it calls a value to be sent."""
    # Compiled functions are named with their class.
    return any(code.co_name.rpartition(".")[2] in drivers.READS_ROWS for code in _codes_of(error))


def unreadable(execution: Any, error: Exception, statement: str | None) -> UnreadableValue:
    """Return the error with the columns that may hold such a value; no driver tells which one does."""
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
    """Yield each name that a statement reads, its column, and what it is read as; eager joins are among them."""
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
