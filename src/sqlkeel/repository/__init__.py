"""Repositories: the usual queries and changes for one table, inside the caller's transaction."""

from typing import TYPE_CHECKING

from .._lazy import door

if TYPE_CHECKING:
    from ._repository import Repository

__all__ = ["Repository"]

if not TYPE_CHECKING:
    __getattr__, __dir__ = door(__name__, {"_repository": ["Repository"]})
