"""The rules: found in the folder, each a module, and written out as a page of the docs."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module

from sqlalchemy import Table

from . import rules as _shelf
from .finding import Problem, Schema

__all__ = ["Rule", "load_rules", "render_rules"]

_HEAD = """\
# Rules

`sqlkeel lint` and `sqlkeel.lint.check(Base)` hold the models to these rules. Made from the rules' own text by
`sqlkeel.lint.render_rules()`.
"""


@dataclass(frozen=True)
class Rule:
    """One rule: its code, why it is there, an example that breaks it, one that keeps it, and the check itself."""

    code: str
    why: str
    bad: str
    good: str
    check: Callable[[Table, Schema], Iterator[Problem]]


@cache
def load_rules() -> tuple[Rule, ...]:
    """Return all rules, by code: every module in ``rules/``."""
    return tuple(_load(name) for _, name, _ in sorted(pkgutil.iter_modules(_shelf.__path__), key=lambda one: one.name))


def render_rules() -> str:
    """Return the page of the docs on all rules."""
    return "\n".join([_HEAD, *(_section(rule) for rule in load_rules())])


def _load(name: str) -> Rule:
    module = import_module(f"{_shelf.__name__}.{name}")
    why = inspect.cleandoc(module.__doc__ or "")
    return Rule(name.replace("_", "-"), why, _example(module.BAD), _example(module.GOOD), module.check)


def _example(source: str) -> str:
    return inspect.cleandoc(source)


def _section(rule: Rule) -> str:
    return f"## {rule.code}\n\n{rule.why}\n\n```py\n# refused\n{rule.bad}\n\n# accepted\n{rule.good}\n```\n"
