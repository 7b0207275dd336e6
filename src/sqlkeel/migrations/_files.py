"""The files of a migrations directory: their names, and the two that every directory has."""

from __future__ import annotations

import re
import shutil
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime
from itertools import count
from pathlib import Path
from typing import Final

from ..errors import MigrationError

__all__ = ["make_directory", "new_file", "require_environment", "slug"]

MAX_SLUG: Final = 48

_ENV: Final = '''\
"""Run the migrations of this project; settings are in pyproject.toml under [tool.sqlkeel]."""

from sqlkeel.migrations.env import run

run()
'''

_TEMPLATE: Final = '''\
"""${message}

Revision: ${up_revision}
Follows:  ${down_revision | comma,n}
Made:     ${create_date}
"""

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
'''

_MARK: Final = "sqlkeel.migrations"


@contextmanager
def make_directory(directory: Path) -> Iterator[None]:
    """Create what is missing: the directory, ``env.py``, ``script.py.mako``; change nothing else.

    The new files are deleted again if the block fails.
    """
    made = [folder for folder in (directory / "versions", directory, *directory.parents) if not folder.exists()]
    directory.mkdir(parents=True, exist_ok=True)
    files = [(directory / "env.py", _ENV), (directory / "script.py.mako", _TEMPLATE)]
    files = [(path, content) for path, content in files if not path.exists()]
    for path, content in files:
        path.write_text(content, encoding="utf-8")
    try:
        yield
    except BaseException:
        for path, _ in files:
            path.unlink()
        for folder in made:
            shutil.rmtree(folder / "__pycache__", ignore_errors=True)
            with suppress(OSError):  # The folder is not empty: someone else has added a file.
                folder.rmdir()
        raise


def require_environment(directory: Path) -> None:
    """Check that sqlkeel can use the directory.

    Raises:
        MigrationError: When it does not exist, or its ``env.py`` would not run on our connection.
    """
    env = directory / "env.py"
    if not env.exists():
        raise MigrationError(
            f"There are no migrations in {directory}.", hint='sqlkeel migrate new "first tables" creates the directory.'
        )
    if _MARK not in env.read_text(encoding="utf-8"):
        raise MigrationError(
            f"{env} does not call sqlkeel.",
            hint="Write:  from sqlkeel.migrations.env import run; run()  and pass options of configure() to run().",
        )


def slug(message: str) -> str:
    """Return *message* as part of a file name: ASCII, lower case, whole words, at most `MAX_SLUG` characters."""
    ascii_text = unicodedata.normalize("NFKD", message).encode("ascii", "ignore").decode()
    words = re.findall(r"[a-z0-9]+", ascii_text.lower())
    text = "_".join(words)
    if len(text) > MAX_SLUG:
        text = text[: MAX_SLUG + 1].rpartition("_")[0] or text[:MAX_SLUG]
    return text or "migration"


@contextmanager
def new_file(versions: Path, message: str, *, day: date | None = None, stem: str | None = None) -> Iterator[Path]:
    """Create a file with an unused name like ``2024-08-24_add_users_table.py``; append ``_2``, ``_3`` if it is taken.

    *stem* replaces that name by one from the project's own ``file_template``.

    Creating the file reserves the name, so that two callers never get the same one. It is deleted if the block fails.
    """
    path = _take(versions, stem or f"{day or datetime.now(UTC).date():%Y-%m-%d}_{slug(message)}")
    try:
        yield path
    except BaseException:
        path.unlink()
        raise


def _take(versions: Path, stem: str) -> Path:
    for number in count(1):
        path = versions / (f"{stem}.py" if number == 1 else f"{stem}_{number}.py")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.open("x").close()
        except FileExistsError:
            continue
        return path
    raise AssertionError  # unreachable: count() does not end
