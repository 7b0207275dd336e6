"""What Python makes for the columns that rows leave out: called as often, and with as much, as SQLAlchemy calls it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise, repeat, starmap
from traceback import walk_tb
from typing import Any

from sqlalchemy import Column
from sqlalchemy.exc import StatementError

from .. import _sqlalchemy_tables as private
from ..errors import NotSupported

__all__ = ["Constant", "Context", "Made", "call_once", "raised_by_default"]

_Quick = Mapping[Column[Any], Callable[[], Any]]


class Constant:
    """A value that every row gets, in the form of a default of SQLAlchemy."""

    is_callable = False

    def __init__(self, arg: Any) -> None:
        self.arg = arg


class Context:
    """What a default with a parameter is given: the other values of its row, by the keys of their columns."""

    def __init__(self, parameters: dict[str, Any]) -> None:
        self.current_parameters = parameters

    def get_current_parameters(self, isolate_multiinsert_groups: bool = True) -> dict[str, Any]:
        """Return the values of the row, those that earlier defaults made among them."""
        return self.current_parameters

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise NotSupported(
            f"A default asks its context for {name!r}, which many rows written at once do not have.",
            hint="Write these rows with session.add_all(), or compute the value before the call.",
        )


class Made:
    """The values made for some columns: *defaults* are SQLAlchemy's, or a `Constant`; *given* the rows' own columns.

    A default without a parameter is called once for each row. One with a parameter sees what was given and what was
    made before it, in the order of the table: what the ORM passes for the same row. That is ``None`` for the rest of a
    *new* one, and nothing for the rest of one that is updated.
    """

    def __init__(self, given: Sequence[Column[Any]], defaults: Mapping[Column[Any], Any], *, new: bool = False) -> None:
        self.columns = tuple(defaults)
        self._defaults = defaults
        self._keys = [column.key for column in given]
        self.in_turn = any(one.is_callable and private.plain_function(one.arg) is None for one in defaults.values())
        self._blank = dict.fromkeys(column.key for column in defaults)
        for column in next((one.table.columns for one in (*given, *defaults)), ()) if new else ():
            if column.default is None and column.server_default is None and not column.primary_key:
                self._blank.setdefault(column.key)

    def quick(self, makers: Mapping[Callable[..., Any], Callable[[], Any]]) -> dict[Column[Any], Callable[[], Any]]:
        """Return, for the columns whose function *makers* know, the faster one."""
        plain = {column: private.plain_function(one.arg) or one.arg for column, one in self._defaults.items()}
        return {column: makers[make] for column, make in plain.items() if callable(make) and make in makers}

    def values(self, records: Sequence[Sequence[Any]], quick: _Quick) -> list[Iterable[Any]]:
        """Return the values of each column; *quick* has other functions for some of them."""
        if not self.in_turn:
            return [_plain(one, len(records), quick.get(column)) for column, one in self._defaults.items()]
        made: list[list[Any]] = [[] for _ in self._defaults]
        for record in records:
            given = dict(zip(self._keys, record, strict=True))
            for values, value in zip(made, self.of_row(given).values(), strict=True):
                values.append(value)
        return [*made]

    def of_row(self, given: Mapping[str, Any]) -> dict[Column[Any], Any]:
        """Return what is made for a row with these values, by the keys of their columns."""
        parameters = {**self._blank, **given}
        context, made = Context(parameters), {}
        for column, default in self._defaults.items():
            made[column] = parameters[column.key] = call_once(default, context)
        return made


def call_once(default: Any, context: Context) -> Any:
    """Return what a default makes for the row of *context*."""
    return default.arg(context) if default.is_callable else default.arg


def raised_by_default(error: BaseException) -> Exception | None:
    """Return what a default or ``onupdate`` of the caller's raised, in whatever SQLAlchemy, or we, have wrapped it."""
    own = error.orig if isinstance(error, StatementError) else None
    if not isinstance(own, Exception):
        return None
    frames = [frame for frame, _ in walk_tb(own.__traceback__)]
    for frame, called in pairwise(frames):
        # SQLAlchemy's method that asks for them has no public name. What it calls of its own module is no function of
        # the caller's, but a statement.
        if frame.f_code.co_name == private.ASKS_FOR_DEFAULTS and called.f_globals is not frame.f_globals:
            return own
    return None


def _plain(default: Any, count: int, quick: Callable[[], Any] | None) -> Iterable[Any]:
    if not default.is_callable:
        return repeat(default.arg, count)
    # Called here, not while the values are converted: what the function raises is the caller's own error.
    return list(starmap(quick or private.plain_function(default.arg), repeat((), count)))
