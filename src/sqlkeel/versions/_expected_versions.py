"""The version that a client saw, compared with that of the object which is about to be changed."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any, Final, TypeAlias, cast

from sqlalchemy import inspect as sa_inspect
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm.exc import ObjectDeletedError

from ..errors import InvalidValue, NotSupported, UsageError, VersionConflict, shown
from ..models._key_columns import plain_key

__all__ = ["Versions", "at_version", "refuse_other_version"]

Versions: TypeAlias = int | Container[int]
"""The version that a client expects, or several of them."""

_NO_VERSIONS: Final = (bool, str, bytes, bytearray, memoryview, type)
"""What would pass for one or for several: True equals 1, and bytes are numbers."""


async def at_version(session: AsyncSession, function: Callable[..., object], obj: Any, *args: Any) -> None:
    """Call ``function(obj, *args)``, which reads the version of *obj*, and wait where a commit has made that expire."""
    state: Any = sa_inspect(obj)
    version = state.mapper.version_id_col
    if version is not None and state.mapper.get_property_by_column(version).key in state.expired_attributes:
        await session.run_sync(lambda _: function(obj, *args))
    else:
        function(obj, *args)


def refuse_other_version(obj: Any, expected: Versions) -> None:
    """Refuse *obj* where it is at another version than the *expected* one.

    Raises:
        VersionConflict: When it is; the row as it is loaded comes with it.
        NotSupported: When the model has no version.
        InvalidValue: When *expected* is neither a version nor a set of them.
        UsageError: When the object is not written yet.
    """
    state: Any = sa_inspect(obj)
    mapper, name = state.mapper, type(obj).__name__
    if mapper.version_id_col is None:
        raise NotSupported(f"{name} has no version.", hint="Give the model the VersionMixin.")
    if isinstance(expected, _NO_VERSIONS) or not isinstance(expected, (int, Container)):
        raise InvalidValue(f"{shown(expected)} is no version.", hint="expected_version=3, or a set of several.")
    if state.identity is None:
        raise UsageError(f"The {name} is not written yet, and has no version.", hint="Leave out the version.")
    current = _version(obj, mapper.get_property_by_column(mapper.version_id_col).key)
    accepted: Container[int] = (expected,) if isinstance(expected, int) else expected
    if current is None or not _holds(accepted, current):
        known = expected if isinstance(expected, int) else None
        key, loaded = state.identity, vars(obj)
        row = None
        if current is not None:
            row = {prop.key: loaded[prop.key] for prop in mapper.column_attrs if prop.key in loaded}
        raise VersionConflict(name, plain_key(key), expected=known, current=current, current_row=row)


def _holds(accepted: Container[int], version: int) -> bool:
    try:
        return version in accepted
    except Exception as error:  # one of something else: a network holds addresses
        raise InvalidValue(f"{shown(accepted)} is no set of versions.", hint="{3, 4}, of whole numbers.") from error


def _version(obj: Any, key: str) -> int | None:
    """Return the version, read again where it has expired; ``None`` where the row is gone."""
    try:
        return cast("int", getattr(obj, key))
    except ObjectDeletedError:
        return None
