"""The tests that are known to end differently with our sessions, each with the reason."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Verdict", "compare", "known"]

LISTS = Path(__file__).parent / "lists"


@dataclass(frozen=True)
class Verdict:
    """What a run says that the list does not, and the other way round."""

    passed: int
    listed: int
    unlisted: dict[str, str]
    outdated: tuple[str, ...]

    @property
    def is_good(self) -> bool:
        """Whether the run and the list say the same."""
        return not (self.unlisted or self.outdated)


def known(suite: str, database: str) -> dict[str, str]:
    """Return the reason of each test of *suite* that is known to fail on *database*."""
    listed = tomllib.loads((LISTS / f"{suite}.toml").read_text())
    return {
        test: entry["reason"]
        for entry in listed.get("difference", [])
        if database in entry.get("databases", [database])
        for test in entry["tests"]
    }


def compare(outcomes: Mapping[str, str], listed: Mapping[str, str], *, whole: bool = True) -> Verdict:
    """Compare what a run gave with the list; one that is not *whole* says nothing of the tests that it left out."""
    failed = {test: error for test, error in outcomes.items() if error}
    return Verdict(
        passed=len(outcomes) - len(failed),
        listed=len(failed.keys() & listed.keys()),
        unlisted={test: error for test, error in sorted(failed.items()) if test not in listed},
        outdated=tuple(sorted(test for test in listed if test not in failed and (whole or test in outcomes))),
    )
