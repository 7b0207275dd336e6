"""What differs between two runs of a case: errors, counts, objects, rows."""

from __future__ import annotations

from collections import Counter as Counts
from dataclasses import replace
from typing import Any

from tests.properties.differential.cases import Case, Step
from tests.properties.differential.notes import Done, Seen
from tests.properties.differential.state import Raw, mask, same

__all__ = ["differences"]

LISTS = frozenset({"get_all", "page", "stream"})
FRESH_VERBS = frozenset({"insert_many_returning", "upsert", "get_or_create"})
"""Verbs whose objects are as they would be loaded anew."""

EITHER = frozenset(
    {"NotFound", "VersionConflict", "UniqueViolation", "InvalidKey", "NotNullViolation", "CheckViolation"}
)


def differences(case: Case, planted: Raw, mine: Seen, theirs: Seen) -> list[str]:
    """Tell in which way *mine* is not what plain SQLAlchemy has come to, *theirs*."""
    found = []
    # What a flush expires is read again only by a verb that reads; the plain verbs read more often.
    expired = mine.expired | {(place, name) for _, place, name in mine.lost & theirs.lost}
    for number, (one, other) in enumerate(zip(mine.done, theirs.done, strict=False)):
        if number in mine.refused:
            continue
        verb = case.steps[number].verb if number < len(case.steps) else "the last flush"
        if not _same_error(one, other, case.steps[number] if number < len(case.steps) else None):
            found.append(f"{verb}: {_told(one)}; plain SQLAlchemy: {_told(other)}")
        elif not one.error and one.counts != other.counts:
            found.append(f"{verb}: {one.counts!r}; plain SQLAlchemy: {other.counts!r}")
        elif not one.error:
            excused = set() if verb in FRESH_VERBS else {(mine.identities[place], name) for place, name in expired}
            if number < len(case.steps) and _is_by_chance(case, case.steps[number], other):
                one, other = (_in_one_order(case, verb, done) for done in (one, other))
            found += [f"{verb}: {what}" for what in _unlike_objects(case, one, other, excused)]
            if verb in FRESH_VERBS:
                # Of two objects that one flush updates, SQLAlchemy gives the second what was made for the first.
                lagging = _stale(other).keys()
                found += [f"{verb}: {what}" for name, what in _stale(one).items() if name not in lagging]
    if len(mine.done) != len(theirs.done):
        found.append(f"the last flush: {_told(mine.done[-1])}; plain SQLAlchemy: {_told(theirs.done[-1])}")
    for (place, name), what in mine.stale.items():
        # SQLAlchemy's own objects lag behind too: composites, relations, what an UPDATE of several rows has made.
        if (place, name) not in theirs.stale and theirs.flushed.get((place, name)) != what:
            found.append(f"held row {place}: {what}")
    for number, place, name in sorted(mine.lost & theirs.shown):
        if number not in mine.refused:
            found.append(f"{case.steps[number].verb}: held row {place} has {name} not loaded any more")
    for place, name in sorted(mine.unloaded - expired):
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
    if step is None or None in pair:
        return False
    # Of a row that is wrong in two ways, either may be told; and of two rows, the one or the other.
    twice = step.wrong is not None and bool(EITHER & {*pair})
    return twice or (len(step.rows) > 1 and {*pair} == {"NotFound", "VersionConflict"})


def _is_by_chance(case: Case, step: Step, done: Done) -> bool:
    """Tell whether rows are listed by values that defaults made: in the order in which verbs come to make them."""
    made = case.made
    drawn = made.counted | {name for name in made.masked if getattr(made.fields.get(name), "name", "") == "uuid key"}
    given = (*case.rows, *(row for other in case.steps for row in other.rows))
    return step.verb in LISTS and any(
        repr(row.get(name)) not in {repr(one.get(name)) for one in given}
        for name in drawn & {*(step.order or ())[:1], *made.key}
        for row in done.fresh
    )


def _in_one_order(case: Case, verb: str, done: Done) -> Done:
    """Return it with its rows in the order of what two runs have in common; without them, if they are a part of all."""
    if verb == "get_all":
        return replace(done, identities=[""] * len(done.identities), objects=[], fresh=[])
    vague = case.made.masked | case.made.counted
    shown = [repr(sorted((n, repr(v)) for n, v in row.items() if n not in vague)) for row in done.fresh]
    order = sorted(range(len(shown)), key=shown.__getitem__)
    lists = {name: [getattr(done, name)[n] for n in order] for name in ("identities", "objects", "fresh")}
    return replace(done, **lists)


def _unlike_objects(case: Case, one: Done, other: Done, excused: set[tuple[str, str]]) -> list[str]:
    if len(one.identities) != len(other.identities):
        return [f"{len(one.identities)} objects; plain SQLAlchemy: {len(other.identities)}"]
    vague = case.made.masked | case.made.counted
    found = []
    for mine, theirs in zip(one.fresh, other.fresh, strict=True):
        for name, value in theirs.items():
            if name not in vague and not same(mine.get(name), value):
                found.append(f"the row of an object has {name} {mine.get(name)!r}; plain SQLAlchemy: {value!r}")
    for identity, mine, theirs in zip(one.identities, one.objects, other.objects, strict=False):
        # As above.
        lacking = theirs.keys() - mine.keys() - {"later"}
        missing = sorted(name for name in lacking if (identity, name) not in excused)
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


def _stale(done: Done) -> dict[str, str]:
    """Tell what a returned object does not show as it is stored, by attribute."""
    found = {}
    for shown, stored in zip(done.objects, done.fresh, strict=True):
        wrong = [name for name in stored if name in shown and not same(shown[name], stored[name])]
        found |= {n: f"the object's {n} is {shown[n]!r}, stored is {stored[n]!r}" for n in wrong}
    return found
