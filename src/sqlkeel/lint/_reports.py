"""Findings as text, JSON, GitHub annotations, or SARIF."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any, Final, Literal

from ._baseline import fingerprint
from ._finding import Finding
from ._rulebook import load_rules

__all__ = ["FORMATS", "Format", "report"]

Format = Literal["text", "json", "github", "sarif"]

_SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def report(findings: Sequence[Finding], style: Format = "text") -> str:
    """Return all findings as one text; empty if there are none and the format allows that."""
    return FORMATS[style](findings)


def _text(findings: Sequence[Finding]) -> str:
    lines = []
    for one in findings:
        place = f"{one.source}: " if one.source else ""
        lines += [f"{place}{one.code}  {one.where}: {one.message}", f"    fix: {one.fix}"]
    return "\n".join(lines)


def _json(findings: Sequence[Finding]) -> str:
    return json.dumps({"findings": [_entry(one) for one in findings]}, indent=2, ensure_ascii=False)


def _entry(finding: Finding) -> dict[str, Any]:
    source, rename = finding.source, finding.rename
    return {
        "code": finding.code,
        "where": finding.where,
        "message": finding.message,
        "fix": finding.fix,
        "rename": rename._asdict() if rename else None,
        "file": source.shown if source else None,
        "line": source.line if source else None,
    }


def _github(findings: Sequence[Finding]) -> str:
    """Write workflow commands; see "Workflow commands for GitHub Actions" in GitHub's documentation."""
    return "\n".join(
        f"::error {_properties(one)}::{_escape(f'{one.where}: {one.message} {one.fix}')}" for one in findings
    )


def _properties(finding: Finding) -> str:
    found = {"title": f"sqlkeel {finding.code}"}
    if finding.source:
        found |= {"file": finding.source.shown, "line": str(finding.source.line)}
    return ",".join(f"{name}={_escape(value).replace(':', '%3A').replace(',', '%2C')}" for name, value in found.items())


def _escape(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _sarif(findings: Sequence[Finding]) -> str:
    """Write SARIF 2.1.0 (OASIS) that includes all rules, so that a viewer can show the reasons."""
    rules = load_rules()
    index = {rule.code: number for number, rule in enumerate(rules)}
    driver = {
        "name": "sqlkeel",
        "version": version("sqlkeel"),
        "rules": [
            {"id": rule.code, "shortDescription": {"text": rule.summary}, "help": {"text": rule.why}} for rule in rules
        ],
    }
    results = [_result(one, index[one.code]) for one in findings]
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2, ensure_ascii=False)


def _result(finding: Finding, number: int) -> dict[str, Any]:
    location: dict[str, Any] = {"logicalLocations": [{"fullyQualifiedName": finding.where}]}
    if finding.source:
        region = {"startLine": finding.source.line}
        location["physicalLocation"] = {"artifactLocation": {"uri": finding.source.uri}, "region": region}
    return {
        "ruleId": finding.code,
        "ruleIndex": number,
        "level": "error",
        "message": {"text": f"{finding.message} {finding.fix}"},
        "locations": [location],
        "partialFingerprints": {"sqlkeel/v1": fingerprint(finding)},
    }


FORMATS: Final[Mapping[Format, Callable[[Sequence[Finding]], str]]] = {
    "text": _text,
    "json": _json,
    "github": _github,
    "sarif": _sarif,
}
