"""An error that says what to load, for an unloaded attribute of an object without a session."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from sqlalchemy.orm import Mapper
from sqlalchemy.orm.exc import DetachedInstanceError

from ..errors import DetachedAttribute

__all__ = ["explain_detached"]

_Loader = Callable[..., Any]


def explain_detached(mapper: Mapper[Any]) -> None:
    """Make the unloaded attributes of a configured class raise an error that says what to load.

    SQLAlchemy has no event for it. The loader of an attribute is an undocumented attribute; a canary test checks that
    it exists.
    """
    manager: Any = mapper.class_manager
    manager.expired_attribute_loader = _explained(manager.expired_attribute_loader, None)
    for key in mapper.attrs.keys():  # noqa: SIM118 - not a mapping
        attribute: Any = getattr(manager.get(key), "impl", None)
        if getattr(attribute, "callable_", None) is not None:
            attribute.callable_ = _explained(attribute.callable_, key)


def _explained(load: _Loader, key: str | None) -> _Loader:
    @functools.wraps(load)
    def loading(state: Any, *args: Any, **options: Any) -> Any:
        try:
            return load(state, *args, **options)
        except DetachedInstanceError as error:
            is_column = key is None or key in state.mapper.column_attrs
            names = key or ", ".join(sorted(state.expired_attributes))
            raise DetachedAttribute(state.class_.__name__, names, is_column=is_column) from error

    return loading
