"""The version that a client saw, compared with that of the object which is about to be changed."""

from __future__ import annotations

from collections.abc import Container
from typing import Any, TypeAlias, cast

from sqlalchemy import inspect as sa_inspect

from .errors import InvalidValue, NotSupported, UsageError, VersionConflict

__all__ = ["Versions", "refuse_other_version"]

Versions: TypeAlias = int | Container[int]
"""The version that a client expects, or several of them."""


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
    if isinstance(expected, str) or not isinstance(expected, (int, Container)):
        raise InvalidValue(f"{expected!r} is no version.", hint="expected_version=3, or a set of several.")
    if state.identity is None:
        raise UsageError(f"The {name} is not written yet, and has no version.", hint="Leave out the version.")
    current = cast("int", getattr(obj, mapper.get_property_by_column(mapper.version_id_col).key))
    if current not in ((expected,) if isinstance(expected, int) else expected):
        known = expected if isinstance(expected, int) else None
        key, loaded = state.identity, vars(obj)
        row = {prop.key: loaded[prop.key] for prop in mapper.column_attrs if prop.key in loaded}
        raise VersionConflict(name, key[0] if len(key) == 1 else key, expected=known, current=current, current_row=row)
