"""Rules for models, checked without a database: names, types and indexes.

``check(Base)`` returns what breaks them; ``sqlkeel lint`` prints it. A rule is one file in ``rules/``: its docstring
is its page in ``docs/rules.md``, its examples are its tests, and no list has to be edited to add one.
"""

from .checking import check
from .finding import Finding, Problem, Schema
from .rulebook import Rule, load_rules, render_rules

__all__ = ["Finding", "Problem", "Rule", "Schema", "check", "load_rules", "render_rules"]
