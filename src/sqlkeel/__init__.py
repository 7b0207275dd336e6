"""The data layer of a Python backend: SQLAlchemy 2.1 (async) with the safe patterns built in."""

from typing import TYPE_CHECKING

from ._lazy import door

if TYPE_CHECKING:
    from . import errors
    from ._version import __version__ as __version__
    from .engines._stock import translate_errors
    from .models._base import Base
    from .models._constraints import live_parent, unique_live
    from .models._keys import DualIDMixin, IntKeyMixin, UUIDKeyMixin
    from .models._relations import association, child, children, parent
    from .observe import queries
    from .reading._pagination import Page
    from .repository._repository import Repository
    from .sessions._database import Database
    from .sessions._session import Session, SyncSession
    from .soft_delete._soft_delete import SoftDeleteMixin, include_deleted
    from .timestamps import TimestampMixin
    from .types._exact import Money, UTCDateTime
    from .versions._version import VersionMixin

__all__ = [
    "Base",
    "Database",
    "DualIDMixin",
    "IntKeyMixin",
    "Money",
    "Page",
    "Repository",
    "Session",
    "SoftDeleteMixin",
    "SyncSession",
    "TimestampMixin",
    "UTCDateTime",
    "UUIDKeyMixin",
    "VersionMixin",
    "association",
    "child",
    "children",
    "errors",
    "include_deleted",
    "live_parent",
    "parent",
    "queries",
    "translate_errors",
    "unique_live",
]

if not TYPE_CHECKING:
    # `sqlkeel --help` should not wait for SQLAlchemy or for the metadata of packages.
    __getattr__, __dir__ = door(
        __name__,
        {
            "": ["errors"],
            "_version": ["__version__"],
            "engines._stock": ["translate_errors"],
            "models._base": ["Base"],
            "models._constraints": ["live_parent", "unique_live"],
            "models._keys": ["DualIDMixin", "IntKeyMixin", "UUIDKeyMixin"],
            "models._relations": ["association", "child", "children", "parent"],
            "observe": ["queries"],
            "reading._pagination": ["Page"],
            "repository._repository": ["Repository"],
            "sessions._database": ["Database"],
            # Not of the module that defines it: the listeners and behaviours of every session come with this one.
            "sessions._session": ["Session", "SyncSession"],
            "soft_delete._soft_delete": ["SoftDeleteMixin", "include_deleted"],
            "timestamps": ["TimestampMixin"],
            "types._exact": ["Money", "UTCDateTime"],
            "versions._version": ["VersionMixin"],
        },
        # A session counts the version of a model without the mixin, too.
        beside={"sessions._database": "versions._version", "sessions._session": "versions._version"},
    )
