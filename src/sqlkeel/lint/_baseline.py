"""The findings that an existing project starts with: tolerated until they are fixed, while new ones are reported."""

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
    """Return what identifies a finding from run to run: its rule and its place, but not its message or its line."""
    return f"{finding.code}:{finding.where}"


@dataclass(frozen=True)
class Baseline:
    """The number of accepted findings for each fingerprint."""

    counts: Mapping[str, int]

    @classmethod
    def of(cls, findings: Iterable[Finding]) -> Baseline:
        """Record these findings as known."""
        return cls(Counter(map(fingerprint, findings)))

    @classmethod
    def read(cls, path: Path) -> Baseline:
        """Read a file that `write` has written.

        Raises:
            ConfigurationError: When the file does not exist or is not a baseline.
        """
        hint = f"sqlkeel lint --write-baseline {path}"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            known = {str(key): int(number) for key, number in content["findings"].items()}
        except OSError as error:
            raise ConfigurationError(f"The baseline {path} cannot be read: {error.strerror}.", hint=hint) from None
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ConfigurationError(f"{path} is not a baseline: {error!r}.", hint=hint) from None
        return cls(known)

    def write(self, path: Path) -> None:
        """Write the baseline sorted, one finding per line, so that a diff shows what was fixed.

        Raises:
            ConfigurationError: When the file cannot be written.
        """
        content = {"version": _VERSION, "findings": dict(sorted(self.counts.items()))}
        try:
            path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(f"The baseline {path} cannot be written: {error.strerror}.") from None

    def compare(self, findings: Iterable[Finding]) -> tuple[list[Finding], list[str]]:
        """Return the new findings, and the fingerprints that no longer occur.

        If a place has more findings of a kind than before, all of them are returned, because nothing identifies the
        new one.
        """
        found = list(findings)
        now = Counter(map(fingerprint, found))
        fresh = [one for one in found if now[fingerprint(one)] > self.counts.get(fingerprint(one), 0)]
        return fresh, sorted(key for key, number in self.counts.items() if now[key] < number)
