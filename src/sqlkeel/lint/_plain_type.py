"""The type inside a decorator that only gives it another name."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy.types import TypeDecorator

__all__ = ["plain_type"]

_CONVERTS: Final = (
    "process_bind_param",
    "process_result_value",
    "load_dialect_impl",
    "bind_processor",
    "result_processor",
)


def plain_type(kind: Any) -> Any:
    """Return the type that a column stores; a `TypeDecorator` that converts values is returned as it is."""
    if not isinstance(kind, TypeDecorator) or any(
        getattr(type(kind), name) is not getattr(TypeDecorator, name) for name in _CONVERTS
    ):
        return kind
    return plain_type(kind.impl_instance)
