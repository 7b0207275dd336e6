"""Tests of sqlkeel.lint._baseline: what was there is let through, what is new is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sqlkeel.errors import ConfigurationError
from sqlkeel.lint import Baseline, Finding, Source
from sqlkeel.lint._baseline import fingerprint


def finding(where: str, message: str = "A message.", line: int = 1) -> Finding:
    """Return a finding of one rule at this place."""
    return Finding(where, "snake-case", message, "A fix.", source=Source(Path("models.py"), line))


class TestFingerprint:
    def test_what_it_is_made_of(self) -> None:
        """Another line or other words leave it as it is: a release may change its words."""
        assert fingerprint(finding("post.A")) == "snake-case:post.A"
        assert fingerprint(finding("post.A", "Other words.", 9)) == "snake-case:post.A"


class TestSift:
    def test_known_and_new(self) -> None:
        """What is known goes, what is new stays."""
        baseline = Baseline.of([finding("a")])

        assert baseline.compare([finding("a"), finding("b")]) == ([finding("b")], [])

    def test_repaired(self) -> None:
        """What does not occur any more is named, in order."""
        baseline = Baseline.of([finding("b"), finding("a"), finding("c")])

        assert baseline.compare([finding("c")]) == ([], ["snake-case:a", "snake-case:b"])

    def test_one_more_at_the_same_place(self) -> None:
        """Two of a kind are let through where two were known; with a third all are shown."""
        two = [finding("a", "One."), finding("a", "Two.")]
        three = [*two, finding("a", "Three.")]
        baseline = Baseline.of(two)

        assert baseline.compare(two) == ([], [])
        assert baseline.compare(three) == (three, [])

    def test_one_of_two_repaired(self) -> None:
        """One less at the same place is repaired, too."""
        baseline = Baseline.of([finding("a", "One."), finding("a", "Two.")])

        assert baseline.compare([finding("a", "Two.")]) == ([], ["snake-case:a"])


class TestFile:
    def test_round_trip(self, tmp_path: Path) -> None:
        """What was written is read, a finding a line, sorted."""
        path = tmp_path / "baseline.json"
        Baseline.of([finding("b"), finding("a"), finding("a", "Two.")]).write(path)

        assert Baseline.read(path).compare([finding("a"), finding("a", "Two."), finding("b")]) == ([], [])
        assert json.loads(path.read_text()) == {"version": 1, "findings": {"snake-case:a": 2, "snake-case:b": 1}}
        assert path.read_text().index("snake-case:a") < path.read_text().index("snake-case:b")

    def test_missing(self, tmp_path: Path) -> None:
        """A file that is not there is a mistake, and not an empty one."""
        with pytest.raises(ConfigurationError, match="cannot be read: No such file") as caught:
            Baseline.read(tmp_path / "no.json")

        assert "--write-baseline" in caught.value.hint

    @pytest.mark.parametrize("content", ["", "[]", "{}", '{"findings": []}', '{"findings": {"a": "x"}}', "3"])
    def test_other_file(self, tmp_path: Path, content: str) -> None:
        """A file of something else is refused."""
        path = tmp_path / "baseline.json"
        path.write_text(content)

        with pytest.raises(ConfigurationError, match="is not a baseline"):
            Baseline.read(path)
