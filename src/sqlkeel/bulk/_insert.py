"""Insert many rows at the speed of the driver, or with their objects returned."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, TypeVar

from sqlalchemy import Column, insert
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.types import UserDefinedType

from ..errors import NotSupported, ValueRefused
from ..sessions._holding import AnyAsyncSession
from ..sessions._rewinding import note_made
from ..types._stored import engine_type
from ._binder import Binder
from ._families import refuse_unreadable
from ._rows import Batch, Rows, Run, alike, chunks, refuse_expressions_among, refuse_other_than_mappings, runs
from ._work import Undo, Work
from ._writer import write_by_statement

__all__ = ["insert_many", "insert_many_returning"]

M = TypeVar("M")


async def insert_many(session: AnyAsyncSession, model: type[M], rows: Rows) -> int:
    """Insert *rows* and return their number; any number, from any iterable, in bounded memory.

    A row is a mapping of attribute names. Omitted attributes get the defaults of the model; ``None`` is NULL. Values
    are converted by their types as usual. PostgreSQL receives the rows by COPY, other databases by their driver's
    ``executemany``. No objects are created and no ORM events fire; use ``session.add_all()`` if you need those, and
    `insert_many_returning` to continue with the objects.

    Raises:
        UnknownField: For a field that the model does not have; nothing is inserted.
        InvalidValue: For a SQL expression as a value, and for a row that is not a mapping; nothing is inserted.
        ConstraintViolation: When the database refuses a row; nothing is inserted.
        ReadOnlySession: When the session was opened for reading.
    """
    written = 0
    async with Work(session, model) as work:
        binder: Binder | None = None
        replaced: _Replaced | None = None
        async for run in runs(work.read(rows, "insert_many"), work.target):
            await work.begin()
            binder = binder or work.binder(new=True)
            replaced = replaced or _Replaced(work)
            bound = binder.bind(replaced.noting(run))
            if binder.in_sql(run.fields) or not bound.columns:
                table = work.target.table
                written += await write_by_statement(work.connection, insert, table, bound, errors_of=table)
            else:
                written += await work.writer.insert(work.connection, work.target.table, bound)
        if replaced is not None:
            await replaced.renew()
    return written


class _Replaced:
    """Objects of the session whose rows were gone, and whose keys are inserted again."""

    def __init__(self, work: Work) -> None:
        self.target = work.target
        self.held = work.held()
        self.found: dict[int, Any] = {}
        self.before = {id(obj) for obj in self.held.objects.values()}

    def noting(self, run: Run) -> Run:
        """Return *run* so that its keys are recorded while it is sent, if the session holds any objects."""
        if not self.held.objects or not set(run.fields).issuperset(self.target.key):
            return run
        return Run(run.fields, self._noting(run))

    def _noting(self, run: Run) -> Iterator[Batch]:
        places = [run.fields.index(field) for field in self.target.key]
        for batch in run.batches:
            keys = [tuple([record[place] for place in places]) for record in batch.records]
            self.found |= {id(obj): obj for obj in self.held.among(keys)}
            yield batch

    def note(self, made: list[Any]) -> None:
        """Record which of the returned objects existed before."""
        if self.before:
            self.found |= {id(obj): obj for obj in made if id(obj) in self.before}

    async def renew(self) -> None:
        """Refresh the objects from the new rows."""
        if self.found:
            await self.held.renew(self.found.values(), self.target.fields.values())


async def insert_many_returning(session: AnyAsyncSession, model: type[M], rows: Rows) -> list[M]:
    """Insert *rows* and return their objects in the order of the rows, attached to the session.

    Everything that the server generated is loaded. It is several times slower than `insert_many`; use it if you need
    the objects afterwards.

    Raises:
        UnknownField: For a field that the model does not have; nothing is inserted.
        InvalidValue: For a SQL expression as a value, and for a row that is not a mapping; nothing is inserted.
        ConstraintViolation: When the database refuses a row; nothing is inserted.
        NotSupported: When objects are read from several tables, an expression determines their class, or a trigger
            skips a row; nothing is inserted.
        ReadOnlySession: When the session was opened for reading.
    """
    made: list[M] = []
    async with Work(session, model) as work:
        refuse_unreadable(work.target.mapper, in_order=True)
        replaced: _Replaced | None = None
        binder: Binder | None = None
        async for chunk in chunks(work.read(rows, "insert_many_returning")):
            refuse_other_than_mappings(chunk)
            fields = dict.fromkeys(chain.from_iterable(chunk))
            work.target.check(fields)
            refuse_expressions_among(work.target, chunk)
            await work.begin()
            replaced = replaced or _Replaced(work)
            async with work.undoable(first=not made) as undo:
                binder = binder or work.binder(new=True)
                more = await _insert_returning(work, binder, chunk, tuple(fields), read=len(made), undo=undo)
            _refuse_fewer(work, len(more), len(chunk))
            replaced.note(more)
            note_made(work.session.sync_session, [obj for obj in more if id(obj) not in replaced.before])
            made.extend(more)
        if replaced is not None:
            await replaced.renew()
        if any(not isinstance(one.columns[0], Column) for one in work.target.mapper.column_attrs):
            await work.held().complete(made)
    return made


async def _insert_returning(
    work: Work, binder: Binder, chunk: list[Mapping[str, Any]], fields: tuple[str, ...], *, read: int, undo: Undo
) -> list[Any]:
    records = alike(chunk, fields)
    if records is not None and fields:
        batch = Batch(fields, records, range(read, read + len(records)))
        binder.note(batch)
        if not binder.in_sql(fields):
            found = await work.writer.insert_returning(work.session, work.target, binder.bind(batch))
            if found is not None:
                return found
    model = work.target.model
    statement = insert(model).returning(model, sort_by_parameter_order=True)
    options = {"render_nulls": True, "include_deleted": True}
    rows = [binder.completed(row) for row in chunk]
    try:
        parts = [
            await work.session.scalars(statement, part, execution_options=options) for part in work.writer.parts(rows)
        ]
        return [obj for found in parts for obj in found.unique()]
    except (InvalidRequestError, ValueRefused) as error:
        # If the type or the database changes a key, SQLAlchemy cannot match the returned row. And in a statement with
        # many rows, a user's type has no name from which asyncpg would know how to encode it. One row at a time avoids
        # both problems.
        if isinstance(error, ValueRefused) and not _has_unknown_type(work, fields):
            raise
        await undo()
    alone = [await work.session.scalars(statement, [row], execution_options=options) for row in rows]
    return [obj for found in alone if (obj := found.unique().one_or_none()) is not None]


def _refuse_fewer(work: Work, made: int, given: int) -> None:
    """Refuse objects that cannot be matched to their rows."""
    if made != given:
        raise NotSupported(
            f"Only {made} of {given} rows of {work.target.name} were inserted.",
            hint="A trigger skips rows by returning NULL. Use insert_many(), which counts the rows that are written.",
        )


def _has_unknown_type(work: Work, fields: Iterable[str]) -> bool:
    return any(isinstance(engine_type(one.type, work.dialect), UserDefinedType) for one in work.target.columns(fields))
