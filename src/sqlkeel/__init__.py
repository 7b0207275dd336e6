"""The data layer of a Python backend: SQLAlchemy 2.1 (async) with the safe patterns built in."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import errors
    from .base import Base
    from .constraints import live_parent, unique_live
    from .database import Database
    from .engines.stock import translate_errors
    from .keys import DualIDMixin, IntKeyMixin, UUIDKeyMixin
    from .mixins.soft_delete import SoftDeleteMixin, include_deleted
    from .mixins.timestamp import TimestampMixin
    from .mixins.version import VersionMixin
    from .observe import queries
    from .pagination import Page
    from .relations import association, children, parent
    from .repository import Repository
    from .session import Session, SyncSession
    from .types import Money, UTCDateTime

    __version__: str

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
    "children",
    "errors",
    "include_deleted",
    "live_parent",
    "parent",
    "queries",
    "translate_errors",
    "unique_live",
]

# Each name is loaded when it is first asked for: `sqlkeel --help` shall not wait for SQLAlchemy.
_HOMES = {
    "Base": "base",
    "Database": "database",
    "DualIDMixin": "keys",
    "IntKeyMixin": "keys",
    "Money": "types",
    "Page": "pagination",
    "Repository": "repository",
    "Session": "session",
    "SoftDeleteMixin": "mixins.soft_delete",
    "SyncSession": "session",
    "TimestampMixin": "mixins.timestamp",
    "UTCDateTime": "types",
    "UUIDKeyMixin": "keys",
    "VersionMixin": "mixins.version",
    "association": "relations",
    "children": "relations",
    "include_deleted": "mixins.soft_delete",
    "live_parent": "constraints",
    "parent": "relations",
    "queries": "observe",
    "translate_errors": "engines.stock",
    "unique_live": "constraints",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("importlib.metadata").version(__name__)
    if name == "errors":
        return import_module(".errors", __name__)
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    return value


def __dir__() -> list[str]:
    return __all__
