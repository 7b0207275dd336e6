"""The import: write the installed distributions to the tables, thousands of rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlkeel import Session
from sqlkeel.bulk import UpsertResult
from sqlkeel.repository import Repository

from .models import (
    Classifier,
    Person,
    Project,
    Release,
    ReleaseClassifier,
    ReleaseFile,
    ReleasePerson,
    ReleaseRequirement,
)
from .repositories import ClassifierRepository, PersonRepository, ProjectRepository, ReleaseRepository
from .source import Distribution

__all__ = ["Importer"]

Rows = Iterable[Mapping[str, Any]]
Progress = Callable[[int], None]


class Importer:
    """Updates the tables to the installed distributions, in the caller's transaction.

    An empty index is filled with plain inserts; later runs write only the rows that differ.

    Args:
        session: The session to write with.
        progress: A function that is called with the number of files of each distribution when they are sent.
    """

    def __init__(self, session: Session, *, progress: Progress = lambda files: None) -> None:
        self.session = session
        self.progress = progress
        self.empty = False
        self.written: dict[str, UpsertResult] = {}

    async def run(self, distributions: Sequence[Distribution]) -> dict[str, UpsertResult]:
        """Write *distributions*, and return the numbers of written rows by table."""
        self.empty = not await ProjectRepository(self.session).exists()
        releases = await self._write_releases(distributions)
        await self._write_people(releases)
        await self._write_classifiers(releases)
        await self._write(ReleaseRequirement, _requirements(releases), on=["release_id", "position"])
        await self._write(ReleaseFile, self._files(releases), on=["release_id", "path"])
        return self.written

    async def _write_releases(self, distributions: Sequence[Distribution]) -> dict[int, Distribution]:
        """Write projects and releases, and return the distributions by the key of their release."""
        await self._write(
            Project, [{"name": each.name, "description": each.description} for each in distributions], on=["name"]
        )
        projects = await ProjectRepository(self.session).ids()
        rows = [
            {"project_id": projects[each.name], "number": each.number, "requires_python": each.requires_python}
            for each in distributions
        ]
        await self._write(Release, rows, on=["project_id", "number"])
        releases = await ReleaseRepository(self.session).ids()
        return {releases[projects[each.name], each.number]: each for each in distributions}

    async def _write_people(self, releases: Mapping[int, Distribution]) -> None:
        people = {(author.name, author.email) for each in releases.values() for author in each.authors}
        await self._write(Person, [{"name": name, "email": email} for name, email in people], on=["name", "email"])
        ids = await PersonRepository(self.session).ids()
        rows = [
            {"release_id": release, "person_id": ids[author.name, author.email], "role": author.role}
            for release, each in releases.items()
            for author in each.authors
        ]
        await self._write(ReleasePerson, rows, on=["release_id", "person_id", "role"])

    async def _write_classifiers(self, releases: Mapping[int, Distribution]) -> None:
        names = {name for each in releases.values() for name in each.classifiers}
        await self._write(Classifier, [{"name": name} for name in names], on=["name"])
        ids = await ClassifierRepository(self.session).ids()
        rows = [
            {"release_id": release, "classifier_id": ids[name]}
            for release, each in releases.items()
            for name in each.classifiers
        ]
        await self._write(ReleaseClassifier, rows, on=["release_id", "classifier_id"])

    def _files(self, releases: Mapping[int, Distribution]) -> Iterator[dict[str, Any]]:
        for release, each in releases.items():
            files = list(each.files())
            for file in files:
                yield {"release_id": release, "path": file.path, "size": file.size, "hash": file.hash}
            self.progress(len(files))

    async def _write(self, model: type[Any], rows: Rows, *, on: Sequence[str]) -> None:
        table = Repository(self.session, model)
        if self.empty:
            written = UpsertResult(inserted=await table.insert_many(rows), updated=0, unchanged=0)
        else:
            written = await table.upsert_many(rows, on=[getattr(model, name) for name in on])
        self.written[model.__tablename__] = written


def _requirements(releases: Mapping[int, Distribution]) -> Iterator[dict[str, Any]]:
    for release, each in releases.items():
        for position, line in enumerate(each.requirements, 1):
            yield {"release_id": release, "position": position, "line": line}
