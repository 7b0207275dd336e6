"""Combine our methods with those that a project's own session class overrides, so that neither bypasses the other."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar, cast

from sqlalchemy.orm import Session

from ..errors import ConfigurationError

__all__ = ["renewable", "stand_before"]

_W = TypeVar("_W", bound=Callable[..., Any])

_AROUND: Final = "_sqlkeel_around"
"""The attribute of a wrapped method that holds the function which wrapped it."""


def renewable(wrap: _W) -> _W:
    """Decorate *wrap*, which wraps methods, so that `stand_before` can apply the same wrapper to another method."""

    @functools.wraps(wrap)
    def wrapping(method: Any) -> Any:
        wrapped = wrap(method)
        inner = getattr(method, _AROUND, None)
        setattr(wrapped, _AROUND, lambda other: wrapping(other if inner is None else inner(other)))
        return wrapped

    return cast("_W", wrapping)


def stand_before(kind: type, ours: type) -> None:
    """Make the methods of *ours* call the overrides of a class after it in *kind*, instead of SQLAlchemy's methods.

    For ``class Session(SyncSession, Audited)``. Our methods hold a reference to SQLAlchemy's method, because calling
    ``super()`` each time would take as long as the rest of the wrapper.

    Raises:
        ConfigurationError: When a class before *ours* overrides the same method, and would not call ours.
    """
    place = kind.__mro__.index(ours)
    if kind.__mro__[place + 1] is Session:
        return
    for name, method in vars(ours).items():
        stock, theirs = getattr(Session, name, None), getattr(super(ours, kind), name, None)
        if theirs is stock or not hasattr(method, _AROUND) or inspect.unwrap(method) is not stock:
            continue
        if getattr(kind, name) is method:
            setattr(kind, name, getattr(method, _AROUND)(theirs))
        elif not _is_among(kind.__mro__[:place], name, theirs):
            raise _passed_by(kind, ours, name)


def _is_among(classes: Iterable[type], name: str, method: Any) -> bool:
    return any(name in vars(one) and inspect.unwrap(vars(one)[name]) is inspect.unwrap(method) for one in classes)


def _passed_by(kind: type, ours: type, method: str) -> ConfigurationError:
    behind = kind.__mro__[kind.__mro__.index(ours) + 1 :]
    owner = next(one.__name__ for one in behind if method in vars(one))
    names = ", ".join(one.__name__ for one in (*(one for one in kind.__bases__ if one is not ours), ours))
    return ConfigurationError(
        f"{owner}.{method}() would not be called in {kind.__name__}.", hint=f"class {kind.__name__}({names}): ..."
    )
