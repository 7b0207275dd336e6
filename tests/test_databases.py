"""Tests of sqlkeel._databases: every database has every feature, and CONTRIBUTING shows where."""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path

import pytest

from sqlkeel._databases import FEATURES, KNOWN, class_for

ROOT = Path(__file__).parents[1]
DATABASES = sorted(set(KNOWN.values()))


def grid() -> str:
    """Return the table of CONTRIBUTING: a line for each feature, with the class of each database."""
    lines = [f"| in `src/sqlkeel` | {' | '.join(DATABASES)} |", f"|---|{'---|' * len(DATABASES)}"]
    for feature, kind in FEATURES.items():
        classes = " | ".join(f"`{database}{kind}`" for database in DATABASES)
        lines.append(f"| `{feature}/_databases` | {classes} |")
    return "\n".join(lines) + "\n"


class TestGrid:
    @pytest.mark.parametrize("dialect", KNOWN)
    @pytest.mark.parametrize("feature", FEATURES)
    def test_each_square_has_its_class(self, feature: str, dialect: str) -> None:
        """It stands in the module of its database, is of the feature's kind, and lacks nothing of that."""
        found = class_for(feature, dialect)
        kinds = [one for one in found.__mro__ if one.__name__ == FEATURES[feature]]

        assert found.__module__ == f"sqlkeel.{feature}._databases.{KNOWN[dialect].lower()}"
        assert len(kinds) == 1
        assert inspect.isabstract(kinds[0])
        assert not inspect.isabstract(found)

    @pytest.mark.parametrize("feature", FEATURES)
    def test_another_database_has_none(self, feature: str) -> None:
        """Nobody guesses at a database that was not tried."""
        assert class_for(feature, "oracle") is None

    @pytest.mark.parametrize("database", DATABASES)
    def test_tests_can_start_a_server_of_it(self, database: str) -> None:
        """SQLite needs none."""
        if database != "SQLite":
            assert hasattr(import_module("sqlkeel.testing"), f"{database}Server")

    def test_contributing_shows_it(self) -> None:
        """Whoever adds a database sees what it needs."""
        assert grid() in (ROOT / "CONTRIBUTING.md").read_text()
