"""The rules: one module each, discovered in the folder, explained, and rendered as a page of the docs."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import Any

from sqlalchemy import Table

from ..errors import ConfigurationError
from . import rules as _shelf
from ._allowing import Allowance
from ._finding import Problem, Schema

__all__ = ["Rule", "explain", "load_rules", "render_rules", "require_rules"]

_HEAD = """\
# Rules

`sqlkeel lint` and `sqlkeel.lint.check(Base)` check models against these rules, and `sqlkeel lint --explain CODE` prints
one of them. [Lint](patterns/lint.md) shows how to run the rules and how to make an exception. This page is generated
from the docstrings of the rules by `sqlkeel.lint.render_rules()`.
"""


def _nothing(*_: Any) -> Iterator[Problem]:
    return iter(())


@dataclass(frozen=True)
class Rule:
    """One rule: its code, its reason, an example that breaks it, an example that follows it, and its checks.

    A rule checks tables, the responses of a web application, or the exceptions from other rules. Its module has the
    function for that.
    """

    code: str
    why: str
    bad: str
    good: str
    check: Callable[[Table, Schema], Iterator[Problem]] = _nothing
    check_app: Callable[[Any, Schema], Iterator[Problem]] = _nothing
    check_idle: Callable[[Iterable[Allowance]], Iterator[Problem]] = _nothing
    unseen_on: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Databases that do not show what the rule needs, and why."""

    @property
    def is_about_apps(self) -> bool:
        """Whether the rule checks only applications."""
        return self.check_app is not _nothing

    @property
    def summary(self) -> str:
        """The first sentence."""
        return self.why.partition("\n\n")[0].replace("\n", " ")


@cache
def load_rules() -> tuple[Rule, ...]:
    """Return all rules, sorted by code: every module in ``rules/``."""
    return tuple(_load(name) for _, name, _ in sorted(pkgutil.iter_modules(_shelf.__path__), key=lambda one: one.name))


def require_rules(codes: Iterable[str]) -> None:
    """Check that rules with these codes exist.

    Raises:
        ConfigurationError: When one does not; the message names all that are missing.
    """
    known = [rule.code for rule in load_rules()]
    unknown = sorted(set(codes) - set(known))
    if unknown:
        raise ConfigurationError(f"There is no rule {', '.join(unknown)}.", hint=f"The rules are {', '.join(known)}.")


def explain(code: str) -> str:
    """Return what a rule asks for, why, and both examples.

    Raises:
        ConfigurationError: When the rule does not exist.
    """
    require_rules([code])
    rule = next(rule for rule in load_rules() if rule.code == code)
    return "\n\n".join(
        [rule.code, _text(rule), f"Refused:\n\n{_indent(rule.bad)}", f"Accepted:\n\n{_indent(rule.good)}"]
    )


def render_rules() -> str:
    """Return the page of the docs on all rules."""
    return "\n".join([_HEAD, _contents(), *(_section(rule) for rule in load_rules())])


def _contents() -> str:
    rows = [f"| [{rule.code}](#{rule.code}) | {rule.summary} |" for rule in load_rules()]
    return "\n".join(["| rule | what it asks for |", "|---|---|", *rows, ""])


def _load(name: str) -> Rule:
    module = import_module(f"{_shelf.__name__}.{name}")
    why = inspect.cleandoc(module.__doc__ or "")
    hooks = {hook: getattr(module, hook) for hook in ("check", "check_app", "check_idle") if hasattr(module, hook)}
    unseen_on = getattr(module, "UNSEEN_ON", {})
    return Rule(name.replace("_", "-"), why, _example(module.BAD), _example(module.GOOD), **hooks, unseen_on=unseen_on)


def _example(source: str) -> str:
    return inspect.cleandoc(source)


def _section(rule: Rule) -> str:
    return f"## {rule.code}\n\n{_text(rule)}\n\n```py\n# refused\n{rule.bad}\n\n# accepted\n{rule.good}\n```\n"


def _text(rule: Rule) -> str:
    unseen = [f"Not judged in a live database of {name}: {why}" for name, why in rule.unseen_on.items()]
    return "\n\n".join([rule.why, *unseen])


def _indent(source: str) -> str:
    return "\n".join(f"    {line}".rstrip() for line in source.splitlines())
