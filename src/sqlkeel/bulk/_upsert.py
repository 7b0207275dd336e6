"""Insert a row, or update or find the existing one: the database decides, so that concurrent calls do not race."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from operator import itemgetter
from typing import Any, Generic, NamedTuple, Self, TypeVar

from sqlalchemy import Column, ColumnElement, Select, TableClause, and_, literal, not_, select, true
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.orm import QueryableAttribute

from ..errors import InvalidValue, NotSupported, UniqueViolation
from ..models._key_columns import portions
from ..models._row_keys import among
from ..sessions._holding import AnyAsyncSession
from ..sessions._links import Joined
from ..sessions._rewinding import note_made, note_read
from ._binder import Binder, BoundRows
from ._columns import raw
from ._families import refuse_companions, refuse_unreadable
from ._held import Held, Identity, newly_loaded
from ._revive import refuse_without_mark, revive_many, revive_one, unmarked
from ._rows import Batch, Rows, Run, refuse_expressions, refuse_other_than_mappings, runs
from ._target import Target
from ._turns import Stage, in_turns, placed
from ._work import Work
from ._writer import Merge

__all__ = ["UpsertResult", "Upserted", "get_or_create", "upsert", "upsert_many"]

M = TypeVar("M")
_Attributes = Sequence[QueryableAttribute[Any]]
_ATTEMPTS = 3


class Upserted(tuple[M, bool], Generic[M]):
    """The object and whether its row is new; ``revived`` means that the row was soft-deleted before."""

    revived: bool

    def __new__(cls, obj: M, created: bool, *, revived: bool = False) -> Self:
        """Create the pair."""
        made = super().__new__(cls, (obj, created))
        made.revived = revived
        return made

    def __getnewargs__(self) -> tuple[M, bool]:
        return self[0], self[1]


class UpsertResult(NamedTuple):
    """How many rows of `upsert_many` were inserted, updated, unchanged or revived.

    A row that a later one with the same key replaced counts as unchanged, so the four add up to the number of rows.
    """

    inserted: int
    updated: int
    unchanged: int
    revived: int = 0


async def upsert(
    session: AnyAsyncSession,
    model: type[M],
    values: Mapping[str, Any],
    *,
    on: _Attributes,
    update: _Attributes | None = None,
    revive: bool = False,
) -> Upserted[M]:
    """Insert a row, or update the one with the same *on*; return the refreshed object and whether it is new.

    The database decides, usually in one statement, so concurrent calls do not race. An update changes only *values*,
    never the key, and also ``onupdate`` columns and the version. A deleted row is not touched unless you pass *revive*.

    Args:
        session: The session; it does not commit.
        model: A mapped class.
        values: Attribute names and values; *on* must be among them.
        on: The attributes of one unique constraint.
        update: The attributes to update, if not all; ``[]`` leaves an existing row unchanged.
        revive: If only deleted rows have the same *on*, restore and update the most recently deleted one; the result's
            ``revived`` is then true. This costs one more statement, and six if a row is restored. The
            deleted rows are searched by *on*; a `unique_live` index does not make that fast.

    Raises:
        NotSupported: When *on* is not unique; when objects are read from several tables, or an expression determines
            their class; for *revive*, when the model has no soft delete; when a trigger skips the new row.
        InvalidValue: When a value of *on* is missing or ``None``, a value is a SQL expression, or *values* is not a
            mapping.
        UniqueViolation: When the row breaks another unique constraint, or the existing row is deleted.
        UsageError: When the parent of the row to revive is deleted.
        NoTransaction: For *revive*, when each statement commits by itself.
        UnknownField: For a field that the model does not have, and for an item of *on* or *update* that is not one of
            its attributes.
        ReadOnlySession: When the session was opened for reading.
    """
    async with Work(session, model) as work:
        refuse_unreadable(work.target.mapper)
        if revive:
            refuse_without_mark(work.target)
            refuse_companions(work.target.mapper)
        refuse_other_than_mappings([values])
        work.target.check(values)
        refuse_expressions(work.target, tuple(values), [tuple(values.values())])
        key, updated = _named(work.target, on, update)
        _require(work.target, key, values)
        work.target.refuse_null(key, [values[field] for field in key])
        merge = _of_one_row(_merge(work, key, tuple(values), updated), values)
        await work.begin(savepoint=False)
        if revive:
            await work.writer.refuse_autocommit(work.connection)
        return await _upsert(work, values, merge, revive=revive)


async def get_or_create(
    session: AnyAsyncSession, model: type[M], key: Mapping[str, Any], defaults: Mapping[str, Any] | None = None
) -> tuple[M, bool]:
    """Return the row with *key*, or create it from *key* and *defaults*; and whether it was created.

    Of any number of concurrent calls exactly one creates the row, and all return it. An existing row is not changed;
    `upsert` would update it.

    Raises:
        NotSupported: When the fields of *key* are not unique, so that nothing prevents a second row; when objects are
            read from several tables, or an expression determines their class; when a trigger skips the new row.
        InvalidValue: When a value of *key* is ``None``, any value is a SQL expression, or either is not a mapping.
        UniqueViolation: When the row breaks another unique constraint, or the existing row is deleted.
        UnknownField: For a field that the model does not have.
        ReadOnlySession: When the session was opened for reading.
    """
    async with Work(session, model) as work:
        refuse_unreadable(work.target.mapper)
        defaults = {} if defaults is None else defaults
        refuse_other_than_mappings([key, defaults])
        values = {**defaults, **key}
        work.target.check(values)
        refuse_expressions(work.target, tuple(values), [tuple(values.values())])
        work.target.refuse_null(key, key.values())
        merge = _merge(work, [*key], tuple(values), [])
        await work.begin(savepoint=False)
        found = await _find(work, merge, values)
        return (found, False) if found is not None else await _upsert(work, values, merge)


async def _upsert(work: Work, values: Mapping[str, Any], merge: Merge, *, revive: bool = False) -> Upserted[Any]:
    target = work.target
    complete = {**values, **target.constants(values, work.dialect)}
    for _ in range(_ATTEMPTS):
        with newly_loaded(work.session) as loaded:
            revived = await revive_one(work, values, merge) if revive else None
            written = await work.writer.upsert(work.session, complete, merge) if revived is None else (revived, False)
            if written is not None and written[0] is None:
                found = await _find(work, merge, values)
                written = None if found is None else (found, False)
        if written is not None:
            also = unmarked(merge) if revived is not None else merge.touched
            joined = work.held().joined()
            if not written[1]:
                joined.note([values], assigned=merge.fields, key=merge.key)
            await _renew(work, written[0], loaded, {*merge.assigned, *also}, joined)
            note = note_made if written[1] else note_read
            note(work.session.sync_session, written[:1])
            return Upserted(*written, revived=revived is not None)
        if not merge.assigned and (found := await _find(work, merge, values)) is not None:
            return Upserted(found, created=False)
    raise await _refusal(work, merge, values)


async def _renew(work: Work, obj: Any, loaded: list[Any], written: set[Column[Any]], joined: Joined) -> None:
    """Refresh an object that the session held, and load what RETURNING does not return for a new one."""
    is_new = any(one is obj for one in loaded)
    if is_new:
        await work.held().complete([obj])
    elif not work.writer.shows_locked:
        work.held().note_locked([sa_inspect(obj).identity])
    if not is_new or joined:
        await work.held().renew([] if is_new else [obj], written, joined)


async def _refusal(work: Work, merge: Merge, values: Mapping[str, Any]) -> UniqueViolation | NotSupported:
    """Return the error for a row that the database has neither inserted nor updated, without an error."""
    target = merge.target
    hidden = select(literal(1)).where(*_same(work, merge, values), not_(and_(true(), *target.guards))).limit(1)
    if (await work.connection.execute(hidden)).first() is not None:
        return _hidden(merge)
    return NotSupported(
        f"The {target.name} was neither inserted nor updated, and the database reported no error.",
        hint="Look for a trigger that skips rows by returning NULL. insert_many() counts the rows that are written.",
    )


def _hidden(merge: Merge) -> UniqueViolation:
    columns = tuple(column.name for column in merge.unique.columns)
    violation = UniqueViolation(table=merge.target.table.name, columns=columns, constraint=merge.unique.name)
    violation.hint = "The row that has this value is deleted: restore it, or make the column unique with unique_live()."
    return violation


async def _find(work: Work, merge: Merge, values: Mapping[str, Any]) -> Any:
    statement = select(work.target.model).where(*_same(work, merge, values), *work.target.guards)
    return (await work.session.scalars(statement)).unique().one_or_none()


def _same(work: Work, merge: Merge, values: Mapping[str, Any]) -> list[ColumnElement[bool]]:
    """Match the row with the same unique values."""
    same = [work.same(column, values[field]) for column, field in zip(merge.unique.columns, merge.key, strict=True)]
    return same if merge.unique.where is None else [*same, merge.unique.where]


async def upsert_many(
    session: AnyAsyncSession,
    model: type[M],
    rows: Rows,
    *,
    on: _Attributes,
    update: _Attributes | None = None,
    revive: bool = False,
) -> UpsertResult:
    """Insert rows, or update those with the same *on*; return how many of each.

    The rows are written to a temporary table and merged from there, in linear time and bounded memory for any number. A
    row that would not change is not written: its ``updated_at`` and version stay. Of several rows with the same key and
    fields the last counts; rows with the same key and different fields are merged one after the other, in the order in
    which they come.

    Args:
        session: The session; it does not commit.
        model: A mapped class.
        rows: Mappings of attribute names, from any iterable; *on* must be among them.
        on: The attributes of one unique constraint.
        update: The attributes to update, if not all; ``[]`` leaves existing rows unchanged.
        revive: If only deleted rows have the *on* of a given row, restore and update the most recently deleted one.

    Raises:
        NotSupported: When *on* is not unique, or the default of an omitted column is a SQL expression; for *revive*,
            when the model has no soft delete.
        InvalidValue: When a value of *on* is missing or ``None``, or a value is a SQL expression.
        UniqueViolation: When a row breaks another unique constraint, or a deleted row has the same *on*; nothing is
            written.
        UsageError: When the parent of a row to revive is deleted; nothing is written.
        UnknownField: For a field that the model does not have, and for an item of *on* or *update* that is not one of
            its attributes.
        ReadOnlySession: When the session was opened for reading.
    """
    async with Work(session, model) as work, AsyncExitStack() as stages:
        if revive:
            refuse_without_mark(work.target)
            refuse_companions(work.target.mapper)
        merging = _Merging(work, on, update, stages, revive=revive)
        async for run in runs(work.read(rows, "upsert_many"), work.target):
            await merging.add(run)
        return await merging.finish()


class _Merging:
    """The stages of one `upsert_many`: one temporary table for each set of fields."""

    def __init__(
        self, work: Work, on: _Attributes, update: _Attributes | None, opened: AsyncExitStack, *, revive: bool
    ) -> None:
        self.work = work
        self.key, self.update = _named(work.target, on, update)
        self.opened = opened
        self.revive = revive
        self.given = 0
        self.placed = False
        self.stages: dict[frozenset[str], Stage] = {}

    async def add(self, run: Run) -> None:
        """Write a run, rows with the same fields, to the stage for these fields."""
        work, key = self.work, self.key
        _require(work.target, key, run.fields)
        merge = _merge(work, key, run.fields, self.update)
        if not self.stages:
            await work.begin()
            self.binder = work.binder(new=True, assigned=self._assigned)
            self.joined = work.held().joined()
        _refuse_expressions(work.target, self.binder, run)
        if run.mixed or any(fields != frozenset(run.fields) for fields in self.stages):
            await self._place()
        batches = self._noted(_without_null(work.target, key, run), merge)
        rows = self.binder.bind(replace(run, batches=batches), placed=self.placed)
        stage = await self._stage(rows, replace(merge, by_row=self.binder.touched(run.fields)), frozenset(run.fields))
        self.given += await work.writer.fill(work.connection, stage.table, rows, errors_of=work.target.table)

    def _assigned(self, fields: tuple[str, ...]) -> tuple[str, ...]:
        merge = _merge(self.work, self.key, fields, self.update)
        return tuple(merge.fields)

    def _noted(self, batches: Iterable[Batch], merge: Merge) -> Iterator[Batch]:
        for batch in batches:
            self.binder.note_empty(batch, merge.key)
            rows = (dict(zip(batch.fields, record, strict=True)) for record in batch.records)
            self.joined.note(rows, assigned=merge.fields, key=merge.key)
            yield batch

    async def _place(self) -> None:
        """From now on also store each row's position, because the rows differ in their fields."""
        if self.placed:
            return
        self.placed = True
        for fields, stage in [*self.stages.items()]:
            rows = stage.rows.with_places()
            self.stages[fields] = await placed(self.work, stage, rows, self.opened)

    async def _stage(self, rows: BoundRows, merge: Merge, fields: frozenset[str]) -> Stage:
        if fields not in self.stages:
            opening = self.work.writer.stage(self.work.connection, self.work.target, rows, merge.unique)
            self.stages[fields] = Stage(await self.opened.enter_async_context(opening), rows, merge)
        return self.stages[fields]

    async def finish(self) -> UpsertResult:
        """Merge the stages into the model's table, and refresh the session's objects."""
        inserted = updated = revived = 0
        changed: set[Column[Any]] = set()
        merged: list[tuple[TableClause, Merge]] = []
        for stage in await in_turns(self.work, self.stages, self.opened):
            table, merge = stage.table, stage.merge
            if self.revive:
                revived += await revive_many(self.work, table, merge)
                changed |= unmarked(merge).keys()
            more_inserted, more_updated = await self.work.writer.merge(self.work.connection, table, merge)
            inserted, updated = inserted + more_inserted, updated + more_updated
            await _refuse_hidden(self.work, table, merge)
            changed |= {*merge.assigned, *merge.touched, *merge.by_row}
            merged.append((table, merge))
        joined = list(self.joined) if updated or revived else []
        if self.given and ((held := self.work.held()).objects or joined):
            await held.renew(await _met(self.work, merged, held), changed, joined)
        return UpsertResult(inserted, updated, self.given - inserted - updated - revived, revived)


async def _met(work: Work, merged: Iterable[tuple[TableClause, Merge]], held: Held) -> Collection[Any]:
    """Return the objects of the session whose rows may have been merged.

    Return all objects, except on a database where a plain read of a locked row shows the older snapshot. There, lock
    the rows that the stages have in common with the table, and return their objects.
    """
    if work.writer.shows_locked:
        return held.objects.values()
    key, met = work.target.columns(work.target.key), set[Identity]()
    for stage, merge in merged:
        for part in portions([*held.objects], len(key)):
            rows = _rows_met(select(*key), stage, merge).where(among(key, part))
            met.update(tuple(row) for row in await work.connection.execute(rows.with_for_update()))
    held.note_locked(met)
    # The database may consider two keys equal that differ in Python. Such a row can belong to any object.
    return [held.objects[one] for one in met] if met <= held.objects.keys() else held.objects.values()


def _named(target: Target, on: _Attributes, update: _Attributes | None) -> tuple[list[str], list[str] | None]:
    return target.names(on, of="on"), None if update is None else target.names(update, of="update")


def _merge(work: Work, key: Sequence[str], fields: Sequence[str], update: Sequence[str] | None) -> Merge:
    target = work.target
    unique = target.unique(key, work.writer.predicate)
    chosen = fields if update is None else update
    absent = [field for field in chosen if field not in fields]
    if absent:
        raise InvalidValue(f"{', '.join(absent)} is in update=, but the values for {target.name} do not have it.")
    fixed = {*map(target.field, unique.columns), *target.key, target.version}
    assigned = [field for field in chosen if field not in fixed]
    if assigned:
        refuse_companions(target.mapper)
    return Merge(target, unique, target.columns(assigned), target.touched(assigned) if assigned else {})


def _of_one_row(merge: Merge, values: Mapping[str, Any]) -> Merge:
    """Replace per-row ``onupdate`` functions by their values for the only row."""
    target = merge.target
    if not merge.assigned:
        return merge
    assigned = {field: values[field] for field in merge.fields}
    return replace(merge, touched=target.touched_once(assigned))


def _require(target: Target, key: Iterable[str], given: Collection[str]) -> None:
    for field in key:
        if field not in given:
            raise InvalidValue(f"{target.name} is found by {field}, but the values do not have it.")


def _without_null(target: Target, key: Sequence[str], run: Run) -> Iterator[Batch]:
    places = [(field, itemgetter(run.fields.index(field))) for field in key]
    for batch in run.batches:
        for field, value in places:
            if None in map(value, batch.records):
                target.refuse_null([field], [None])
        yield batch


def _refuse_expressions(target: Target, binder: Binder, run: Run) -> None:
    if binder.has_sql_default(run.fields):
        raise NotSupported(
            f"The default of a column of {target.name} that the rows omit is a SQL expression, which cannot be "
            "written to a temporary table.",
            hint="Give the column the same server_default, or write the rows with upsert() one by one.",
        )


async def _refuse_hidden(work: Work, stage: TableClause, merge: Merge) -> None:
    """Refuse rows with the key of a deleted row: the merge has skipped them, so they must not count as unchanged."""
    target, unique = merge.target, merge.unique
    if not target.guards or (unique.where is not None and not target.kinds and len(target.guards) == 1):
        return
    # A locking read: MariaDB's snapshot would show rows as live that were deleted after it was taken.
    hidden = _rows_met(select(1), stage, merge).where(not_(and_(*target.guards))).limit(1)
    hidden = hidden.with_for_update(read=True, of=target.table)
    if (await work.connection.execute(hidden)).first() is not None:
        raise _hidden(merge)


def _rows_met(columns: Select[Any], stage: TableClause, merge: Merge) -> Select[Any]:
    """Select from the rows of the table that have the key of a row of the stage.

    The join begins with the stage. A scan of the table would lock the rows of other callers as well.
    """
    same = [raw(column) == stage.c[column.name] for column in merge.unique.columns]
    if merge.unique.where is not None:
        same.append(merge.unique.where)
    rows = columns.select_from(stage.join(merge.target.table, and_(*same)))
    return rows.prefix_with("STRAIGHT_JOIN", dialect="mariadb")
