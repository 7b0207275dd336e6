"""The order of the tables in a purge: referencing tables come first."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Any

from sqlalchemy import MetaData
from sqlalchemy.orm import Mapper, registry

from ..errors import ConfigurationError, NotSupported
from ._purge_deleted import DeletedRows
from ._purge_references import References
from ._soft_delete import SoftDeleteMixin

__all__ = ["Group", "plan"]


class Group:
    """Tables that are purged together because they reference each other in a cycle; usually a single table."""

    def __init__(self, members: list[DeletedRows], *, circular: bool) -> None:
        self.members = members
        self.circular = circular


def plan(models: Any) -> list[Group]:
    """Return the deleted rows of *models* and of all models below them, children first.

    Args:
        models: A mapped class, or a declarative base for all classes of its registry.

    Raises:
        NotSupported: When none of these models has soft delete.
        ConfigurationError: When *models* is neither.
    """
    known = getattr(models, "registry", None)
    if not isinstance(known, registry):
        what = "a MetaData has tables, not models" if isinstance(models, MetaData) else "it has no models"
        raise ConfigurationError(f"{models!r} cannot be purged: {what}.", hint="Name a model, or the declarative base.")
    references = References(known)
    tops = _tops(models, references)
    if not tops:
        name = getattr(models, "__name__", models)
        raise NotSupported(f"{name} has no soft delete.", hint="Give the model the SoftDeleteMixin.")
    below = {mapper: _reached(mapper, references) for mapper in _with_all_below(tops, references)}
    return _grouped(below, references)


def _tops(models: Any, references: References) -> list[Mapper[Any]]:
    mapper: Mapper[Any] | None = models.__dict__.get("__mapper__")
    if mapper is None:
        return list(dict.fromkeys(references.soft.values()))
    return [mapper] if issubclass(mapper.class_, SoftDeleteMixin) else []


def _below(mapper: Mapper[Any], references: References) -> Iterable[Mapper[Any]]:
    return dict.fromkeys(below for table in references.tables(mapper) for below in references.below(table))


def _with_all_below(tops: Iterable[Mapper[Any]], references: References) -> list[Mapper[Any]]:
    found = list(tops)
    for mapper in found:
        found.extend(below for below in _below(mapper, references) if below not in found)
    return found


def _reached(mapper: Mapper[Any], references: References) -> frozenset[Mapper[Any]]:
    return frozenset(_with_all_below(_below(mapper, references), references))


def _grouped(below: dict[Mapper[Any], frozenset[Mapper[Any]]], references: References) -> list[Group]:
    """Sort by the number of mappers below: one that is reached from another has fewer, except in a cycle."""

    def place(mapper: Mapper[Any]) -> tuple[int, bool, list[str]]:
        circular = mapper in below[mapper]
        return len(below[mapper]), not circular, sorted(one.class_.__qualname__ for one in below[mapper])

    groups = []
    for (_, straight, _names), members in groupby(
        sorted(below, key=lambda m: (place(m), m.class_.__qualname__)), place
    ):
        groups.append(Group([DeletedRows(mapper, references) for mapper in members], circular=not straight))
    return groups
