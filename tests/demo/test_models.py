"""The tables of the demo."""

from __future__ import annotations

import pytest

from sqlkeel import Database, lint
from sqlkeel.demo.models import Base, Classifier, Project, Release
from sqlkeel.repository import Repository

pytestmark = pytest.mark.tables(Base.metadata)


class TestModels:
    def test_they_follow_the_rules(self) -> None:
        """The schema that others will copy has no findings."""
        assert lint.check(Base) == []

    async def test_text_equals_only_itself(self, db: Database) -> None:
        """Names that differ in case, in an accent or by a blank at the end are different, on every database."""
        rows = [{"name": name} for name in ("readme", "README", "réadme", "readme ")]

        async with db.transaction() as session:
            count = await Repository(session, Classifier).insert_many(rows)

        assert count == 4

    async def test_the_latest_release_is_the_newest_live_one(self, db: Database) -> None:
        """A withdrawn release is not the latest one."""
        async with db.transaction() as session:
            project = await Repository(session, Project).create(name="keel")
            releases = Repository(session, Release)
            await releases.create(project=project, number="1.0")
            await releases.delete(await releases.create(project=project, number="2.0"))

        async with db.read() as session:
            found = await Repository(session, Project).get_one(project.id, load=[Project.releases])

        assert found.latest_release is not None
        assert found.latest_release.number == "1.0"
