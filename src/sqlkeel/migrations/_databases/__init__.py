"""How a migration runs on each database: one file per database."""

from .migrator import Migrator, migrator_for

__all__ = ["Migrator", "migrator_for"]
