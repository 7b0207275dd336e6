"""Versions of rows, which turn a lost update into an error."""

from typing import TYPE_CHECKING

from .._lazy import door

if TYPE_CHECKING:
    from ._conflict import Versions
    from ._trigger_version import TriggerVersionMixin
    from ._version import VersionMixin, touch

__all__ = [
    "TriggerVersionMixin",
    "VersionMixin",
    "Versions",
    "touch",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = door(
        __name__,
        {
            "_conflict": ["Versions"],
            "_trigger_version": ["TriggerVersionMixin"],
            "_version": ["VersionMixin", "touch"],
        },
    )
