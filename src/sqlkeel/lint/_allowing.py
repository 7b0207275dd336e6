"""Exceptions from the rules and their reasons: written in the model, or in pyproject.toml."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final

from ..errors import ConfigurationError
from ._finding import Finding, Schema, Source
from ._locating import source_of

__all__ = ["Allowance", "allow", "allowances_in", "parse_ignore", "suppress"]

_MARK: Final = "sqlkeel.allow:"
_EXAMPLE: Final = 'ignore = {"singular-table:posts" = "the name that customers know"}'


def allow(code: str, reason: str) -> dict[str, str]:
    """Return an ``info=`` that exempts a column or table from a rule, with the reason.

    ``mapped_column(Float, info=allow("inexact-money", "an estimate"))`` exempts a column, ``__table_args__ = {"info":
    allow(...)}`` a table and all its columns. Join several with ``allow(...) | allow(...)``. The rule ``unused-ignore``
    reports an exception that suppresses nothing.

    Raises:
        ConfigurationError: When the reason is empty.
    """
    _require_reason(code, reason)
    return {f"{_MARK}{code}": reason}


@dataclass(frozen=True)
class Allowance:
    """One exception from the rules."""

    code: str
    places: tuple[str, ...]
    """Patterns with ``*`` as wildcard; a finding is covered if one of them matches its place."""

    reason: str
    text: str
    """The exception as it was written, so that the user can find it."""

    source: Source | None = field(default=None, compare=False)
    """Where an exception in a model was written."""

    def covers(self, code: str, where: str) -> bool:
        """Return whether the exception suppresses a finding with this *code* at this place."""
        return code == self.code and any(fnmatchcase(where, place) for place in self.places)


def allowances_in(schema: Schema) -> Iterator[Allowance]:
    """Yield the exceptions that `allow` put into the ``info`` of tables and columns."""
    for table in schema.metadata.tables.values():
        mappers = schema.mappers_of(table)
        for code, reason in _marks(table.info):
            places = (table.fullname, f"{table.fullname}.*")
            yield Allowance(code, places, reason, table.fullname, source_of(mappers, None, table=table))
        for column in table.columns:
            for code, reason in _marks(column.info):
                place = f"{table.fullname}.{column.name}"
                yield Allowance(code, (place,), reason, place, source_of(mappers, column.name, table=table))


def parse_ignore(ignore: Any, *, setting: str = "ignore") -> list[Allowance]:
    """Read ``{"code": reason, "code:place": reason}``; without a place, the exception applies everywhere.

    Raises:
        ConfigurationError: For a list, which has no reasons, and for an empty reason.
    """
    if not isinstance(ignore, Mapping):
        raise ConfigurationError(f"{setting} is a list, which has no reasons.", hint=f"Write {_EXAMPLE}")
    return [_entry(str(entry), reason) for entry, reason in ignore.items()]


def suppress(found: Iterable[Finding], allowances: Iterable[Allowance]) -> tuple[list[Finding], list[Allowance]]:
    """Return the findings that no exception suppresses, sorted, and the exceptions that suppress nothing."""
    given, idle, kept = list(allowances), set(allowances), []
    for finding in sorted(set(found)):
        covering = {one for one in given if one.covers(finding.code, finding.where)}
        idle -= covering
        if not covering:
            kept.append(finding)
    return kept, [one for one in given if one in idle]


def _entry(entry: str, reason: object) -> Allowance:
    _require_reason(entry, reason)
    code, _, place = entry.partition(":")
    return Allowance(code, (place or "*",), str(reason), entry)


def _marks(info: Mapping[Any, Any]) -> Iterator[tuple[str, str]]:
    for key, reason in info.items():
        if isinstance(key, str) and key.startswith(_MARK):
            yield key.removeprefix(_MARK), reason


def _require_reason(entry: str, reason: object) -> None:
    if not isinstance(reason, str) or not reason.strip():
        raise ConfigurationError(f'Ignoring "{entry}" needs a reason.', hint=f"Write {_EXAMPLE}")
