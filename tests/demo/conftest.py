"""What the tests of the demo share: a few made-up distributions, and the service without a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import httpx
import pytest

from sqlkeel import Database
from sqlkeel.demo.app import create_app
from sqlkeel.demo.source import Author, Distribution, File, Role

ADA = Author("Ada", "ada@x.org", Role.AUTHOR)
GRACE = Author("Grace", "", Role.MAINTAINER)


def made_up(name: str, *, files: Sequence[File]) -> Distribution:
    """Return a distribution that nobody installed."""
    return Distribution(
        name=name,
        number="1.0",
        description=f"About {name}.",
        requires_python=">=3.11",
        authors=(ADA, GRACE),
        classifiers=("Framework :: AsyncIO", f"Topic :: {name}"),
        requirements=("anyio>=4", "rich"),
        files=lambda: files,
    )


def with_files(distribution: Distribution, *files: File) -> Distribution:
    """Return the distribution with other files."""
    return replace(distribution, files=lambda: files)


@pytest.fixture
def distributions() -> list[Distribution]:
    """Two distributions; names of files differ in case only, as they may on Linux."""
    keel = made_up("keel", files=[File("keel/a.py", 10, "sha256=a"), File("keel/A.py", 20, "sha256=b")])
    rudder = made_up("rudder", files=[File("rudder/a.pyc", None, None)])
    return [keel, rudder]


@pytest.fixture
async def http(db: Database) -> AsyncIterator[httpx.AsyncClient]:
    """Talk to the service on each database in turn."""
    transport = httpx.ASGITransport(create_app(db))
    async with httpx.AsyncClient(transport=transport, base_url="http://demo") as client:
        yield client
