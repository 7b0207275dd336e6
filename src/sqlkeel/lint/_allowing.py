"""What is let through, and why: at the model, or in pyproject.toml."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final

from ..errors import ConfigurationError
from ._finding import Finding, Schema, Source
from ._locating import source_of

__all__ = ["Allowance", "allow", "allowances_in", "parse_ignore", "sift"]

_MARK: Final = "sqlkeel.allow:"
_EXAMPLE: Final = 'ignore = {"singular-table:posts" = "the name that customers know"}'


def allow(code: str, reason: str) -> dict[str, str]:
    """Let a column or table break a rule, and say why; for ``info=``.

    ``mapped_column(Float, info=allow("inexact-money", "an estimate"))`` for a column, ``__table_args__ = {"info":
    allow(...)}`` for a table with all that is in it; several are joined, ``allow(...) | allow(...)``. One that lets
    nothing through is found by the rule ``unused-ignore``.

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
    """Patterns, ``*`` for anything; a finding is covered when one of them is its place."""

    reason: str
    text: str
    """How it was written, so that it can be found again."""

    source: Source | None = field(default=None, compare=False)
    """Where it was written, for one at a model."""

    def covers(self, code: str, where: str) -> bool:
        """Return whether it lets this pass."""
        return code == self.code and any(fnmatchcase(where, place) for place in self.places)


def allowances_in(schema: Schema) -> Iterator[Allowance]:
    """Yield what `allow` says in the ``info`` of tables and columns."""
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
    """Read ``{"code": reason, "code:place": reason}``; without a place it holds everywhere, ``*`` stands for anything.

    Raises:
        ConfigurationError: For a list, which has no reasons, and for an empty reason.
    """
    if not isinstance(ignore, Mapping):
        raise ConfigurationError(f"{setting} is a list, which has no reasons.", hint=f"Write {_EXAMPLE}")
    return [_entry(str(entry), reason) for entry, reason in ignore.items()]


def sift(found: Iterable[Finding], allowances: Iterable[Allowance]) -> tuple[list[Finding], list[Allowance]]:
    """Return the findings that nothing lets through, sorted, and the allowances that let nothing through."""
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
