"""Python defaults for omitted columns, called as often, and with the same context, as SQLAlchemy would call them."""

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
    """A value that every row gets, with the interface of a SQLAlchemy default."""

    is_callable = False

    def __init__(self, arg: Any) -> None:
        self.arg = arg


class Context:
    """The context of a default function: the other values of its row, by column key."""

    def __init__(self, parameters: dict[str, Any]) -> None:
        self.current_parameters = parameters

    def get_current_parameters(self, isolate_multiinsert_groups: bool = True) -> dict[str, Any]:
        """Return the values of the row, including those of earlier defaults."""
        return self.current_parameters

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise NotSupported(
            f"A default reads {name!r} from its context, which does not have it when many rows are written at once.",
            hint="Write these rows with session.add_all(), or compute the value before the call.",
        )


class Made:
    """The generated values of some columns: *defaults* are SQLAlchemy's, or a `Constant`; *given* the rows' columns.

    A default without a parameter is called once per row. One with a parameter sees the given values and earlier
    defaults, in table order, as the ORM would pass them. Remaining columns are ``None`` for a *new* row, and missing
    for an updated one.
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
        """Return the values of each column; *quick* replaces some of the functions."""
        if not self.in_turn:
            return [_plain(one, len(records), quick.get(column)) for column, one in self._defaults.items()]
        made: list[list[Any]] = [[] for _ in self._defaults]
        for record in records:
            given = dict(zip(self._keys, record, strict=True))
            for values, value in zip(made, self.of_row(given).values(), strict=True):
                values.append(value)
        return [*made]

    def of_row(self, given: Mapping[str, Any]) -> dict[Column[Any], Any]:
        """Return the generated values for a row with these values, by column key."""
        parameters = {**self._blank, **given}
        context, made = Context(parameters), {}
        for column, default in self._defaults.items():
            made[column] = parameters[column.key] = call_once(default, context)
        return made


def call_once(default: Any, context: Context) -> Any:
    """Return the value of a default for the row of *context*."""
    return default.arg(context) if default.is_callable else default.arg


def raised_by_default(error: BaseException) -> Exception | None:
    """Return the error that the caller's default or ``onupdate`` raised, however SQLAlchemy or we have wrapped it."""
    own = error.orig if isinstance(error, StatementError) else None
    if not isinstance(own, Exception):
        return None
    frames = [frame for frame, _ in walk_tb(own.__traceback__)]
    for frame, called in pairwise(frames):
        # The SQLAlchemy method that calls defaults has no public name. A function of its own module that it calls is
        # not the caller's, but part of a statement.
        if frame.f_code.co_name == private.ASKS_FOR_DEFAULTS and called.f_globals is not frame.f_globals:
            return own
    return None


def _plain(default: Any, count: int, quick: Callable[[], Any] | None) -> Iterable[Any]:
    if not default.is_callable:
        return repeat(default.arg, count)
    # Called here, not while the values are converted: what the function raises is the caller's own error.
    return list(starmap(quick or private.plain_function(default.arg), repeat((), count)))
