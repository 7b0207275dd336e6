"""What the tests of sessions ask for beside the databases."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from sqlkeel.sessions import Database
from tests.fixtures.databases import OpenDatabase
from tests.sessions.session_models import Recorder


@pytest.fixture
def other(server: Database, open_database: OpenDatabase) -> Database:
    """Somebody else on the same database: a transaction of `server` inside one of this is one of its own."""
    return open_database(server)


@pytest.fixture
def seen() -> Recorder:
    """Hooks that remember their calls."""
    return Recorder()


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Let the garbage collector find nothing: a connection that only it gives back is lost."""
    gc.disable()
    yield
    gc.enable()
