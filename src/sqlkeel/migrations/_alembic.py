"""Alembic's private names that we use, all in this module.

`tests/migrations/test_alembic.py` has a canary test for each, which says what breaks without it.
"""

from __future__ import annotations

import copy
from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from alembic.autogenerate import render
from alembic.autogenerate.api import AutogenContext
from alembic.config import Config
from alembic.script import ScriptDirectory, write_hooks
from sqlalchemy import Column, Index
from sqlalchemy.types import TypeEngine

__all__ = [
    "TABLE_OF_COPY",
    "become",
    "difference_in_uniqueness",
    "file_of",
    "is_command",
    "name_next_file",
    "quiet",
    "render_column",
    "render_constraint",
    "render_type",
    "run_hooks",
    "sql_of",
    "steps_down",
    "steps_up",
    "take_hooks",
]

TABLE_OF_COPY: Final = "_alembic_tmp_"
"""The prefix of the temporary table to which Alembic copies a SQLite table."""


def become(operation: Any, kind: type[Any]) -> Any:
    """Return a copy of an operation of autogenerate that is of a class of ours, which is written otherwise."""
    other = copy.copy(operation)
    other.__class__ = kind
    return other


def quiet() -> Namespace:
    """Return the options of a command that prints nothing."""
    return Namespace(quiet=True)


def is_command(config: Config) -> bool:
    """Return whether the command ``alembic`` runs, which prints a `CommandError` without a traceback."""
    return hasattr(config.cmd_opts, "cmd")


def steps_up(scripts: ScriptDirectory, target: str, now: Any) -> Iterable[Any]:
    """Return the revisions that lead from the database's current state up to *target*."""
    return scripts._upgrade_revs(target, now)


def steps_down(scripts: ScriptDirectory, target: str, now: Any) -> Iterable[Any]:
    """Return the revisions to revert from the database's current state down to *target*."""
    return scripts._downgrade_revs(target, now)


def file_of(scripts: ScriptDirectory, folder: Path, *, revision: str, message: str) -> Path:
    """Return the file to which Alembic would write a new revision, by the project's template."""
    return Path(scripts._rev_path(folder, revision, message, scripts._generate_create_date()))


def name_next_file(scripts: ScriptDirectory, stem: str) -> None:
    """Make Alembic write the next revision to a file of this name, whatever the project's template is."""
    scripts.file_template = stem.replace("%", "%%")


def take_hooks(scripts: ScriptDirectory) -> Any:
    """Remove and return the project's hooks, so that they can run later."""
    hooks, scripts.hooks = scripts.hooks, []
    return hooks


def run_hooks(path: Path, hooks: Any) -> None:
    """Run the project's own hooks on a new file."""
    write_hooks._run_hooks(path, hooks)


def render_type(kind: TypeEngine[Any], context: AutogenContext) -> str:
    """Return the code for a type in a revision."""
    return render._repr_type(kind, context)


def render_column(column: Column[Any], context: AutogenContext) -> str:
    """Return the code for a column in a revision."""
    return render._render_column(column, context)


def render_constraint(constraint: Any, context: AutogenContext) -> str | None:
    """Return the code for a constraint of a new table in a revision."""
    return render._render_constraint(constraint, context, None)


def difference_in_uniqueness(implementation: Any, wanted: Index, found: Index) -> str | None:
    """Return a description if only one of two indexes is unique."""
    difference: str | None = implementation._compare_index_unique(wanted, found)
    return difference


def sql_of(implementation: Any, element: Any) -> str:
    """Return an expression of an index as Alembic compares it."""
    return str(implementation._compile_element(element))
