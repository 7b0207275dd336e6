"""Many rows: the first import, the same again, a changed one, and sizes added up."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice

from sqlalchemy import func, select

from sqlkeel.bulk import UpsertResult

from ..importer import Importer
from ..models import Project, Release, ReleaseFile
from ..repositories import ReleaseRepository
from ..source import Distribution, File
from .step import Tour, step

__all__ = ["bulk_insert", "bulk_update", "upsert_changed", "upsert_unchanged"]

ALTERED = 3


@step("Bulk Insert")
async def bulk_insert(tour: Tour) -> str:
    """Import everything that is installed here."""
    files = _count_files(tour.distributions)
    written, seconds = await _import(tour, tour.distributions)
    rows = sum(result.inserted for result in written.values())
    found = await tour.see_one(select(func.count()).select_from(ReleaseFile))
    tour.expect(found == files, f"{found} files in the database, {files} in the environment")
    return f"{rows:,} rows ({files:,} files, {len(tour.distributions)} releases): {rows / seconds:,.0f} rows/s"


@step("Bulk Update")
async def bulk_update(tour: Tour) -> str:
    """Add up the files of each release, and store the sums by key."""
    async with tour.counted(), tour.db.transaction() as session:
        changed = await ReleaseRepository(session).measure()
    stored = await tour.see_one(select(func.sum(Release.size)))
    counted = await tour.see_one(select(func.sum(ReleaseFile.size)))
    tour.expect(stored == counted, f"the releases say {stored} bytes, the files {counted}")
    return f"{changed} releases updated; {int(stored) / 1e6:,.1f} MB in all"


@step("Upsert")
async def upsert_unchanged(tour: Tour) -> str:
    """Import the same again."""
    before = await _last_change(tour)
    written, seconds = await _import(tour, tour.distributions)
    rows = sum(result.unchanged for result in written.values())
    touched = {table: result for table, result in written.items() if result.inserted or result.updated}
    tour.expect(not touched, f"written again: {touched}")
    tour.expect(await _last_change(tour) == before, "updated_at moved")
    return f"0 inserted, 0 updated, {rows:,} unchanged: {rows / seconds:,.0f} rows/s"


@step("Upsert")
async def upsert_changed(tour: Tour) -> str:
    """Import again, after altering 3 hashes and adding a file in what is read (simulated)."""
    written, _ = await _import(tour, _changed(tour.distributions))
    files = written["release_file"]
    others = {table: result for table, result in written.items() if result.inserted or result.updated}
    tour.expect(set(others) == {"release_file"}, f"other tables were written: {sorted(others)}")
    tour.expect((files.inserted, files.updated) == (1, ALTERED), f"{files}")
    return f"{files.inserted} inserted, {files.updated} updated, {files.unchanged:,} unchanged"


async def _import(tour: Tour, distributions: Sequence[Distribution]) -> tuple[Mapping[str, UpsertResult], float]:
    total, done = _count_files(distributions), 0

    def advance(files: int) -> None:
        nonlocal done
        done += files
        tour.progress(done, total)

    start = time.perf_counter()
    async with tour.counted(), tour.db.transaction() as session:
        written = await Importer(session, progress=advance).run(distributions)
    return written, time.perf_counter() - start


async def _last_change(tour: Tour) -> Sequence[object]:
    tables = (Project, Release, ReleaseFile)
    return [await tour.see_one(select(func.max(table.updated_at))) for table in tables]


def _count_files(distributions: Iterable[Distribution]) -> int:
    return sum(1 for each in distributions for _ in each.files())


def _changed(distributions: Sequence[Distribution]) -> list[Distribution]:
    """Return the distributions as if the one with the most files had been changed."""
    chosen = max(distributions, key=lambda each: _count_files([each]))
    edited = replace(chosen, files=lambda: _edited(chosen.files()))
    return [edited if each is chosen else each for each in distributions]


def _edited(files: Iterable[File]) -> Iterator[File]:
    rest = iter(files)
    altered = (replace(file, hash="sha256=altered") for file in islice(rest, ALTERED))
    return chain(altered, rest, [File("simulated/new_file.py", 1, "sha256=new")])
