"""Describe the differences between models and database in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

__all__ = ["describe"]

_KINDS: Final = {"fk": "foreign key"}


def describe(differences: Iterable[Any]) -> list[str]:
    """Return one line per difference: what is missing in the database, extra in it, or different."""
    return list(_lines(differences))


def _lines(differences: Iterable[Any]) -> Iterator[str]:
    for difference in differences:
        if isinstance(difference, list):  # the changes of one column
            yield from _lines(difference)
        else:
            yield _line(difference)


def _line(difference: tuple[Any, ...]) -> str:
    action, *rest = difference
    verb, _, kind = str(action).partition("_")
    if verb == "modify":
        _, table, column, _, found, wanted = rest
        what = f"{kind} {column}" if table is None else f"{table}.{column}: {kind}"
        return f"{what} is {_value(found)}, not {_value(wanted)}"
    word = "has no" if verb == "add" else "has the extra"
    return f"{word} {_name(_KINDS.get(kind, kind.replace('_', ' ')), rest)}"


def _name(kind: str, rest: list[Any]) -> str:
    if kind == "column":
        return f"column {rest[1]}.{rest[2].name}"
    item = rest[0]
    table = getattr(item, "table", None)
    where = f" on {table.name}" if table is not None else ""
    return f"{kind} {item.name}{where}"


def _value(value: Any) -> str:
    return str(getattr(value, "arg", value)) if value is not None else "missing"
