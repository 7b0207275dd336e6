"""Conditional requests by version (RFC 9110, section 13), for any framework."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from ..errors import InvalidETag, PreconditionRequired
from ..versions import Versions

__all__ = ["ANY", "READ_RESPONSES", "WRITE_RESPONSES", "Versions", "etag", "expected_versions", "is_known", "require"]

READ_RESPONSES: Final = {304: "The client has this version: there is no body."}
WRITE_RESPONSES: Final = {
    400: "If-Match is not a list of entity tags.",
    412: "It was changed since it was read; nothing was written.",
    428: "If-Match is missing.",
}
"""The responses that the headers add to an operation, by status, for its description."""

_ITEM: Final = re.compile(r'[ \t]*(?:(W/)?"([\x21\x23-\x7e\x80-\xff]*)"[ \t]*)?(?:,|\Z)')
_VERSION: Final = re.compile(r"0|[1-9][0-9]{0,17}", re.ASCII)


class _Any:
    """A container of all versions, for ``*``, which only requires that the resource exists."""

    def __contains__(self, version: object) -> bool:
        return True

    def __repr__(self) -> str:
        return "ANY"


ANY: Final = _Any()
"""The expectation of ``If-Match: *``."""


class _Tag(NamedTuple):
    weak: bool
    version: int | None
    """``None`` for a tag that no version of ours has."""


def etag(version: int) -> str:
    """Return the strong entity tag of a version, including its quotes: ``"3"``.

    A tag belongs to one URL, so it need not name the resource. Use it for a representation that only changes with the
    version: an aggregate whose root is touched, but not a list, or a row shown with data of other tables.
    """
    return f'"{version}"'


def expected_versions(lines: Iterable[str]) -> Versions | None:
    """Return the versions that the ``If-Match`` lines expect; ``None`` if there are no lines.

    Tags are compared strongly: a weak tag, or one that is not a version, matches nothing. If no version remains, every
    version is a conflict.

    Raises:
        InvalidETag: When it is not a list of entity tags.
    """
    tags = _parse("If-Match", lines)
    if tags is None or isinstance(tags, _Any):
        return tags
    versions = {tag.version for tag in tags if not tag.weak and tag.version is not None}
    return versions.pop() if len(versions) == len(tags) == 1 else frozenset(versions)


def require(versions: Versions | None) -> Versions:
    """Return *versions*, which must be given, because otherwise a lost update cannot be detected (RFC 6585).

    Raises:
        PreconditionRequired: When there are none.
    """
    if versions is None:
        raise PreconditionRequired("The request does not say which version it changes.")
    return versions


def is_known(lines: Iterable[str], version: int) -> bool:
    """Return whether the ``If-None-Match`` lines name *version*, compared weakly: the client already has it.

    Raises:
        InvalidETag: When it is not a list of entity tags.
    """
    tags = _parse("If-None-Match", lines)
    if tags is None or isinstance(tags, _Any):
        return tags is ANY
    return version in {tag.version for tag in tags}


def _parse(name: str, lines: Iterable[str]) -> _Any | list[_Tag] | None:
    given = list(lines)
    if not given:
        return None
    value = ",".join(given)
    if value.strip(" \t") == "*":
        return ANY
    tags = list(_tags(name, value))
    if not tags:
        raise InvalidETag(f"{name} contains no entity tag.")
    return tags


def _tags(name: str, value: str) -> Iterator[_Tag]:
    place = 0
    while place < len(value):
        item = _ITEM.match(value, place)
        if item is None:
            raise InvalidETag(f"{name} is not a list of entity tags.")
        weak, opaque = item.groups()
        if opaque is not None:
            yield _Tag(weak is not None, int(opaque) if _VERSION.fullmatch(opaque) else None)
        place = item.end()
