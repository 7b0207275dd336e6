"""Fixtures for every test; the real ones live in tests/fixtures, one file per database."""

pytest_plugins = ["tests.fixtures.servers", "tests.fixtures.databases"]
