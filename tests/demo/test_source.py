"""What is read from the metadata of installed distributions."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

import pytest

from sqlkeel.demo.source import Author, File, Role, installed, normalized

METADATA = """\
Metadata-Version: 2.1
Name: Keel_Demo.Plugin
Version: 1.2
Summary: A plug-in.
Requires-Python: >=3.11
Author-email: Ada Lovelace <ada@x.org>, grace@x.org
Maintainer: The Crew
Classifier: Framework :: AsyncIO
Classifier: Framework :: AsyncIO
Requires-Dist: anyio>=4
"""
RECORD = """\
keel/__init__.py,sha256=abc,12
keel/__init__.py,sha256=abc,12
keel/__pycache__/x.pyc,,
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have nothing on the path but an empty directory."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    return tmp_path


def install(site: Path, *, text: str = METADATA, folder: str = "keel-1.2.dist-info") -> None:
    """Leave what an installer leaves."""
    directory = site / folder
    directory.mkdir()
    (directory / "METADATA").write_text(text)
    (directory / "RECORD").write_text(RECORD)


class TestInstalled:
    def test_it_finds_this_environment(self) -> None:
        """What runs the tests is among the distributions, with its version."""
        found = {each.name: each.number for each in installed()}

        assert found["pytest"] == metadata.version("pytest")

    def test_it_reads_the_metadata(self, site: Path) -> None:
        """Name, number, words, labels and requirements come from METADATA, each label once."""
        install(site)

        (found,) = installed()

        assert (found.name, found.number, found.description) == ("keel-demo-plugin", "1.2", "A plug-in.")
        assert (found.requires_python, found.classifiers) == (">=3.11", ("Framework :: AsyncIO",))
        assert found.requirements == ("anyio>=4",)

    def test_it_reads_people(self, site: Path) -> None:
        """Somebody without a name goes by the address, and somebody without an address by the name."""
        install(site)

        (found,) = installed()

        assert found.authors == (
            Author("Ada Lovelace", "ada@x.org", Role.AUTHOR),
            Author("grace@x.org", "grace@x.org", Role.AUTHOR),
            Author("The Crew", "", Role.MAINTAINER),
        )

    def test_it_reads_files_once(self, site: Path) -> None:
        """A path that RECORD lists twice is one file; bytecode has neither size nor hash."""
        install(site)

        (found,) = installed()

        assert list(found.files()) == [
            File("keel/__init__.py", 12, "sha256=abc"),
            File("keel/__pycache__/x.pyc", None, None),
        ]

    def test_it_leaves_out_what_has_no_name(self, site: Path) -> None:
        """A broken installation is no project."""
        install(site, text="Metadata-Version: 2.1\n")

        assert list(installed()) == []

    def test_it_takes_the_first_of_a_name(self, site: Path) -> None:
        """Names that the index takes for one are one project."""
        install(site)
        install(site, text=METADATA.replace("Keel_Demo.Plugin", "keel-demo-plugin"), folder="other-1.2.dist-info")

        assert len(list(installed())) == 1


class TestNormalized:
    def test_it_ignores_case_and_separators(self) -> None:
        """PEP 503 takes all of these for one."""
        names = {normalized(name) for name in ("Keel.Demo", "keel_demo", "KEEL--demo", "keel-demo")}

        assert names == {"keel-demo"}
