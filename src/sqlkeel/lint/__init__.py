"""Rules for models, live databases and responses: names, types, indexes, and what must not go out.

``check(Base)`` returns what breaks them; ``sqlkeel lint`` prints it. A rule is one file in ``rules/``: its docstring
is its page in ``docs/rules.md``, its examples are its tests, and no list has to be edited to add one.
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
