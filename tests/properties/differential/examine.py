"""Do a case twice, our way and the plain one, from the same rows in one transaction, and tell what differs."""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, orm, select
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import selectinload, undefer

from sqlkeel import Database, Session
from tests.properties.differential import ours, plain
from tests.properties.differential.cases import Case, Step
from tests.properties.differential.models import Counter
from tests.properties.differential.refusals import is_allowed
from tests.properties.differential.state import (
    Raw,
    fresh_objects,
    identity_of,
    mask,
    raw_rows,
    same,
    snapshot,
    translation,
)

__all__ = ["examine"]

FRESH_VERBS = frozenset({"insert_many_returning", "upsert", "get_or_create"})
"""Verbs whose objects are as they would be loaded anew."""


EITHER = frozenset(
    {"NotFound", "VersionConflict", "UniqueViolation", "InvalidKey", "NotNullViolation", "CheckViolation"}
)


@dataclass
class Done:
    """What a step has come to."""

    error: str | None = None
    message: str = ""
    counts: Any = None
    identities: list[str] = field(default_factory=list)
    objects: list[dict[str, Any]] = field(default_factory=list)
    fresh: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Seen:
    """What a run has come to."""

    done: list[Done] = field(default_factory=list)
    raw: Raw = field(default_factory=dict)
    held: dict[int, dict[str, Any]] = field(default_factory=dict)
    refused: set[int] = field(default_factory=set)
    complaints: list[str] = field(default_factory=list)
    stale: dict[tuple[int, str], str] = field(default_factory=dict)
    """What held objects do not show as it is stored, by row and attribute."""

    unloaded: set[tuple[int, str]] = field(default_factory=set)
    lost: set[tuple[int, int, str]] = field(default_factory=set)
    """What a step has unloaded: its number, the row and the attribute."""

    shown: set[tuple[int, int, str]] = field(default_factory=set)
    """What is loaded after a step."""


async def examine(database: Database, case: Case) -> list[str]:
    """Return what differs between the two ways; nothing, if all is well. The database is left as it was."""
    async with database.engine.connect() as connection:
        if moved := translation(case.made):
            await connection.execution_options(schema_translate_map=moved)
        transaction = await connection.begin()
        try:
            planted = await connection.run_sync(_plant, case)
            mine = await _ours(connection, case)
            theirs = await connection.run_sync(_plain, case, mine.refused)
        finally:
            await transaction.rollback()
    return [*mine.complaints, *_differences(case, planted, mine, theirs)]


def _plant(connection: Connection, case: Case) -> Raw:
    Counter.reset()
    session = orm.Session(connection, join_transaction_mode="create_savepoint")
    plain.plant(session, case)
    session.commit()
    session.close()
    return raw_rows(connection, case.made)


async def _ours(connection: AsyncConnection, case: Case) -> Seen:
    Counter.reset()
    seen = Seen()
    session = Session(connection, join_transaction_mode="create_savepoint")
    try:
        held = await session.run_sync(_hold, case)
        for number, step in enumerate(case.steps):
            done = Done()
            loaded = {place: _loaded(obj) for place, obj in held.items() if obj in session}
            try:
                async with session.savepoint():
                    result = await ours.do(case, step, session)
                    await session.run_sync(_note, case, step, done, result)
            except Exception as error:  # noqa: BLE001 - whatever it is, the plain way must raise it too
                done.error, done.message = type(error).__name__, str(error).partition("\n")[0]
                if is_allowed(case, step, done.error):
                    seen.refused.add(number)
            _note_loaded(seen, number, loaded, {place: held[place] for place in loaded if held[place] in session})
            seen.done.append(done)
        await session.run_sync(_finish, case, held, seen)
    finally:
        await session.close()
    return seen


def _plain(connection: Connection, case: Case, skipped: set[int]) -> Seen:
    Counter.reset()
    seen = Seen(refused=skipped)
    session = orm.Session(connection, join_transaction_mode="create_savepoint", expire_on_commit=False)
    held = _hold(session, case)
    for number, step in enumerate(case.steps):
        done = Done()
        seen.done.append(done)
        if number in skipped:
            continue
        loaded = {place: _loaded(obj) for place, obj in held.items() if obj in session}
        nested = session.begin_nested()
        try:
            result = plain.do(case, step, session)
            _note(session, case, step, done, result)
        except Exception as error:  # noqa: BLE001 - as above
            done.error, done.message = type(error).__name__, str(error).partition("\n")[0]
            nested.rollback()
        else:
            nested.commit()
        _note_loaded(seen, number, loaded, {place: held[place] for place in loaded if held[place] in session})
    _finish(session, case, held, seen)
    session.close()
    return seen


def _hold(session: orm.Session, case: Case) -> dict[int, Any]:
    """Load what the session holds, and change what it is to have changed."""
    held = {}
    for number in case.held:
        model = case.class_of(number)
        options: list[Any] = (
            [selectinload(model.owner)] if case.made.owner is not None and hasattr(model, "owner") else []
        )
        options += [undefer(model.later)] if number % 2 and hasattr(model, "later") else []
        keys = zip(case.made.key, case.key_of(number), strict=True)
        statement = select(model).where(*(getattr(model, name) == value for name, value in keys)).options(*options)
        held[number] = session.scalars(statement).unique().one()
    for number, name, value in case.changes:
        setattr(held[number], name, value)
    return held


def _note(session: orm.Session, case: Case, step: Step, done: Done, result: Any) -> None:
    if isinstance(result, tuple) and not isinstance(result[0], int):
        obj, created = result
        done.counts, result = created, [obj]
    objects = result if isinstance(result, list) else [result] if hasattr(result, "_sa_instance_state") else None
    if objects is None:
        done.counts = result
        return
    done.identities = [identity_of(obj) for obj in objects]
    done.objects = [snapshot(obj) for obj in objects]
    fresh = fresh_objects(session.connection(), case.made)
    done.fresh = [snapshot(fresh[one]) if one in fresh else {} for one in done.identities]


def _finish(session: orm.Session, case: Case, held: dict[int, Any], seen: Seen) -> None:
    try:
        session.flush()
    except Exception as error:  # noqa: BLE001 - as above
        seen.done.append(Done(type(error).__name__, str(error)))
        session.rollback()
        return
    seen.raw = raw_rows(session.connection(), case.made)
    _check_held(session, case, held, seen)
    seen.held = {number: snapshot(obj) for number, obj in held.items() if obj in session}


def _stale(done: Done) -> dict[str, str]:
    """Tell what a returned object does not show as it is stored, by attribute."""
    found = {}
    for shown, stored in zip(done.objects, done.fresh, strict=True):
        wrong = [name for name in stored if name in shown and not same(shown[name], stored[name])]
        found |= {n: f"the object's {n} is {shown[n]!r}, stored is {stored[n]!r}" for n in wrong}
    return found


def _loaded(obj: Any) -> set[str]:
    """Return the names of the columns and relations that an object has loaded."""
    state = sa_inspect(obj)
    attributes = (*state.mapper.column_attrs, *state.mapper.relationships)
    return {one.key for one in attributes if one.key in state.dict}


def _note_loaded(seen: Seen, step: int, before: Mapping[int, set[str]], held: Mapping[int, Any]) -> None:
    """Note what a step has unloaded of the objects that were there *before* it and still are."""
    for place, obj in held.items():
        loaded = _loaded(obj)
        seen.shown |= {(step, place, name) for name in loaded}
        seen.lost |= {(step, place, name) for name in before[place] - loaded}


def _check_held(session: orm.Session, case: Case, held: dict[int, Any], seen: Seen) -> None:
    """Note what a held object does not show as it is stored."""
    fresh = fresh_objects(session.connection(), case.made)
    for number, obj in held.items():
        if obj not in session:
            continue
        stored = fresh.get(identity_of(obj))
        if stored is None:
            seen.stale[number, ""] = "is gone, and the session still has it"
            continue
        seen.unloaded |= {(number, name) for name in snapshot(stored).keys() - snapshot(obj).keys()}
        seen.stale |= {(number, name): what for name, what in _unlike(obj, stored)}


def _unlike(obj: Any, stored: Any) -> Iterator[tuple[str, str]]:
    shown, kept, state = snapshot(obj), snapshot(stored), sa_inspect(obj)
    for name, value in kept.items():
        if name in shown and not same(shown[name], value):
            yield name, f"{name} is {shown[name]!r}, stored is {value!r}"
    for name in (one.key for one in state.mapper.composites if one.key in state.dict):
        value = getattr(stored, name)
        if state.dict[name] != value:
            yield name, f"{name} is {state.dict[name]!r}, stored is {value!r}"
    if "owner" in state.dict and "owner_id" in kept:
        shown_id = getattr(state.dict["owner"], "id", None)
        if shown_id != kept["owner_id"]:
            yield "owner", f"owner is {shown_id}, owner_id {kept['owner_id']!r}"


def _differences(case: Case, planted: Raw, mine: Seen, theirs: Seen) -> list[str]:
    found = []
    for number, (one, other) in enumerate(zip(mine.done, theirs.done, strict=False)):
        if number in mine.refused:
            continue
        verb = case.steps[number].verb if number < len(case.steps) else "the last flush"
        if not _same_error(one, other, case.steps[number] if number < len(case.steps) else None):
            found.append(f"{verb}: {_told(one)}; plain SQLAlchemy: {_told(other)}")
        elif not one.error and one.counts != other.counts:
            found.append(f"{verb}: {one.counts!r}; plain SQLAlchemy: {other.counts!r}")
        elif not one.error:
            found += [f"{verb}: {what}" for what in _unlike_objects(case, one, other)]
            if verb in FRESH_VERBS:
                # Of two objects that one flush updates, SQLAlchemy gives the second what was made for the first.
                lagging = _stale(other).keys()
                found += [f"{verb}: {what}" for name, what in _stale(one).items() if name not in lagging]
    if len(mine.done) != len(theirs.done):
        found.append(f"the last flush: {_told(mine.done[-1])}; plain SQLAlchemy: {_told(theirs.done[-1])}")
    for (place, name), what in mine.stale.items():
        # SQLAlchemy's own objects lag behind too: composites, relations, what an UPDATE of several rows has made.
        if (place, name) not in theirs.stale:
            found.append(f"held row {place}: {what}")
    for number, place, name in sorted(mine.lost & theirs.shown):
        if number not in mine.refused:
            found.append(f"{case.steps[number].verb}: held row {place} has {name} not loaded any more")
    for place, name in sorted(mine.unloaded):
        # What plain SQLAlchemy was given for a deferred column, it has; `_lost` tells what was loaded before.
        if name in theirs.held.get(place, {}) and name != "later":
            found.append(f"held row {place}: {name} is not loaded any more; with plain SQLAlchemy it is")
    here, there = mask(mine.raw, planted, case.made), mask(theirs.raw, planted, case.made)
    for table in here.keys() | there.keys():
        found += [f"{table}: {what}" for what in _unlike_rows(here.get(table, []), there.get(table, []))]
    return found


def _told(done: Done) -> str:
    return f"{done.error}: {done.message}" if done.error else "no error"


def _same_error(one: Done, other: Done, step: Step | None) -> bool:
    pair = one.error, other.error
    if one.error == other.error or pair == ("RestoreConflict", "UniqueViolation"):
        return True
    # Of a row that is wrong in two ways, either may be told.
    twice = step is not None and step.wrong is not None and None not in pair
    return twice and bool(EITHER & {*pair})


def _unlike_objects(case: Case, one: Done, other: Done) -> list[str]:
    if len(one.identities) != len(other.identities):
        return [f"{len(one.identities)} objects; plain SQLAlchemy: {len(other.identities)}"]
    vague = case.made.masked | case.made.counted
    found = []
    for mine, theirs in zip(one.fresh, other.fresh, strict=True):
        for name, value in theirs.items():
            if name not in vague and not same(mine.get(name), value):
                found.append(f"the row of an object has {name} {mine.get(name)!r}; plain SQLAlchemy: {value!r}")
    for mine, theirs in zip(one.objects, other.objects, strict=True):
        # As above.
        missing = sorted(theirs.keys() - mine.keys() - {"later"})
        if missing:
            found.append(f"an object has {', '.join(missing)} not loaded; plain SQLAlchemy's has")
    return found


def _unlike_rows(here: list[Any], there: list[Any]) -> list[str]:
    one, other = (Counts(repr(sorted(row.items())) for row in rows) for rows in (here, there))
    if one == other:
        return []
    mine, theirs = list((one - other).elements()), list((other - one).elements())
    if len(mine) == len(theirs) == 1:
        rows = [
            next(row for row in rows if repr(sorted(row.items())) == text)
            for rows, text in ((here, mine[0]), (there, theirs[0]))
        ]
        return [
            f"{n} is stored as {rows[0][n]!r}; plain SQLAlchemy: {rows[1][n]!r}"
            for n in rows[0]
            if rows[0][n] != rows[1][n]
        ]
    return [f"stored here only: {mine}; by plain SQLAlchemy only: {theirs}"]
