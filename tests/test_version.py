"""Tests of sqlkeel._version: the version of what is installed."""

from __future__ import annotations

from importlib.metadata import version

import sqlkeel


def test_it_is_that_of_the_distribution() -> None:
    """There is no second place in which it would have to be raised."""
    assert sqlkeel.__version__ == version("sqlkeel")
