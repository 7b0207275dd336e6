"""The packages: which release, where its models are, and what we think of each finding."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

__all__ = ["CATALOGUE", "DATABASES", "VERDICTS", "Judgement", "Package", "load"]

CATALOGUE: Final = Path(__file__).parent / "catalogue"
DATABASES: Final = ("sqlite", "postgresql", "mariadb")
VERDICTS: Final = ("useful", "noise", "false")
"""Useful: a database engineer would act on it. Noise: true, but nobody would type the fix. False: not so."""


@dataclass(frozen=True)
class Judgement:
    """What we think of the findings of one rule at some places."""

    rule: str
    where: tuple[str, ...]
    verdict: str
    because: str

    def is_about(self, finding: Mapping[str, str]) -> bool:
        """Tell whether *finding* is one of those."""
        return finding["rule"] == self.rule and finding["where"] in self.where


@dataclass(frozen=True)
class Package:
    """One package. ``pins`` are all that is installed beside our environment, whose SQLAlchemy is used."""

    name: str
    kind: str
    models: str
    pins: tuple[str, ...]
    without: Mapping[str, str] = field(default_factory=dict)
    """The databases that the package itself cannot use, and why."""

    judgements: tuple[Judgement, ...] = ()

    def judge(self, finding: Mapping[str, str]) -> tuple[str, str]:
        """Return what we think of a finding, and why; nobody has judged what is not listed."""
        found = next((one for one in self.judgements if one.is_about(finding)), None)
        return (found.verdict, found.because) if found is not None else ("not judged", "")

    def outdated(self, findings: Sequence[Mapping[str, str]]) -> list[str]:
        """Return what is judged and no longer found."""
        found = {(one["rule"], one["where"]) for one in findings}
        judged = ((one.rule, where) for one in self.judgements for where in one.where)
        return [f"{rule} {where}" for rule, where in judged if (rule, where) not in found]


def load(name: str) -> Package:
    """Read the entry of a package."""
    entry: dict[str, Any] = tomllib.loads((CATALOGUE / f"{name}.toml").read_text())
    judged = tuple(
        Judgement(one["rule"], tuple(one["where"]), one["verdict"], one["because"]) for one in entry.pop("finding", [])
    )
    return Package(name=name, **{**entry, "pins": tuple(entry["pins"])}, judgements=judged)
