"""Convert rows to what the driver accepts, and add the defaults of the model."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain, islice
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import BigInteger, ClauseElement, Column, Dialect
from sqlalchemy.exc import DontWrapMixin

from ..engines._fitting import fits
from ..engines._texts import WORDS, has_notation, refuse_notation
from ..errors import DatabaseFault, InvalidValue, NotNullViolation, NotSupported, ValueRefused
from ._columns import makes_expression, names_beside
from ._defaults import Constant, Made
from ._rows import BLOCK, CHUNK, Batch, Record, Run, refuse_expressions
from ._target import Target

__all__ = ["PLACE", "Binder", "BoundRows"]

PLACE: Final[Column[Any]] = Column("sqlkeel_place", BigInteger())
"""The column of a temporary table that holds the position of a row among all rows of the call."""

_Makers = Mapping[Callable[..., Any], Callable[[], Any]]
_Quick = Mapping[Column[Any], Callable[[], Any]]
_Convert = Callable[[Any], Any] | None
_Assigned = Callable[[tuple[str, ...]], tuple[str, ...]]


@dataclass(frozen=True)
class BoundRows:
    """Rows with the same *columns*, in lists that are created while they are sent.

    *names* are the names of the columns; a column that only an update writes has another name. If the rows are
    *placed*, the last column is `PLACE`.
    """

    columns: tuple[Column[Any], ...]
    names: tuple[str, ...]
    batches: Iterable[Batch]
    shape: _Shape
    placed: bool = False

    @property
    def blocks(self) -> Iterator[list[Record]]:
        """The records with their values converted for the driver."""
        return (self._with_places(batch, self.shape.bind(batch)) for batch in self.batches)

    @property
    def in_sql(self) -> bool:
        """Whether a type wraps its values in a SQL function, which only a statement can contain."""
        return self.shape.in_function

    def forget(self) -> None:
        """Forget the rows that were bound last: the driver has accepted them, so they contain no SQL expression."""
        self.shape.recent.clear()

    def all(self) -> list[Record]:
        """Return all records."""
        first, *others = [*self.blocks] or [[]]
        return [*chain(first, *others)] if others else first

    def chunks(self) -> Iterator[list[Record]]:
        """Yield the records in lists of `CHUNK`."""
        return _in_chunks(self.blocks)

    def parameters(self, keys: Iterable[str]) -> Iterator[list[dict[str, Any]]]:
        """Yield the unconverted records as parameters of a statement with such *keys*."""
        keys = tuple(keys)
        complete = self.shape.complete
        for chunk in _in_chunks(self._with_places(batch, complete(batch)) for batch in self.batches):
            yield [dict(zip(keys, record, strict=True)) for record in chunk]

    def with_places(self) -> BoundRows:
        """Return an empty BoundRows with the same columns and `PLACE`.

        Raises:
            NotSupported: When a column of the table has that name.
        """
        if PLACE.name in map(str.lower, self.names):
            raise NotSupported(
                f"Rows with the same key and different fields need a column {PLACE.name}, but the table has one.",
                hint="Give all rows the same fields.",
            )
        return BoundRows((*self.columns, PLACE), (*self.names, PLACE.name), (), self.shape, placed=True)

    def without_places(self) -> BoundRows:
        """Return an empty BoundRows with the same columns except `PLACE`."""
        return BoundRows(self.columns[:-1], self.names[:-1], (), self.shape)

    def _with_places(self, batch: Batch, records: list[Record]) -> list[Record]:
        if not self.placed:
            return records
        return [(*record, place) for record, place in zip(records, batch.places, strict=True)]


def _in_chunks(blocks: Iterable[list[Record]]) -> Iterator[list[Record]]:
    records = chain.from_iterable(blocks)
    while chunk := list(islice(records, CHUNK)):
        yield chunk


class Binder:
    """Turns batches into what the driver accepts: converts values, and adds what Python generates for each row.

    The plan is made once for each set of fields, and nothing runs per row if nothing has to. *new* rows get the
    defaults of omitted columns. *assigned* returns which fields an update writes: the ``onupdate`` functions of the
    other columns are called for each row, under the names that `touched` returns. *makers* maps a default to a faster
    function whose values the driver accepts too.
    """

    def __init__(
        self,
        target: Target,
        dialect: Dialect,
        *,
        new: bool = False,
        assigned: _Assigned | None = None,
        makers: _Makers | None = None,
    ) -> None:
        self.target = target
        self.dialect = dialect
        self.new = new
        self.assigned = assigned
        self.makers = makers or {}
        self.recent: deque[Batch] = deque(maxlen=CHUNK // BLOCK + 1)
        self.empty: dict[tuple[str, tuple[str, ...]], dict[str, int]] = {}
        self._shapes: dict[tuple[str, ...], _Shape] = {}

    def in_sql(self, fields: tuple[str, ...]) -> bool:
        """Return whether a value of these rows is a SQL expression, which only a statement can contain."""
        shape = self._shape(fields)
        return shape.in_function or shape.in_default

    def has_sql_default(self, fields: tuple[str, ...]) -> bool:
        """Return whether the default of an omitted column is a SQL expression."""
        return self._shape(fields).in_default

    def refuse_expressions(self) -> None:
        """Refuse a SQL expression among the rows that were bound last and failed.

        Called only after an error, because looking for it would slow down every row of every call.

        Raises:
            InvalidValue: Names the field.
        """
        for batch in self.recent:
            refuse_expressions(self.target, batch.fields, batch.records)

    def note(self, batch: Batch) -> None:
        """Record these rows as bound last, although they were bound elsewhere."""
        self.recent.append(batch)

    def note_empty(self, batch: Batch, key: Iterable[str]) -> None:
        """Record the rows without a value in a required column, because the database may refuse them much later.

        Of rows with the same *key* only the last counts. No Python code runs per row until such a row is found.
        """
        for place, name in self._shape(batch.fields).required:
            known = (name, batch.fields)
            if known not in self.empty and type(None) not in set(map(type, map(itemgetter(place), batch.records))):
                continue
            noted = self.empty.setdefault(known, {})
            own = itemgetter(*map(batch.fields.index, key))
            for number, record in zip(batch.places, batch.records, strict=True):
                noted.pop(repr(own(record)), None)
                if record[place] is None:
                    noted[repr(own(record))] = number + 1

    def locate(self, error: InvalidValue | ValueRefused) -> None:
        """Find the row and column of *error* among the rows that were bound last, and add them to the error.

        Called only after an error, as above. The database may have named the column.
        """
        refusal = error if isinstance(error, InvalidValue) and error.column is None else None
        for strict in (False, True):
            for batch in self.recent:
                for place, column in enumerate(self.target.columns(batch.fields)):
                    if error.column not in (None, column.name):
                        continue
                    for number, record in enumerate(batch.records):
                        if not fits(record[place], column.type, self.dialect, strict=strict, refusal=refusal):
                            error.locate(column.table.name, column.name, batch.number_of(number))
                            return

    def locate_empty(self, error: NotNullViolation) -> None:
        """Add to *error* the row with nothing in a required column, among the recorded and the last rows."""
        noted = [number for (name, _), rows in self.empty.items() if name in error.columns for number in rows.values()]
        if noted:
            error.locate(min(noted))
            return
        for batch in self.recent:
            names = [column.name for column in self.target.columns(batch.fields)]
            for place in (place for place, name in enumerate(names) if name in error.columns):
                empty = next((number for number, one in enumerate(batch.records) if one[place] is None), None)
                if empty is not None:
                    error.locate(batch.number_of(empty))
                    return

    def refusal(self, error: DatabaseFault) -> ValueRefused | None:
        """Return the error to raise instead of *error* if a value of the last rows does not fit its column."""
        refused = ValueRefused("", orig=error.orig, statement=error.statement)
        refused.connection_invalidated = error.connection_invalidated
        self.locate(refused)
        return None if refused.column is None else refused

    def touched(self, fields: tuple[str, ...]) -> dict[Column[Any], str]:
        """Return the columns that an update sets to a new value for each row, with their names in the bound rows."""
        shape = self._shape(fields)
        width = len(shape.touched.columns)
        return dict(zip(shape.touched.columns, shape.names[len(shape.names) - width :], strict=True))

    def completed(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return *row* with the values that the ORM passes for one row, but not for many.

        These are defaults that depend on other values of the row, and the value that a type stores for ``None``.
        """
        shape = self._shape(tuple(row))
        if not shape.completes:
            return dict(row)
        values = dict(zip(shape.columns, shape.completed([tuple(row.values())])[0], strict=True))
        return {field: values[column] for field, column in self.target.fields.items() if column in values}

    def bind(self, rows: Run | Batch, *, placed: bool = False) -> BoundRows:
        """Convert the values of *rows*, and add generated ones, lazily; if *placed*, also add their positions.

        Raises:
            InvalidValue: When a type refuses a value.
        """
        shape = self._shape(rows.fields)
        bound = BoundRows(shape.columns, shape.names, (), shape)
        bound = bound.with_places() if placed else bound
        return replace(bound, batches=rows.batches if isinstance(rows, Run) else (rows,))

    def _shape(self, fields: tuple[str, ...]) -> _Shape:
        if fields not in self._shapes:
            self._shapes[fields] = _Shape(self, fields)
        return self._shapes[fields]


class _Shape:
    """How rows with one set of fields are bound."""

    def __init__(self, binder: Binder, fields: tuple[str, ...]) -> None:
        target = binder.target
        self.recent = binder.recent
        given = target.columns(fields)
        assigned = binder.assigned(fields) if binder.assigned is not None else ()
        self.made = Made(given, _defaults(target, fields, binder.dialect) if binder.new else {}, new=True)
        self.completes = self.made.in_turn or (binder.new and bool(target.blanks(fields, binder.dialect)))
        self.touched = Made(target.columns(assigned), target.touched_by_row(assigned) if assigned else {})
        self.columns = (*given, *self.made.columns, *self.touched.columns)
        own = [column.name for column in (*given, *self.made.columns)]
        self.names = (*own, *islice(names_beside(target.table), len(self.touched.columns)))
        self.converts = [_converter(column, binder.dialect) for column in self.columns]
        bound = dict(zip(self.columns, self.converts, strict=True))
        self.texts = [place for place, one in enumerate(self.converts[: len(given)]) if one is refuse_notation]
        for place in self.texts:
            self.converts[place] = None  # checked column by column instead
        self.quick = {column: make for column, make in self.made.quick(binder.makers).items() if bound[column] is None}
        self.places = [fields.index(field) for field in assigned]
        missing = set(target.table.columns).difference(self.columns) if binder.new else ()
        self.in_default = any(_is_sql_default(column, binder.dialect) for column in missing)
        self.in_function = any(makes_expression(column.type) for column in self.columns)
        self.required = [(place, one.name) for place, one in enumerate(given) if not one.nullable]
        self.as_given = len(given) == len(self.columns) and not any(self.converts)

    def bind(self, batch: Batch) -> list[Record]:
        self.recent.append(batch)
        records = self._with_texts(batch.records)
        if self.as_given:
            return records
        values = self._values(records, self.quick)
        converted = [
            one if convert is None else map(convert, one) for convert, one in zip(self.converts, values, strict=True)
        ]
        try:
            return list(zip(*converted, strict=True))
        except Exception as error:
            if isinstance(error, DontWrapMixin):
                raise
            # SQLAlchemy's statements would raise it too, for example the AttributeError of a failing type.
            raise self._refused(error) from error

    def _with_texts(self, records: list[Record]) -> list[Record]:
        """Check all text values; write a bool in text as the cast of a statement would, because COPY has no casts."""
        for place in self.texts:
            kinds = set(map(type, map(itemgetter(place), records)))
            if has_notation(kinds):
                raise self._refused(TypeError("A string is expected."))
            if bool in kinds:
                records = [
                    (*one[:place], WORDS[one[place]], *one[place + 1 :]) if type(one[place]) is bool else one
                    for one in records
                ]
        return records

    def _refused(self, error: Exception) -> ValueRefused:
        message = f"A column type of {self.columns[0].table.name} does not accept a value."
        return ValueRefused(message, orig=error)

    def complete(self, batch: Batch) -> list[Record]:
        self.recent.append(batch)
        return self.completed(batch.records)

    def completed(self, records: list[Record]) -> list[Record]:
        return list(zip(*self._values(records, {}), strict=True)) if self.columns else records

    def _values(self, records: list[Record], quick: _Quick) -> list[Iterable[Any]]:
        made = self.made.values(records, quick)
        if not self.touched.columns:
            return [*zip(*records, strict=True), *made]
        changes = [tuple([record[place] for place in self.places]) for record in records]
        return [*zip(*records, strict=True), *made, *self.touched.values(changes, {})]


def _converter(column: Column[Any], dialect: Dialect) -> _Convert:
    return column.type.dialect_impl(dialect).bind_processor(dialect)


def _defaults(target: Target, fields: tuple[str, ...], dialect: Dialect) -> dict[Column[Any], Any]:
    """Return the default of each column that *fields* omit, in table order."""
    given = set(target.columns(fields))
    constants = {target.fields[field]: value for field, value in target.constants(fields, dialect).items()}
    found: dict[Column[Any], Any] = {}
    for column in target.table.columns:
        if column in constants:
            found[column] = Constant(constants[column])
        elif column not in given and _is_made_in_python(column):
            found[column] = column.default
    return found


def _is_made_in_python(column: Column[Any]) -> bool:
    default = column.default
    return default is not None and not (default.is_sequence or default.is_clause_element)


def _is_sql_default(column: Column[Any], dialect: Dialect) -> bool:
    default = column.default
    if default is None or (default.is_sequence and not dialect.supports_sequences):
        return False  # Without sequences, the table itself generates the key.
    return (default.is_sequence or default.is_clause_element) and not _is_of_server(column, default)


def _is_of_server(column: Column[Any], default: Any) -> bool:
    """Return whether the server's own default produces the same value, so that the column can be omitted."""
    own = getattr(column.server_default, "arg", None)
    if not isinstance(own, ClauseElement):
        return False
    if default.is_sequence:
        counted = getattr(own, "sequence", None)
        return counted is not None and (counted.name, counted.schema) == (default.name, default.schema)
    return bool(default.arg.compare(own))
