"""Rows on their way to the database: read in chunks, checked, and bound as the driver wants them."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, groupby, islice, repeat, starmap
from operator import attrgetter, itemgetter
from typing import Any, TypeVar

from sqlalchemy import Column, Dialect, bindparam

from ..errors import InvalidValue
from .target import Target

__all__ = [
    "BLOCK",
    "CHUNK",
    "Batch",
    "Binder",
    "BoundRows",
    "Record",
    "Rows",
    "Run",
    "alike",
    "batches",
    "chunks",
    "runs",
]

BLOCK = 500
"""Rows that are checked and converted at a time: few enough to stay in the processor's cache."""

CHUNK = 10_000
"""Rows that are held in memory, and sent in one statement, at a time."""

Rows = Iterable[Mapping[str, Any]] | AsyncIterable[Mapping[str, Any]]
Record = tuple[Any, ...]
T = TypeVar("T")
_Makers = Mapping[Callable[..., Any], Callable[[], Any]]
_Convert = Callable[[Any], Any] | None
_Generate = Callable[[Sequence[Record]], Iterable[Any]]


@dataclass(frozen=True)
class Batch:
    """Rows with the same fields, as they were given."""

    fields: tuple[str, ...]
    records: list[Record]


@dataclass(frozen=True)
class Run:
    """Batches with the same fields; read while they are sent, and to their end before the next run."""

    fields: tuple[str, ...]
    batches: Iterable[Batch]


@dataclass(frozen=True)
class BoundRows:
    """Rows as the driver takes them, in lists that are made while they are sent."""

    columns: tuple[Column[Any], ...]
    blocks: Iterable[list[Record]]

    def all(self) -> list[Record]:
        """Return all records."""
        return list(chain.from_iterable(self.blocks))

    def chunks(self) -> Iterator[list[Record]]:
        """Yield the records in lists of `CHUNK`."""
        records = chain.from_iterable(self.blocks)
        while chunk := list(islice(records, CHUNK)):
            yield chunk


async def chunks(source: Iterable[T] | AsyncIterable[T], size: int = CHUNK) -> AsyncIterator[list[T]]:
    """Read *source* in lists of *size*."""
    if not isinstance(source, AsyncIterable):
        iterator = iter(source)
        while chunk := list(islice(iterator, size)):
            yield chunk
        return
    chunk = []
    async for item in source:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


async def runs(rows: Rows, target: Target) -> AsyncIterator[Run]:
    """Read *rows* in runs of equal fields; each batch is checked before any of it is passed on.

    Raises:
        UnknownField: For a field that the model does not have.
        InvalidValue: For something that is not a mapping.
    """
    if isinstance(rows, AsyncIterable):
        async for chunk in chunks(rows):
            for run in _runs(chunk, target):
                yield run
        return
    for run in _runs(rows, target):
        yield run


async def batches(rows: Rows, target: Target) -> AsyncIterator[Batch]:
    """Read *rows* in batches of equal fields and up to `CHUNK` rows; raises what `runs` does."""
    async for run in runs(rows, target):
        records = chain.from_iterable(batch.records for batch in run.batches)
        while chunk := list(islice(records, CHUNK)):
            yield Batch(run.fields, chunk)


def _runs(rows: Iterable[Mapping[str, Any]], target: Target) -> Iterator[Run]:
    for fields, group in groupby(_checked(rows, target), attrgetter("fields")):
        yield Run(fields, group)


def _checked(rows: Iterable[Mapping[str, Any]], target: Target) -> Iterator[Batch]:
    known: set[tuple[str, ...]] = set()
    for together in _batches(rows):
        for batch in together:
            if batch.fields not in known:
                target.check(batch.fields)
                known.add(batch.fields)
        yield from together


def _batches(rows: Iterable[Mapping[str, Any]]) -> Iterator[list[Batch]]:
    fields: tuple[str, ...] | None = None
    iterator = iter(rows)
    while block := list(islice(iterator, BLOCK)):
        if not isinstance(block[0], Mapping):
            raise InvalidValue(f"A row is a mapping of attribute names to values, not {type(block[0]).__name__}.")
        if fields is None or block[0].keys() != set(fields):
            fields = tuple(block[0])
        records = alike(block, fields)
        if records is not None:
            yield [Batch(fields, records)]
        else:
            yield _grouped([*block, *islice(iterator, CHUNK - BLOCK)])


def _grouped(rows: list[Mapping[str, Any]]) -> list[Batch]:
    groups: dict[frozenset[str], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(frozenset(row), []).append(row)
    return [Batch(fields, _pick(group, fields)) for group in groups.values() for fields in [tuple(group[0])]]


def alike(block: list[Mapping[str, Any]], fields: tuple[str, ...]) -> list[Record] | None:
    """Return the records of rows that all have exactly *fields*, else ``None``."""
    # As many fields, and none of the first row's missing: the same fields, found out without a line of Python per row.
    if set(map(len, block)) != {len(fields)}:
        return None
    try:
        return _pick(block, fields)
    except KeyError:
        return None


def _pick(rows: Sequence[Mapping[str, Any]], fields: tuple[str, ...]) -> list[Record]:
    if not fields:
        return [()] * len(rows)
    if len(fields) == 1:
        return list(zip(map(itemgetter(*fields), rows)))
    return list(map(itemgetter(*fields), rows))


class Binder:
    """Turns batches into what the driver takes: type conversions and, for new rows, defaults made in Python.

    What is to be done is found out once for each set of fields; nothing runs per row where nothing has to. *makers*
    name for a default another function whose values the driver takes as well, and that is faster.
    """

    def __init__(self, target: Target, dialect: Dialect, *, new: bool, makers: _Makers | None = None) -> None:
        self.target = target
        self.dialect = dialect
        self.new = new
        self.makers = makers or {}
        self._shapes: dict[tuple[str, ...], _Shape] = {}

    def in_sql(self, fields: tuple[str, ...]) -> bool:
        """Tell whether a value of these rows is an expression of SQL, which only a statement can hold."""
        return self._shape(fields).in_sql

    def bind(self, rows: Run | Batch) -> BoundRows:
        """Convert the values of *rows*, and add the defaults, when they are read.

        Raises:
            InvalidValue: When a value is refused by its type.
        """
        shape = self._shape(rows.fields)
        given = rows.batches if isinstance(rows, Run) else (rows,)
        return BoundRows(shape.columns, (shape.bind(batch.records) for batch in given))

    def _shape(self, fields: tuple[str, ...]) -> _Shape:
        if fields not in self._shapes:
            self._shapes[fields] = _Shape(self, fields)
        return self._shapes[fields]


class _Shape:
    """How rows of one set of fields are bound."""

    def __init__(self, binder: Binder, fields: tuple[str, ...]) -> None:
        target = binder.target
        given = target.columns(fields)
        self.converts = [_converter(column, binder.dialect) for column in given]
        made = _generators(binder, fields) if binder.new else {}
        self.generates = list(made.values())
        self.columns = (*given, *made)
        missing = set(target.table.columns).difference(self.columns) if binder.new else ()
        self.in_sql = any(map(_has_bind_expression, self.columns)) or any(map(_is_sql_default, missing))
        self.as_given = not made and not any(self.converts)

    def bind(self, records: list[Record]) -> list[Record]:
        if self.as_given:
            return records
        given = zip(*records, strict=True)
        converted = [
            values if convert is None else map(convert, values)
            for convert, values in zip(self.converts, given, strict=True)
        ]
        return list(zip(*converted, *(generate(records) for generate in self.generates), strict=True))


def _converter(column: Column[Any], dialect: Dialect) -> _Convert:
    return column.type.dialect_impl(dialect).bind_processor(dialect)


def _generators(binder: Binder, fields: tuple[str, ...]) -> dict[Column[Any], _Generate]:
    target = binder.target
    given = set(target.columns(fields))
    constants = {target.fields[field]: value for field, value in target.constants(fields).items()}
    found: dict[Column[Any], _Generate] = {}
    for column in target.table.columns:
        convert = _converter(column, binder.dialect)
        if column in constants:
            found[column] = _same(constants[column], convert)
        elif column not in given and column.default is not None and not _is_sql_default(column):
            found[column] = _default(column.default, convert, fields, binder.makers)
    return found


def _same(value: Any, convert: _Convert) -> _Generate:
    bound = value if convert is None else convert(value)
    return lambda records: repeat(bound, len(records))


def _default(default: Any, convert: _Convert, fields: tuple[str, ...], makers: _Makers) -> _Generate:
    if not default.is_callable:
        return _same(default.arg, convert)
    make = default.arg
    if _takes_nothing(make):
        plain = make.__wrapped__
        if convert is None:
            quick = makers.get(plain, plain)
            return lambda records: starmap(quick, repeat((), len(records)))
        return lambda records: map(convert, starmap(plain, repeat((), len(records))))
    return lambda records: (
        made if convert is None else convert(made) for made in (make(_Context(fields, record)) for record in records)
    )


def _takes_nothing(make: Any) -> bool:
    # SQLAlchemy passes a context to every default, through a wrapper of its own where the function takes none.
    wrapped_by = getattr(make, "__globals__", {}).get("__name__")
    return wrapped_by == "sqlalchemy.sql.schema" and hasattr(make, "__wrapped__")


class _Context:
    """What a default with a parameter is given: the other values of its row."""

    def __init__(self, fields: tuple[str, ...], record: Record) -> None:
        self.current_parameters = dict(zip(fields, record, strict=True))

    def get_current_parameters(self, isolate_multiinsert_groups: bool = True) -> dict[str, Any]:
        """Return the values that were given for the row."""
        return self.current_parameters


def _is_sql_default(column: Column[Any]) -> bool:
    default = column.default
    return default is not None and (default.is_sequence or default.is_clause_element)


def _has_bind_expression(column: Column[Any]) -> bool:
    return column.type.bind_expression(bindparam("value")) is not None
