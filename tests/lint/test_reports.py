"""Tests of sqlkeel.lint._reports: each format says the same, and says it as its readers expect."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sqlkeel.lint import Finding, Rename, Source, load_rules, report
from sqlkeel.lint._reports import FORMATS

TABLE = Finding("users", "singular-table", '"users" is a plural.', 'Call it "user".', Rename("table", "users", "user"))
COLUMN = Finding(
    "user.Name", "snake-case", "50% wrong,\nor more.", "Fix: it.", source=Source(Path("/nowhere/a,b:c.py"), 12)
)


class TestText:
    def test_lines(self) -> None:
        """The place in the file comes first, where there is one, as editors and terminals know it."""
        assert report([TABLE, COLUMN]).splitlines() == [
            'singular-table  users: "users" is a plural.',
            '    fix: Call it "user".',
            "/nowhere/a,b:c.py:12: snake-case  user.Name: 50% wrong,",
            "or more.",
            "    fix: Fix: it.",
        ]


class TestJSON:
    def test_entries(self) -> None:
        """Everything that is known stands in it."""
        first, second = json.loads(report([TABLE, COLUMN], "json"))["findings"]

        assert first == {
            "code": "singular-table",
            "where": "users",
            "message": '"users" is a plural.',
            "fix": 'Call it "user".',
            "rename": {"kind": "table", "old": "users", "new": "user"},
            "file": None,
            "line": None,
        }
        assert (second["rename"], second["file"], second["line"]) == (None, "/nowhere/a,b:c.py", 12)

    def test_nothing(self) -> None:
        """No finding is an empty list."""
        assert json.loads(report([], "json")) == {"findings": []}


class TestGitHub:
    def test_commands(self) -> None:
        """A finding is a workflow command of one line; what would end it is escaped."""
        assert report([TABLE, COLUMN], "github").splitlines() == [
            '::error title=sqlkeel singular-table::users: "users" is a plural. Call it "user".',
            "::error title=sqlkeel snake-case,file=/nowhere/a%2Cb%3Ac.py,line=12::"
            "user.Name: 50%25 wrong,%0Aor more. Fix: it.",
        ]


class TestSARIF:
    def test_head(self) -> None:
        """It is one run of SARIF 2.1.0 with every rule and why it is there."""
        log = json.loads(report([], "sarif"))
        (run,) = log["runs"]

        assert log["version"] == "2.1.0"
        assert log["$schema"].endswith("/sarif-schema-2.1.0.json")
        assert run["tool"]["driver"]["name"] == "sqlkeel"
        assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == [rule.code for rule in load_rules()]
        assert run["results"] == []

    def test_results(self) -> None:
        """A result points to its rule, to the file, and to the place in the schema."""
        (run,) = json.loads(report([TABLE, COLUMN], "sarif"))["runs"]
        first, second = run["results"]

        assert first["locations"] == [{"logicalLocations": [{"fullyQualifiedName": "users"}]}]
        assert first["partialFingerprints"] == {"sqlkeel/v1": "singular-table:users"}
        assert run["tool"]["driver"]["rules"][second["ruleIndex"]]["id"] == second["ruleId"] == "snake-case"
        assert second["message"]["text"] == "50% wrong,\nor more. Fix: it."
        assert second["locations"][0]["physicalLocation"] == {
            "artifactLocation": {"uri": "file:///nowhere/a%2Cb%3Ac.py"},
            "region": {"startLine": 12},
        }


class TestFormats:
    @pytest.mark.parametrize("style", FORMATS)
    def test_every_finding_is_there(self, style: str) -> None:
        """No format leaves a finding out."""
        text = report([TABLE, COLUMN], style)  # type: ignore[arg-type]

        assert "users" in text
        assert "user.Name" in text
