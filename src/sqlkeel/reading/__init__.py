"""Reading: relationships loaded with the query, and pages."""

from typing import TYPE_CHECKING

from .._lazy import door

if TYPE_CHECKING:
    from ._loading import Load, loader_options
    from ._pagination import OrderBy, Page

__all__ = [
    "Load",
    "OrderBy",
    "Page",
    "loader_options",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = door(
        __name__,
        {
            "_loading": ["Load", "loader_options"],
            "_pagination": ["OrderBy", "Page"],
        },
    )
