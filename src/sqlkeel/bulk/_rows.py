"""Read the rows of a bulk call in chunks, and check them."""

from __future__ import annotations

from collections import Counter
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass
from functools import partial
from itertools import chain, groupby, islice
from operator import attrgetter, itemgetter, methodcaller
from typing import Any, TypeVar, cast

from sqlalchemy import ClauseElement
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.orm import InstanceState

from ..errors import InvalidKey, InvalidValue, shown
from ..models._row_keys import SINGLE
from ._columns import is_expression
from ._target import Target

__all__ = [
    "BLOCK",
    "CHUNK",
    "Batch",
    "Record",
    "Rows",
    "Run",
    "alike",
    "batches",
    "chunks",
    "close",
    "in_order",
    "index_of",
    "reading",
    "refuse_expressions",
    "refuse_expressions_among",
    "refuse_other_than_mappings",
    "runs",
    "sorted_keys",
    "unhashable",
]

BLOCK = 500
"""Rows that are checked and converted together: few enough to stay in the processor's cache."""

CHUNK = 10_000
"""Rows that are held in memory and sent in one statement."""

Rows = Iterable[Mapping[str, Any]] | AsyncIterable[Mapping[str, Any]]
Record = tuple[Any, ...]
T = TypeVar("T")


@dataclass(frozen=True)
class Batch:
    """Rows with the same fields, as the caller passed them; *mixed*: rows with other fields came between them.

    *places* are the positions of the rows among all rows. If the records are in another order than the rows, *place_of*
    finds the position of a record.
    """

    fields: tuple[str, ...]
    records: list[Record]
    places: Sequence[int] = ()
    mixed: bool = False
    place_of: Callable[[Record], int | None] | None = None

    def number_of(self, index: int) -> int | None:
        """Return the number of a record's row, counted from 1 among all rows."""
        if self.place_of is not None:
            place = self.place_of(self.records[index])
        else:
            place = self.places[index] if self.places else None
        return None if place is None else place + 1


@dataclass(frozen=True)
class Run:
    """Batches with the same fields; read while they are sent, and completely before the next run."""

    fields: tuple[str, ...]
    batches: Iterable[Batch]
    mixed: bool = False


async def chunks(source: Iterable[T] | AsyncIterable[T], size: int = CHUNK) -> AsyncIterator[list[T]]:
    """Read *source* in lists of *size*."""
    found = reading(source)
    if not isinstance(found, AsyncIterator):
        while chunk := list(islice(found, size)):
            yield chunk
        return
    chunk = []
    async for item in found:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


async def runs(rows: Rows, target: Target, *, key: Sequence[str] = ()) -> AsyncIterator[Run]:
    """Read *rows* in runs of equal fields; each batch is checked completely before it is passed on.

    If rows have the same *key* and different fields, the last of them comes last.

    Raises:
        UnknownField: For a field that the model does not have.
        InvalidValue: For a row that is not a mapping.
    """
    if isinstance(rows, AsyncIterable):
        read = 0
        async for chunk in chunks(rows):
            for run in _runs(chunk, target, key, read):
                yield run
            read += len(chunk)
        return
    for run in _runs(cast("Iterator[Mapping[str, Any]]", reading(rows)), target, key):
        yield run


def reading(
    source: Iterable[T] | AsyncIterable[T], of: str = "Rows and keys", *, hint: str = "Put one into a list."
) -> Iterator[T] | AsyncIterator[T]:
    """Begin to read *source*; an error calls it *of*.

    Raises:
        InvalidValue: For something that is not iterable, for a string, and for a single row or key.
    """
    if isinstance(source, AsyncIterable):
        return aiter(source)
    # Iterating over a string would yield characters as keys, and over a row its field names.
    if not isinstance(source, Iterable) or isinstance(source, SINGLE):
        kind = type(source).__name__
        raise InvalidValue(f"{of} have to be a list or another iterable, not {kind}.", hint=hint)
    return iter(source)


async def close(source: Iterable[Any] | AsyncIterable[Any]) -> None:
    """Close a generator that was not exhausted, so that its ``finally`` and ``with`` blocks run."""
    if isinstance(source, AsyncGenerator):
        await source.aclose()
    elif isinstance(source, Generator):
        source.close()


async def batches(rows: Rows, target: Target, *, key: Sequence[str] = ()) -> AsyncIterator[Batch]:
    """Read *rows* in batches of equal fields and up to `CHUNK` rows; raises the same errors as `runs`."""
    async for run in runs(rows, target, key=key):
        read: list[Batch] = []
        records = chain.from_iterable(batch.records for batch in _noted(run.batches, read))
        while chunk := list(islice(records, CHUNK)):
            yield Batch(run.fields, chunk, place_of=partial(_place_in, read))
            del read[:-1]


def _noted(batches: Iterable[Batch], read: list[Batch]) -> Iterator[Batch]:
    for batch in batches:
        read.append(batch)
        yield batch


def _place_in(read: Iterable[Batch], record: Record) -> int | None:
    for batch in read:
        if (index := index_of(record, batch.records)) is not None:
            return batch.places[index]
    return None


def index_of(one: object, among: Iterable[object]) -> int | None:
    """Return the index of this very object, ignoring equal ones; used to locate a row after an error."""
    return next((index for index, other in enumerate(among) if other is one), None)


def _runs(rows: Iterable[Mapping[str, Any]], target: Target, key: Sequence[str], start: int = 0) -> Iterator[Run]:
    for (fields, mixed), group in groupby(_checked(rows, target, key, start), attrgetter("fields", "mixed")):
        yield Run(fields, group, mixed)


def _checked(rows: Iterable[Mapping[str, Any]], target: Target, key: Sequence[str], start: int) -> Iterator[Batch]:
    known: set[tuple[str, ...]] = set()
    for together in _batches(rows, key, start):
        for batch in together:
            if batch.fields not in known:
                target.check(batch.fields)
                refuse_expressions(target, batch.fields, batch.records[:1])
                known.add(batch.fields)
        yield from together


def refuse_expressions(target: Target, fields: Sequence[str], records: Iterable[Record]) -> None:
    """Refuse a SQL expression or an object among the values; an expression would need its own statement.

    Raises:
        InvalidValue: Names the field.
    """
    for record in records:
        for field, value in zip(fields, record, strict=True):
            if is_expression(value):
                raise InvalidValue(
                    f"{target.name}.{field} needs a value, not a SQL expression ({value}).",
                    hint="Compute in the database by a statement: update(Model).values(n=Model.n + 1).",
                )
            if isinstance(sa_inspect(value, raiseerr=False), InstanceState):
                raise InvalidValue(
                    f"{target.name}.{field} needs a value, not an object of {type(value).__name__}.",
                    hint="Pass its key.",
                )


def refuse_expressions_among(target: Target, rows: Iterable[Mapping[str, Any]]) -> None:
    """Refuse a SQL expression or an object in any of *rows*; check the types first, without Python code per row."""
    rows = [*rows]
    if any(map(_is_no_value, set(map(type, chain.from_iterable(map(methodcaller("values"), rows)))))):
        for row in rows:
            refuse_expressions(target, tuple(row), [tuple(row.values())])


def _is_no_value(kind: type[Any]) -> bool:
    expression = issubclass(kind, ClauseElement) or hasattr(kind, "__clause_element__")
    return expression or sa_inspect(kind, raiseerr=False) is not None


def _batches(rows: Iterable[Mapping[str, Any]], key: Sequence[str], read: int) -> Iterator[list[Batch]]:
    fields: tuple[str, ...] | None = None
    iterator = iter(rows)
    for block in iter(lambda: list(islice(iterator, BLOCK)), []):
        refuse_other_than_mappings(block[:1])
        if fields is None or block[0].keys() != set(fields):
            fields = tuple(block[0])
        records = alike(block, fields)
        if records is not None:
            yield [Batch(fields, records, range(read, read + len(block)))]
        else:
            block += islice(iterator, CHUNK - BLOCK)
            refuse_other_than_mappings(block)
            yield [batch for part in (_rounds(block, key) if key else [block]) for batch in _grouped(part, read)]
        read += len(block)


def refuse_other_than_mappings(rows: Sequence[Any]) -> None:
    """Refuse rows that are not mappings.

    Raises:
        InvalidValue: Names the type of the row.
    """
    if all(issubclass(kind, Mapping) for kind in set(map(type, rows))):
        return  # Checked without Python code per row. An object may also declare that it is a mapping.
    other = next((type(row).__name__ for row in rows if not isinstance(row, Mapping)), None)
    if other is not None:
        raise InvalidValue(
            f"A row is a mapping of attribute names to values, not {other}.",
            hint="Pass row._mapping, dataclasses.asdict(obj) or model.model_dump(). session.add_all() takes objects.",
        )


def _rounds(rows: Iterable[Mapping[str, Any]], key: Sequence[str]) -> list[list[Mapping[str, Any]]]:
    """Split rows so that no part has a key twice; of rows with equal fields and key, keep only the last.

    The first part has all keys, so locking its rows in order locks the rows of all parts.
    """
    last: dict[Any, Mapping[str, Any]] = {}
    for row in rows:
        one = tuple(map(row.get, key)), frozenset(row)
        try:
            last.pop(one, None)  # An empty dictionary would not even compute the hash.
            last[one] = row
        except TypeError:
            raise unhashable(key) from None
    met: Counter[Any] = Counter()
    parts: list[list[Mapping[str, Any]]] = []
    for (values, _), row in last.items():
        if met[values] == len(parts):
            parts.append([])
        parts[met[values]].append(row)
        met[values] += 1
    return parts


def unhashable(key: Sequence[str]) -> InvalidKey:
    """Return the error for a key with a list or a mapping in it, which is not hashable."""
    return InvalidKey(
        f"A value of {', '.join(key)} is a list or a mapping, which cannot be part of a key.",
        hint="Pass the key of one row; write an array as a tuple.",
    )


def _grouped(rows: list[Mapping[str, Any]], start: int) -> list[Batch]:
    places: dict[frozenset[str], list[int]] = {}
    for place, row in enumerate(rows):
        places.setdefault(frozenset(row), []).append(place)
    return [_batch([rows[place] for place in found], [start + place for place in found]) for found in places.values()]


def _batch(rows: list[Mapping[str, Any]], places: list[int]) -> Batch:
    fields = tuple(rows[0])
    return Batch(fields, _pick(rows, fields), places, mixed=True)


def in_order(records: list[Record], width: int) -> list[Record]:
    """Return the records sorted by their first *width* values, so that all callers lock rows in the same order."""
    try:
        return sorted(records, key=itemgetter(*range(width)))
    except (TypeError, ArithmeticError):  # Keys of several types, or NaN; the database decides whether they fit.
        return sorted(records, key=lambda record: shown(record[:width]))


def sorted_keys(keys: list[Any]) -> list[Any]:
    """Return single-column keys in the same order; sorting them is several times faster than sorting records."""
    try:
        return sorted(keys)
    except (TypeError, ArithmeticError):
        return sorted(keys, key=shown)


def alike(block: list[Mapping[str, Any]], fields: tuple[str, ...]) -> list[Record] | None:
    """Return the records of rows that all have exactly *fields*; ``None`` otherwise."""
    # Equal length and no missing field of the first row mean equal fields; this runs no Python code per row. An object
    # that is not a mapping has no length, or does not accept a string as a key.
    try:
        return _pick(block, fields) if set(map(len, block)) == {len(fields)} else None
    except (KeyError, TypeError):
        return None


def _pick(rows: Sequence[Mapping[str, Any]], fields: tuple[str, ...]) -> list[Record]:
    if not fields:
        return [()] * len(rows)
    if len(fields) == 1:
        return list(zip(map(itemgetter(*fields), rows)))
    return list(map(itemgetter(*fields), rows))
