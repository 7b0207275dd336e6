"""Random models, rows and verbs: what sqlkeel does is what plain SQLAlchemy does, one object at a time."""

from __future__ import annotations

import os

import pytest

from sqlkeel import Database
from tests.fixtures.databases import OpenDatabase
from tests.properties.differential.draws import VERBS
from tests.properties.differential.kinds import kinds_on
from tests.properties.differential.run import Report, models_for, try_cases
from tests.properties.differential.schemas import tables_of

EXAMPLES = int(os.environ.get("SQLKEEL_EXAMPLES", "170"))
"""Cases of each test; there are three for each driver."""

pytestmark = pytest.mark.filterwarnings(
    "ignore::sqlalchemy.exc.SAWarning",
    # SQLAlchemy's own MONEY and others do not say yet which operators they have.
    "ignore:Type object:sqlalchemy.exc.SADeprecationWarning",
    "ignore::Warning:asyncmy",
)


async def run(database: Database, open_database: OpenDatabase, seed: int) -> Report:
    """Try the cases of a seed on an empty database."""
    own = open_database(database)
    with models_for(own, seed=seed) as models:
        async with tables_of(own, models.metadata):
            return await try_cases(own, models, seed=seed, numbers=range(EXAMPLES))


class TestAgainstPlainSQLAlchemy:
    @pytest.mark.parametrize("seed", range(3))
    async def test_they_agree(self, every_driver: Database, open_database: OpenDatabase, seed: int) -> None:
        """Rows, objects and errors are those of plain SQLAlchemy, for every model, type and verb that was drawn."""
        report = await run(every_driver, open_database, seed)

        assert not report.complaints, "\n\n".join(report.complaints)


class TestWhatIsTried:
    async def test_nothing_is_left_out(self, sqlite: Database, open_database: OpenDatabase) -> None:
        """Each verb is tried, and each type is written."""
        report = await run(sqlite, open_database, 3)

        assert {verb for verb, _ in report.tried} >= VERBS.keys() - {"mutate", "restore"}
        assert {what for _, what in report.tried} >= {f"type {kind.name}" for kind in kinds_on("sqlite")}
