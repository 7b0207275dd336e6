"""Migrations: Alembic's files and history, run by one process at a time, with each database's pitfalls handled."""

from ._project import Project
from ._runner import Migrations, Revision

__all__ = ["Migrations", "Project", "Revision"]
