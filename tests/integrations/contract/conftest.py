"""Each framework in turn."""

from __future__ import annotations

import pytest

from tests.integrations.contract.frameworks import FRAMEWORKS, Framework


@pytest.fixture(params=FRAMEWORKS)
def framework(request: pytest.FixtureRequest) -> Framework:
    """Each framework in turn."""
    return FRAMEWORKS[request.param]
