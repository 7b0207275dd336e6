"""The databases that sqlkeel knows: a grid of features and databases, with a module in each square."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any, Final

__all__ = ["FEATURES", "KNOWN", "class_for"]

KNOWN: Final = {"sqlite": "SQLite", "postgresql": "PostgreSQL", "mariadb": "MariaDB", "mysql": "MariaDB"}
"""The database of each dialect, by the name that SQLAlchemy gives the dialect."""

FEATURES: Final = {"engines": "Backend", "bulk": "Writer", "migrations": "Migrator", "lint": "Renamer"}
"""The class of which each database has one of its own, in ``sqlkeel.<feature>._databases.<database>``."""


@cache
def class_for(feature: str, dialect: str) -> Any:
    """Return the class that a database has for a feature; ``None`` for a dialect that is not known.

    Its module is loaded when it is first asked for: it loads the dialect, which a program without that database need
    not wait for.
    """
    if dialect not in KNOWN:
        return None
    database = KNOWN[dialect]
    module = import_module(f"sqlkeel.{feature}._databases.{database.lower()}")
    return getattr(module, f"{database}{FEATURES[feature]}")
