"""Where the migrations of this service are, and how they are run."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sqlkeel import Database
from sqlkeel.migrations import Migrations

from .models import Base

__all__ = ["DIRECTORY", "migrations"]

DIRECTORY: Final = Path(__file__).parent / "migrations"


def migrations(db: Database) -> Migrations:
    """Return the migrations of this service for *db*."""
    return Migrations(db, Base, DIRECTORY)
