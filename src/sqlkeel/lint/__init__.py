"""Lint rules for models, live databases and API responses: names, types, indexes, and leaked internal ids.

``check(Base)`` returns what breaks the rules; ``sqlkeel lint`` prints it. Each rule is one file in ``rules/``. Its
docstring is its section in ``docs/rules.md``, its examples are its tests, and rules are discovered, not listed.
"""

from ._allowing import allow
from ._baseline import Baseline
from ._checking import check, check_database
from ._finding import Finding, Problem, Rename, Schema, Source
from ._renaming import RenamePlan, plan_renames
from ._reports import report
from ._rulebook import Rule, explain, load_rules, render_rules

__all__ = [
    "Baseline",
    "Finding",
    "Problem",
    "Rename",
    "RenamePlan",
    "Rule",
    "Schema",
    "Source",
    "allow",
    "check",
    "check_database",
    "explain",
    "load_rules",
    "plan_renames",
    "render_rules",
    "report",
]
