"""Soft delete: rows are marked instead of removed, can be restored, and are purged once they are old enough."""

from typing import TYPE_CHECKING

from .._lazy import door

if TYPE_CHECKING:
    from ._purge import Purged, count_old, purge, purge_in
    from ._soft_delete import SoftDeleteMixin, include_deleted, restore

__all__ = [
    "Purged",
    "SoftDeleteMixin",
    "count_old",
    "include_deleted",
    "purge",
    "purge_in",
    "restore",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = door(
        __name__,
        {
            "_purge": ["Purged", "count_old", "purge", "purge_in"],
            "_soft_delete": ["SoftDeleteMixin", "include_deleted", "restore"],
        },
    )
