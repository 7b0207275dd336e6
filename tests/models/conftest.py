"""What the tests of models ask for beside the databases."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def forgotten() -> Iterator[None]:
    """Let go of the models that were refused: later tests of the process would configure them, too."""
    yield
    gc.collect()
