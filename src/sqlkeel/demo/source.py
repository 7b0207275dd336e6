"""The distributions that are installed in this environment, read from their metadata."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from email.utils import getaddresses
from functools import partial
from importlib import metadata

__all__ = ["Author", "Distribution", "File", "Role", "installed"]


class Role(enum.StrEnum):
    """The role of a person in a distribution; the value is the beginning of the metadata header."""

    AUTHOR = "author"
    MAINTAINER = "maintainer"


@dataclass(frozen=True, slots=True)
class File:
    """A line of the file RECORD; a line for bytecode has neither size nor hash."""

    path: str
    size: int | None
    hash: str | None


@dataclass(frozen=True, slots=True)
class Author:
    """A person whom the metadata names as author or maintainer."""

    name: str
    email: str
    role: Role


@dataclass(frozen=True)
class Distribution:
    """An installed distribution; ``files()`` reads RECORD when it is called, since there are thousands."""

    name: str
    number: str
    description: str
    requires_python: str
    authors: tuple[Author, ...]
    classifiers: tuple[str, ...]
    requirements: tuple[str, ...]
    files: Callable[[], Iterable[File]] = field(repr=False, compare=False)


def installed() -> Iterator[Distribution]:
    """Yield the distributions of this environment: of several with one name, the one that an import would find."""
    seen: set[str] = set()
    for found in metadata.distributions():
        name = normalized(found.metadata["Name"] or "")
        if name and name not in seen:
            seen.add(name)
            yield _distribution(name, found)


def normalized(name: str) -> str:
    """Return the name as the index compares it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _distribution(name: str, found: metadata.Distribution) -> Distribution:
    about = found.metadata
    return Distribution(
        name=name,
        number=found.version or "0",
        description=about["Summary"] or "",
        requires_python=about["Requires-Python"] or "",
        authors=tuple(dict.fromkeys(author for role in Role for author in _authors(about, role))),
        classifiers=tuple(dict.fromkeys(about.get_all("Classifier") or ())),
        requirements=tuple(about.get_all("Requires-Dist") or ()),
        files=partial(_files, found),
    )


def _files(found: metadata.Distribution) -> Iterator[File]:
    """Yield every recorded file, each path once."""
    seen: set[str] = set()
    for entry in found.files or ():
        path = str(entry)
        if path not in seen:
            seen.add(path)
            yield File(path, entry.size, f"{entry.hash.mode}={entry.hash.value}" if entry.hash else None)


def _authors(about: metadata.PackageMetadata, role: Role) -> Iterator[Author]:
    """Read ``Author: A and B`` and ``Author-email: A <a@x.org>, B <b@x.org>``."""
    addresses = getaddresses([about[f"{role}-email"] or ""])
    yield from (Author(name[:200] or email[:200], email[:320], role) for name, email in addresses if email)
    if not addresses and about[role]:
        yield Author(about[role].strip()[:200], "", role)
