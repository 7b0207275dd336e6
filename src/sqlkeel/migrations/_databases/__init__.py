"""What differs between databases while a migration runs; one file per database."""

from .backend import MigrationBackend
from .registry import backend_for

__all__ = ["MigrationBackend", "backend_for"]
