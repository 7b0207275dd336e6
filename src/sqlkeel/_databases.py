"""The databases that sqlkeel supports: each feature has one module for each of them."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any, Final

__all__ = ["FEATURES", "KNOWN", "class_for"]

KNOWN: Final = {"sqlite": "SQLite", "postgresql": "PostgreSQL", "mariadb": "MariaDB", "mysql": "MariaDB"}
"""The database for each dialect, by SQLAlchemy's name of the dialect."""

FEATURES: Final = {"engines": "Backend", "bulk": "Writer", "migrations": "Migrator", "lint": "Renamer"}
"""The class that each database implements for a feature, in ``sqlkeel.<feature>._databases.<database>``."""


@cache
def class_for(feature: str, dialect: str) -> Any:
    """Return the class that a database implements for a feature; ``None`` for an unknown dialect.

    Its module is imported on first use, because it imports the dialect, which applications without that database do not
    need.
    """
    if dialect not in KNOWN:
        return None
    database = KNOWN[dialect]
    module = import_module(f"sqlkeel.{feature}._databases.{database.lower()}")
    return getattr(module, f"{database}{FEATURES[feature]}")
