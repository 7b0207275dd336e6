"""What the tests of adoption ask for beside the databases."""

from __future__ import annotations

from pathlib import Path

import pytest

from sqlkeel import Database
from tests.adoption.routed_work import Two, with_another
from tests.fixtures.databases import OpenDatabase


@pytest.fixture
async def two(sqlite: Database, open_database: OpenDatabase, tmp_path: Path) -> Two:
    """Two files."""
    return await with_another(sqlite, open_database, tmp_path)
