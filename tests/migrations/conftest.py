"""What the tests of migrations ask for beside the databases."""

from __future__ import annotations

from pathlib import Path

import pytest

from sqlkeel.migrations import Migrations
from sqlkeel.sessions import Database
from tests.migrations.models import Base


@pytest.fixture
def migrations(db: Database, tmp_path: Path) -> Migrations:
    """Migrations of the models of these tests, none of them made yet."""
    return Migrations(db, Base, tmp_path / "migrations")
