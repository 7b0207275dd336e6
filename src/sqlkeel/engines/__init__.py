"""What differs between the databases below the ORM: connecting, beginning, limits and faults."""

from typing import TYPE_CHECKING

from .._lazy import door

if TYPE_CHECKING:
    from ._stock import translate_errors

__all__ = [
    "translate_errors",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = door(
        __name__,
        {
            "_stock": ["translate_errors"],
        },
    )
