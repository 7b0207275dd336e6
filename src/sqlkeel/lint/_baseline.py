"""What an existing project had when it began to lint: let through until it is repaired, and nothing new with it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfigurationError
from ._finding import Finding

__all__ = ["Baseline", "fingerprint"]

_VERSION = 1


def fingerprint(finding: Finding) -> str:
    """Return what a finding is known by from run to run: its rule and its place, not its words or its line."""
    return f"{finding.code}:{finding.where}"


@dataclass(frozen=True)
class Baseline:
    """How many findings there were of each fingerprint."""

    counts: Mapping[str, int]

    @classmethod
    def of(cls, findings: Iterable[Finding]) -> Baseline:
        """Take these findings for known."""
        return cls(Counter(map(fingerprint, findings)))

    @classmethod
    def read(cls, path: Path) -> Baseline:
        """Read what `write` has written.

        Raises:
            ConfigurationError: When there is no such file, or another one.
        """
        hint = f"sqlkeel lint --write-baseline {path}"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            known = {str(key): int(number) for key, number in content["findings"].items()}
        except OSError as error:
            raise ConfigurationError(f"The baseline {path} cannot be read: {error.strerror}.", hint=hint) from None
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ConfigurationError(f"{path} is no baseline: {error!r}.", hint=hint) from None
        return cls(known)

    def write(self, path: Path) -> None:
        """Write it sorted, a finding a line, so that a version control shows what was repaired.

        Raises:
            ConfigurationError: When the file cannot be written.
        """
        content = {"version": _VERSION, "findings": dict(sorted(self.counts.items()))}
        try:
            path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(f"The baseline {path} cannot be written: {error.strerror}.") from None

    def sift(self, findings: Iterable[Finding]) -> tuple[list[Finding], list[str]]:
        """Return the findings that are new, and what does not occur any more.

        Where a place has one more of a kind than before, all of them are returned: nothing tells which is the new one.
        """
        found = list(findings)
        now = Counter(map(fingerprint, found))
        fresh = [one for one in found if now[fingerprint(one)] > self.counts.get(fingerprint(one), 0)]
        return fresh, sorted(key for key, number in self.counts.items() if now[key] < number)
