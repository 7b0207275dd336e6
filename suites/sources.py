"""The source distributions: fetched with pip, as everything else is, and unpacked into a folder."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

from suites.suite import Suite

__all__ = ["fetch", "install", "install_exactly"]


def fetch(suite: Suite, folder: Path) -> Path:
    """Return the unpacked source of *suite* below *folder*; what is there already is used again."""
    source = folder / f"{suite.distribution.replace('-', '_')}-{suite.release}"
    if not source.exists():
        # One package by its name, not `:all:`: what builds it is taken as wheels.
        what = ["--no-deps", "--no-binary", suite.distribution, f"{suite.distribution}=={suite.release}"]
        _pip("download", "--dest", str(folder), *what)
        with tarfile.open(f"{source}.tar.gz") as archive:
            archive.extractall(folder, filter="data")
    return source


def install(suite: Suite, folder: Path) -> Path:
    """Return a folder with what the tests of *suite* need besides our environment, which stays as it is."""
    target = folder / f"{suite.distribution}-needs"
    if suite.needs and not target.exists():
        _pip("install", "--target", str(target), *suite.needs)
    return target


def install_exactly(pins: Sequence[str], target: Path) -> Path:
    """Install these releases into a folder, and nothing that they ask for: what is there already is used again."""
    if not target.exists():
        _pip("install", "--target", str(target), "--no-deps", *pins)
    return target


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", arguments[0], "--quiet", "--disable-pip-version-check", *arguments[1:]]
    subprocess.run(command, check=True)  # noqa: S603 - our own pip, and names from `suite.py`
