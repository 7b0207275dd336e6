"""How cases are drawn: which rows, held objects, changes and verbs, the same for the same seed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from random import Random
from typing import Any, Final

from sqlalchemy import inspect as sa_inspect

from tests.properties.differential.cases import Case, Step
from tests.properties.differential.models import Made

__all__ = ["VERBS", "draw_case"]

TEXTUAL: Final = frozenset({"string", "text", "folding", "email", "citext", "sealed", "domain", "char", "short"})
MOST: Final = 5
"""Rows that are planted, at most."""


def draw_case(made: Made, random: Random) -> Case:
    """Draw an example for a model."""
    return _Draw(made, random).case()


class _Draw:
    """Draws the parts of one case."""

    def __init__(self, made: Made, random: Random) -> None:
        self.made = made
        self.random = random
        self.fixed = {*made.key, *made.unique}
        self.free = [name for name in made.fields if name not in self.fixed]
        self.new = 10

    def case(self) -> Case:
        random, made = self.random, self.made
        count = random.randint(0, MOST) if random.random() < 0.15 else random.randint(2, MOST)
        if not made.made_key and len(made.key) == 1 and (kind := made.fields[made.key[0]]).many is None:
            count = min(count, max(1, len(kind.values) - 2))
        classes = tuple(random.choice([0, 0, *range(len(made.siblings) + 1)]) for _ in range(count))
        self.rows = tuple(self._planted(number, classes[number]) for number in range(count))
        self.classes = classes
        deleted = frozenset(n for n in range(count) if made.soft and random.random() < 0.2)
        self.live = [n for n in range(count) if n not in deleted]
        held = tuple(n for n in self.live if random.random() < 0.6)
        changes = tuple(self._change(n) for n in held if not classes[n] and self.free and random.random() < 0.15)
        if any(made.fields[name].name.endswith("_range") for name in made.key):
            # A flush of SQLAlchemy's sorts its objects by their keys, which cannot be done with ranges.
            changes = changes[:1]
        steps = tuple(self._step() for _ in range(random.choice((1, 1, 2, 3))))
        return Case(made, self.rows, classes, deleted, held, changes, steps)

    def _planted(self, number: int, place: int) -> dict[str, Any]:
        row = {**self._key(number), **self._unique(number)}
        known = {attribute.key for attribute in sa_inspect((self.made.model, *self.made.siblings)[place]).column_attrs}
        for name in self.free:
            if name in known:
                row[name] = self._value(name, number)
        return row

    def _change(self, number: int) -> tuple[int, str, Any]:
        name = self.random.choice(self.free)
        return number, name, self._value(name, 60 + number)

    def _key(self, number: int) -> dict[str, Any]:
        kinds = [(name, self.made.fields[name]) for name in self.made.key]
        if len(kinds) == 1:
            return {name: kind.distinct(number) for name, kind in kinds}
        (first, one), (second, two) = kinds
        if one.many is None:
            return {first: one.values[number % len(one.values)], second: two.distinct(number)}
        return {first: one.distinct(number), second: two.values[number % len(two.values)]}

    def _unique(self, number: int) -> dict[str, Any]:
        fields = self.made.fields
        if "part" not in fields:
            return {"code": fields["code"].distinct(number)}
        return {"code": fields["code"].distinct(number % 3), "part": fields["part"].distinct(number)}

    def _value(self, name: str, number: int) -> Any:
        kind = self.made.fields[name]
        if name in {"other", "public_id"}:
            return kind.distinct(number) if name == "public_id" or self.random.random() < 0.7 else None
        if name not in self.made.required and name != "d_scalar" and self.random.random() < 0.15:
            return None
        return kind.draw(self.random)

    def _fields(self) -> list[str]:
        """Choose the fields of a row: those that must be, and some of the others."""
        share = self.random.choice((0.3, 0.7, 1.0))
        return [name for name in self.free if name in self.made.required or self.random.random() < share]

    def _fresh(self) -> int:
        self.new += 1
        return self.new

    def _new_row(self, fields: Iterable[str], number: int, *, planted: int | None = None) -> dict[str, Any]:
        """Return a row with a number's keys; those of a planted row where it is to meet that."""
        row: dict[str, Any] = {}
        if not self.made.made_key or (planted is None and self.random.random() < 0.15):
            row |= self._key(number)
        row |= self._unique(number) if planted is None else {n: self.rows[planted][n] for n in self.made.unique}
        if planted is not None and not self.made.made_key:
            row |= {name: self.rows[planted][name] for name in self.made.key}
        return row | {name: self._value(name, number) for name in fields}

    def _number(self) -> int:
        """Return the number of a new row; one in a key of few values."""
        kind = self.made.fields[self.made.key[0]]
        if not self.made.made_key and len(self.made.key) == 1 and kind.many is None:
            return len(kind.values) - 1 if self.random.random() < 0.5 else min(len(self.rows), len(kind.values) - 1)
        return self._fresh()

    def _step(self) -> Step:
        made = self.made
        verbs = [verb for verb in VERBS if verb not in {"restore", "mutate"}]
        verbs += ["restore", "delete"] * made.soft + ["mutate"] * bool(made.mutable)
        verb = self.random.choice(verbs)
        if verb in NEEDS_ROW and not self.rows:
            verb = "insert_many"
        return VERBS[verb](self, verb)

    def insert(self, verb: str) -> Step:
        count = 1 if verb == "create" else self.random.randint(1, 4)
        numbers = [self._number() for _ in range(count)]
        if self._has_few_keys():
            numbers = numbers[:1]
        if self.rows and self.random.random() < 0.08:
            numbers[-1] = self.random.randrange(len(self.rows))
        fields = self._fields()
        alike = self.random.random() < 0.5
        rows = [self._new_row(fields if alike else self._fields(), number) for number in numbers]
        wrong = self._spoil(rows)
        if verb == "create":
            accepted = _accepted(self.made)
            rows = [{name: value for name, value in row.items() if name in accepted} for row in rows]
        return Step(verb, tuple(rows), wrong=wrong)

    def update_rows(self, verb: str) -> Step:
        made, random = self.made, self.random
        chosen = random.choices(range(len(self.rows)), k=1 if verb == "update" else random.randint(1, 4))
        if random.random() < 0.8:
            chosen = list(dict.fromkeys(chosen))
            chosen = [n for n in chosen if n in self.live and not self.classes[n]] or chosen[:1]
        alike, rows = random.random() < 0.5, []
        fields = [name for name in self._fields() if name in self.free]
        for number in chosen:
            names = fields if alike else self._fields()
            row = {name: self._value(name, number) for name in names}
            row |= self._recased(number, names)
            if random.random() < 0.15:
                row["code"] = made.fields["code"].distinct(self._fresh())
            if not row:
                row["n"] = self._value("n", 0)
            key = dict(zip(made.key, (self.rows[number][name] for name in made.key), strict=True))
            if verb == "update_many" and random.random() < 0.06:
                key = self._key(self._number())
            if verb == "update_many" and made.version and "revision" not in made.masked and random.random() < 0.25:
                row[made.version] = random.choice((1, 1, 1, 2))
            rows.append({**row, **key} if random.random() < 0.5 else {**key, **row})
        wrong = self._spoil(rows)
        if verb == "update":
            rows = [{name: value for name, value in rows[0].items() if name not in made.key and name != made.version}]
        return Step(verb, tuple(rows), row=chosen[0], wrong=wrong)

    def upsert_rows(self, verb: str) -> Step:
        made, random = self.made, self.random
        count = random.randint(1, 4) if verb == "upsert_many" else 1
        fields, alike = self._fields(), random.random() < 0.5
        rows: list[dict[str, Any]] = []
        met = list(range(len(self.rows)))
        for _ in range(count):
            names = fields if alike else self._fields()
            if met and random.random() < 0.65:
                planted = random.choice(met)
                if random.random() < 0.85:
                    met.remove(planted)
                row = self._new_row(names, planted, planted=planted)
                if random.random() < 0.3:
                    row |= {n: self.rows[planted][n] for n in names if n in self.rows[planted] and n != "other"}
                rows.append(row | self._recased(planted, names))
            elif not self._has_few_keys():
                rows.append(self._new_row(names, self._number()))
        rows = rows or [self._new_row(fields, self._number())]
        on = made.unique
        if not made.made_key and random.random() < 0.3:
            on = made.key
        update = None
        if random.random() < 0.25:
            shared = [name for name in rows[0] if all(name in row for row in rows) and name not in self.fixed]
            update = tuple(name for name in shared if random.random() < 0.5)
        wrong = self._spoil(rows)
        return Step(verb, tuple(rows), on=on, update=update if verb != "get_or_create" else (), wrong=wrong)

    def _recased(self, planted: int, names: Iterable[str]) -> dict[str, Any]:
        """Now and then, change nothing of the texts of a planted row but the case."""
        if self.random.random() > 0.2:
            return {}
        texts = {name: self.rows[planted].get(name) for name in names if self.made.fields[name].name in TEXTUAL}
        recased = {name: "aaG" if text == "aaa" else text.swapcase() for name, text in texts.items() if text}
        return {
            name: text for name, text in recased.items() if self.made.fields[name].name != "sealed" or text == "aaG"
        }

    def keys(self, verb: str) -> Step:
        random = self.random
        chosen = random.choices(range(len(self.rows)), k=random.randint(1, 4))
        rows = [{name: self.rows[number][name] for name in self.made.key} for number in chosen]
        if random.random() < 0.3:
            rows.append(self._key(self._number()))
        return Step(verb, tuple(rows))

    def one(self, verb: str) -> Step:
        number = self.random.randrange(len(self.rows))
        if verb == "mutate":
            return Step(verb, row=number, on=(self.random.choice(self.made.mutable),))
        return Step(verb, row=number)

    def ordered(self, verb: str) -> Step:
        names = [*self.made.key, *self.made.fields]
        order = (self.random.choice(names), self.random.random() < 0.5) if self.random.random() < 0.85 else None
        return Step(verb, order=order, size=self.random.randint(1, 4))

    def _spoil(self, rows: list[dict[str, Any]]) -> str | None:
        """Make one value wrong, or leave out one that must be there; not often."""
        if self.random.random() > 0.08:
            return None
        row = self.random.choice(rows)
        wrong = [(name, value) for name in row if name in self.free for value in self.made.fields[name].wrong]
        wrong += [("unknown", 1)]
        wrong += [(name, None) for name in row if name in self.made.required]
        name, value = self.random.choice(wrong)
        row[name] = value
        return name

    def _has_few_keys(self) -> bool:
        return not self.made.made_key and len(self.made.key) == 1 and self.made.fields[self.made.key[0]].many is None


def _accepted(made: Made) -> set[str]:
    """Return what the constructor of a model takes."""
    if dataclasses.is_dataclass(made.model):
        return {one.name for one in dataclasses.fields(made.model) if one.init}
    return {*made.fields}


VERBS: Final[dict[str, Callable[[_Draw, str], Step]]] = {
    "insert_many": _Draw.insert,
    "insert_many_returning": _Draw.insert,
    "create": _Draw.insert,
    "update_many": _Draw.update_rows,
    "update": _Draw.update_rows,
    "upsert_many": _Draw.upsert_rows,
    "upsert": _Draw.upsert_rows,
    "get_or_create": _Draw.upsert_rows,
    "delete_many": _Draw.keys,
    "get_many": _Draw.keys,
    "delete": _Draw.one,
    "restore": _Draw.one,
    "mutate": _Draw.one,
    "get_all": _Draw.ordered,
    "page": _Draw.ordered,
    "stream": _Draw.ordered,
}
NEEDS_ROW: Final = frozenset({"update_many", "update", "delete_many", "get_many", "delete", "restore", "mutate"})
