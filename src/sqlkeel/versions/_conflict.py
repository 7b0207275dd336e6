"""Conflicts of versions: the versions that a caller expects, and the error for a row at another version."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import islice
from typing import Any, Final, TypeAlias, cast

from sqlalchemy import inspect as sa_inspect
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm.exc import ObjectDeletedError

from ..errors import InvalidValue, NotSupported, UsageError, VersionConflict, shown
from ..models._key_columns import plain_key

__all__ = ["Versions", "at_version", "conflict_of", "refuse_other_version"]

Versions: TypeAlias = int | Container[int]
"""The version that a client expects, or several acceptable ones."""

_NO_VERSIONS: Final = (bool, str, bytes, bytearray, memoryview, type)
"""Types that would look like one or several versions: True equals 1, and bytes contain integers."""

_MOST_NAMED: Final = 100
"""How many expected versions a conflict keeps: a range may have more than fit into memory."""


def conflict_of(
    model: str, identity: Sequence[Any], row: Mapping[str, Any] | None, *, version: str, expected: Versions | None
) -> VersionConflict:
    """Return the error for a row whose version is not *expected*; the caller has compared the versions.

    Args:
        model: The name of the row's class.
        identity: The values of the row's key.
        row: The current values of the row, by attribute; ``None`` if the row no longer exists.
        version: The name of the version attribute.
        expected: The version or versions that the caller has read or passed; ``None`` if unknown.
    """
    current = None if row is None else row[version]
    return VersionConflict(model, plain_key(identity), expected=_named(expected), current=current, current_row=row)


def _named(expected: Versions | None) -> int | frozenset[int] | None:
    """Return the expected version, or the set of them; ``None`` for a container that is not a small set of integers."""
    if isinstance(expected, _NO_VERSIONS) or not isinstance(expected, Container):
        return cast("int | None", expected)  # a version that an application generates itself may be a string
    named = list(islice(expected, _MOST_NAMED + 1)) if isinstance(expected, Collection) else [None]
    are_told = len(named) <= _MOST_NAMED and all(isinstance(version, int) for version in named)
    return frozenset(cast("list[int]", named)) if are_told else None


async def at_version(session: AsyncSession, function: Callable[..., object], obj: Any, *args: Any) -> None:
    """Call ``function(obj, *args)``, which reads the version of *obj*, and await its reload if it has expired."""
    state: Any = sa_inspect(obj)
    version = state.mapper.version_id_col
    if version is not None and state.mapper.get_property_by_column(version).key in state.expired_attributes:
        await session.run_sync(lambda _: function(obj, *args))
    else:
        function(obj, *args)


def refuse_other_version(obj: Any, expected: Versions) -> None:
    """Refuse *obj* if it is not at an *expected* version.

    Raises:
        VersionConflict: When it is at another version; the error has the loaded values.
        NotSupported: When the model has no version.
        InvalidValue: When *expected* is neither a version nor a set of versions.
        UsageError: When the object is not written yet.
    """
    state: Any = sa_inspect(obj)
    mapper, name = state.mapper, type(obj).__name__
    if mapper.version_id_col is None:
        raise NotSupported(f"{name} has no version.", hint="Give the model the VersionMixin.")
    if isinstance(expected, _NO_VERSIONS) or not isinstance(expected, (int, Container)):
        raise InvalidValue(f"{shown(expected)} is not a version.", hint="expected_version=3, or a set of several.")
    if isinstance(expected, (AbstractSet, list, tuple)):
        for one in expected:
            if isinstance(one, bool) or not isinstance(one, int):
                raise InvalidValue(f"{shown(one)} is not a version.", hint="{3, 4}, a set of integers.")
    if state.identity is None:
        raise UsageError(f"The {name} is not written yet, and has no version.", hint="Leave out the version.")
    version = mapper.get_property_by_column(mapper.version_id_col).key
    current = _version(obj, version)
    accepted: Container[int] = (expected,) if isinstance(expected, int) else expected
    if current is None or not _holds(accepted, current):
        loaded = vars(obj)
        row = None
        if current is not None:
            row = {prop.key: loaded[prop.key] for prop in mapper.column_attrs if prop.key in loaded}
        raise conflict_of(name, state.identity, row, version=version, expected=expected)


def _holds(accepted: Container[int], version: int) -> bool:
    try:
        return version in accepted
    except Exception as error:  # a container of something else, such as a network of addresses
        raise InvalidValue(f"{shown(accepted)} is not a set of versions.", hint="{3, 4}, a set of integers.") from error


def _version(obj: Any, key: str) -> int | None:
    """Return the version, reloaded if it has expired; ``None`` if the row is gone."""
    try:
        return cast("int", getattr(obj, key))
    except ObjectDeletedError:
        return None
