"""Migrations: Alembic's files and history, run one at a time, with the traps of each database taken care of."""

from ._project import Project
from ._runner import Migrations, Revision

__all__ = ["Migrations", "Project", "Revision"]
