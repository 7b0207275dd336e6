"""Models: the base class, keys, constraint names, relationships, and constraints among live rows."""

from typing import TYPE_CHECKING

from .._lazy import door

if TYPE_CHECKING:
    from ._base import Base
    from ._constraints import live_parent, unique_live
    from ._keys import DualIDMixin, IntKeyMixin, UUIDKeyMixin, server_uuid7, uuid7
    from ._naming import NAMING_CONVENTION, metadata_with_names
    from ._public_ids import PublicID
    from ._relations import OnDelete, association, child, children, parent

__all__ = [
    "NAMING_CONVENTION",
    "Base",
    "DualIDMixin",
    "IntKeyMixin",
    "OnDelete",
    "PublicID",
    "UUIDKeyMixin",
    "association",
    "child",
    "children",
    "live_parent",
    "metadata_with_names",
    "parent",
    "server_uuid7",
    "unique_live",
    "uuid7",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = door(
        __name__,
        {
            "_base": ["Base"],
            "_constraints": ["live_parent", "unique_live"],
            "_keys": ["DualIDMixin", "IntKeyMixin", "UUIDKeyMixin", "server_uuid7", "uuid7"],
            "_naming": ["NAMING_CONVENTION", "metadata_with_names"],
            "_public_ids": ["PublicID"],
            "_relations": ["OnDelete", "association", "child", "children", "parent"],
        },
    )
