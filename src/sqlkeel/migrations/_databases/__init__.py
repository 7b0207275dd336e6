"""What differs between databases while a migration runs; one file per database."""

from .migrator import Migrator, migrator_for

__all__ = ["Migrator", "migrator_for"]
