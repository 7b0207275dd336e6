"""The import of distributions."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select

from sqlkeel import Database
from sqlkeel.bulk import UpsertResult
from sqlkeel.demo.importer import Importer
from sqlkeel.demo.models import Base, Project, Release, ReleaseFile
from sqlkeel.demo.source import Distribution, File
from sqlkeel.repository import Repository
from tests.demo.conftest import with_files

pytestmark = pytest.mark.tables(Base.metadata)


async def run(db: Database, distributions: list[Distribution]) -> dict[str, UpsertResult]:
    """Import in a transaction of its own."""
    async with db.transaction() as session:
        return await Importer(session).run(distributions)


class TestImporter:
    async def test_an_empty_index_is_filled(self, every_driver: Database, distributions: list[Distribution]) -> None:
        """Each table gets each row once, also where two releases share people and labels."""
        written = await run(every_driver, distributions)

        assert {table: result.inserted for table, result in written.items()} == {
            "project": 2,
            "release": 2,
            "person": 2,
            "release_person": 4,
            "classifier": 3,
            "release_classifier": 4,
            "release_requirement": 4,
            "release_file": 3,
        }

    async def test_the_same_again_writes_nothing(self, db: Database, distributions: list[Distribution]) -> None:
        """The second run finds every row as it is."""
        first = await run(db, distributions)

        second = await run(db, distributions)

        assert second == {table: UpsertResult(0, 0, result.inserted) for table, result in first.items()}

    async def test_only_what_changed_is_written(self, db: Database, distributions: list[Distribution]) -> None:
        """A new file is inserted, a changed one updated, a file without size and hash compared like any other."""
        await run(db, distributions)
        distributions[1] = with_files(distributions[1], File("rudder/a.pyc", None, None), File("rudder/b.py", 1, "x"))
        distributions[0] = with_files(distributions[0], File("keel/a.py", 11, "sha256=c"))

        written = await run(db, distributions)

        assert written["release_file"] == UpsertResult(inserted=1, updated=1, unchanged=1)

    async def test_a_new_version_is_a_new_release(self, db: Database, distributions: list[Distribution]) -> None:
        """The release that was there stays."""
        await run(db, distributions)
        newer = Distribution(**{**vars(distributions[0]), "number": "2.0"})

        written = await run(db, [newer])

        assert written["release"].inserted == 1
        async with db.read() as session:
            project = await Repository(session, Project).one_or_none(Project.name == "keel", load=[Project.releases])
            assert project is not None
            assert sorted(release.number for release in project.releases) == ["1.0", "2.0"]

    async def test_a_withdrawn_release_stays_withdrawn(self, db: Database, distributions: list[Distribution]) -> None:
        """The import publishes a new one beside it."""
        await run(db, distributions)
        async with db.transaction() as session:
            releases = Repository(session, Release)
            await releases.delete((await releases.get_all())[0])

        written = await run(db, distributions)

        assert written["release"] == UpsertResult(inserted=1, updated=0, unchanged=1)
        async with db.read() as session:
            dead = select(func.count()).select_from(ReleaseFile).where(ReleaseFile.deleted_at.is_not(None))
            assert await session.scalar(dead, execution_options={"include_deleted": True}) == 2

    async def test_progress_is_told(self, db: Database, distributions: list[Distribution]) -> None:
        """Every distribution reports its files."""
        told: list[int] = []

        async with db.transaction() as session:
            await Importer(session, progress=told.append).run(distributions)

        assert told == [2, 1]
