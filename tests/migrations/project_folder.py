"""A project in a folder of its own, as somebody who uses sqlkeel would have it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

__all__ = ["MODELS", "make_project", "run_command"]

SETTINGS = """
[tool.sqlkeel]
models = "{name}:Base"
"""
MODELS = """
from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column
import sqlkeel
from sqlkeel.models._keys import IntKeyMixin
class Base(sqlkeel.Base): ...
class User(IntKeyMixin, Base):
    __tablename__ = "user"
    email: Mapped[str] = mapped_column(String(100), unique=True)
"""


def make_project(folder: Path, *, name: str = "shop_models", models: str = MODELS, settings: str = SETTINGS) -> Path:
    """Write a pyproject.toml and a module of models; the database is that of DATABASE_URL."""
    (folder / "pyproject.toml").write_text(settings.format(name=name))
    (folder / f"{name}.py").write_text(models)
    return folder


def run_command(folder: Path, *command: str, url: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a console command of this environment in *folder*."""
    environment = {key: value for key, value in os.environ.items() if key != "DATABASE_URL"}
    environment |= {"COLUMNS": "200"} | ({"DATABASE_URL": url} if url else {})
    program = Path(sys.executable).with_name(command[0])
    return subprocess.run(
        [str(program), *command[1:]], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
