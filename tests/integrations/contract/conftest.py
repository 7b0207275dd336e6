"""Each framework in turn."""

from __future__ import annotations

import pytest

from tests.integrations.contract.framework import Framework, Injecting
from tests.integrations.contract.frameworks import FRAMEWORKS, INJECTING


@pytest.fixture(params=FRAMEWORKS)
def framework(request: pytest.FixtureRequest) -> Framework:
    """Each framework in turn."""
    return FRAMEWORKS[request.param]


@pytest.fixture(params=INJECTING)
def injecting(request: pytest.FixtureRequest) -> Injecting:
    """Each framework in turn that injects what an endpoint asks for."""
    return INJECTING[request.param]
