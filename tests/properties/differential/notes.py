"""What a run of a case has come to: its results, its errors, and what the session then holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import inspect as sa_inspect
from sqlalchemy import orm, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload, undefer

from tests.properties.differential.cases import Case, Step
from tests.properties.differential.state import Raw, fresh_objects, identity_of, raw_rows, same, snapshot

__all__ = ["Done", "Seen", "finish", "flush_changes", "hold", "loaded_of", "note", "note_expired", "note_loaded"]

Loaded = Mapping[int, set[str]]
"""The names of the columns and relations that held objects have loaded, by their rows."""


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

    flushed: dict[tuple[int, str], str] = field(default_factory=dict)
    """The same after nothing but a flush: of a type that stores another form, it shows the one that was given."""

    unloaded: set[tuple[int, str]] = field(default_factory=set)
    lost: set[tuple[int, int, str]] = field(default_factory=set)
    """What a step has unloaded: its number, the row and the attribute."""

    shown: set[tuple[int, int, str]] = field(default_factory=set)
    """What is loaded after a step."""

    identities: dict[int, str] = field(default_factory=dict)
    """The identities of held objects, by row."""

    expired: set[tuple[int, str]] = field(default_factory=set)
    """What the flush before a step has expired, as SQLAlchemy does for what the server makes."""


def hold(session: orm.Session, case: Case) -> dict[int, Any]:
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


def flush_changes(session: orm.Session, case: Case, held: Mapping[int, Any], seen: Seen) -> None:
    """Flush what the case has changed, and note what objects then do not show as it is stored."""
    if not case.changes:
        return
    session.flush()
    fresh = fresh_objects(session.connection(), case.made)
    for number, obj in held.items():
        seen.flushed |= {(number, name): what for name, what in _unlike(obj, fresh[identity_of(obj)])}


def note(session: orm.Session, case: Case, step: Step, done: Done, result: Any) -> None:
    """Note what a step has returned."""
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


def finish(session: orm.Session, case: Case, held: dict[int, Any], seen: Seen) -> None:
    """Flush what is left, and note what is stored and what the session holds."""
    try:
        session.flush()
    except Exception as error:  # noqa: BLE001 - as above
        seen.done.append(Done(type(error).__name__, str(error)))
        session.rollback()
        return
    seen.raw = raw_rows(session.connection(), case.made)
    _check_held(session, case, held, seen)
    seen.held = {number: snapshot(obj) for number, obj in held.items() if obj in session}


def loaded_of(session: orm.Session | AsyncSession, held: Mapping[int, Any]) -> Loaded:
    """Return what the objects of these that the session still holds have loaded."""
    return {place: _loaded_of(obj) for place, obj in held.items() if obj in session}


def _loaded_of(obj: Any) -> set[str]:
    state = sa_inspect(obj)
    attributes = (*state.mapper.column_attrs, *state.mapper.relationships)
    return {one.key for one in attributes if one.key in state.dict}


def note_expired(seen: Seen, held: Mapping[int, Any], before: Loaded, after: Loaded) -> None:
    """Note what the flush before a step has expired."""
    for place, loaded in after.items():
        seen.identities[place] = identity_of(held[place])
        seen.expired |= {(place, name) for name in before[place] - loaded}


def note_loaded(seen: Seen, step: int, before: Loaded, after: Loaded) -> None:
    """Note what a step has unloaded of the objects that were there *before* it and still are."""
    for place, loaded in after.items():
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
