"""What we use of Alembic that it does not promise: private names stand here and nowhere else.

`tests/migrations/test_alembic.py` has a canary for each, which says what breaks.
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
"""What the name of a table begins with that is made anew on SQLite."""


def become(operation: Any, kind: type[Any]) -> Any:
    """Return a copy of an operation of autogenerate that is of a class of ours, which is written otherwise."""
    other = copy.copy(operation)
    other.__class__ = kind
    return other


def quiet() -> Namespace:
    """Return the options of a command that says nothing of what it does."""
    return Namespace(quiet=True)


def is_command(config: Config) -> bool:
    """Tell whether the command ``alembic`` runs, which prints a `CommandError` without a traceback."""
    return hasattr(config.cmd_opts, "cmd")


def steps_up(scripts: ScriptDirectory, target: str, now: Any) -> Iterable[Any]:
    """Return the revisions that lead from where a database is to *target*."""
    return scripts._upgrade_revs(target, now)


def steps_down(scripts: ScriptDirectory, target: str, now: Any) -> Iterable[Any]:
    """Return the revisions to be taken back from where a database is to *target*."""
    return scripts._downgrade_revs(target, now)


def file_of(scripts: ScriptDirectory, folder: Path, *, revision: str, message: str) -> Path:
    """Return the file that Alembic would write a new revision to, by the template of the project."""
    return Path(scripts._rev_path(folder, revision, message, scripts._generate_create_date()))


def name_next_file(scripts: ScriptDirectory, stem: str) -> None:
    """Have the next revision written to a file of this name, whatever the template of the project is."""
    scripts.file_template = stem.replace("%", "%%")


def take_hooks(scripts: ScriptDirectory) -> Any:
    """Take away the project's hooks, to be run later."""
    hooks, scripts.hooks = scripts.hooks, []
    return hooks


def run_hooks(path: Path, hooks: Any) -> None:
    """Run the project's own hooks on a new file."""
    write_hooks._run_hooks(path, hooks)


def render_type(kind: TypeEngine[Any], context: AutogenContext) -> str:
    """Write a type as a revision has it."""
    return render._repr_type(kind, context)


def render_column(column: Column[Any], context: AutogenContext) -> str:
    """Write a column as a revision has it."""
    return render._render_column(column, context)


def render_constraint(constraint: Any, context: AutogenContext) -> str | None:
    """Write a constraint of a new table as a revision has it."""
    return render._render_constraint(constraint, context, None)


def difference_in_uniqueness(implementation: Any, wanted: Index, found: Index) -> str | None:
    """Say that one of two indexes is unique, and the other not."""
    difference: str | None = implementation._compare_index_unique(wanted, found)
    return difference


def sql_of(implementation: Any, element: Any) -> str:
    """Write an expression of an index as Alembic compares it."""
    return str(implementation._compile_element(element))
