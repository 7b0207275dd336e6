"""The data layer of a Python backend: SQLAlchemy 2.1 (async) with the safe patterns built in."""

from . import errors
from .base import Base
from .constraints import unique_live
from .database import Database
from .keys import DualIDMixin, IntKeyMixin, UUIDKeyMixin
from .mixins.soft_delete import SoftDeleteMixin
from .mixins.timestamp import TimestampMixin
from .mixins.version import VersionMixin
from .observe import queries
from .pagination import Page
from .relations import association, children, parent
from .repository import Repository
from .session import Session, SyncSession
from .types import Money, UTCDateTime

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
    "parent",
    "queries",
    "unique_live",
]
