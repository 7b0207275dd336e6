"""How many examples the properties are tried on: few by default, more with ``SQLKEEL_EXAMPLES=1000``."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

__all__ = ["tried"]


def tried(examples: int) -> settings:
    """Return the settings of a property against a database: this many examples, without a limit of time."""
    return settings(
        max_examples=int(os.environ.get("SQLKEEL_EXAMPLES", examples)),
        deadline=None,
        database=None,
        phases=(Phase.explicit, Phase.generate, Phase.shrink),  # explaining traces every line, for minutes
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    )
