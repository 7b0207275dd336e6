"""Hold models to the rules."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any

from sqlalchemy import MetaData, Table
from sqlalchemy.orm import Mapper, registry

from ..errors import ConfigurationError
from .finding import Finding, Schema
from .rulebook import load_rules

__all__ = ["check"]


def check(
    target: MetaData | type[Any] | ModuleType, *, singular: Iterable[str] = (), ignore: Iterable[str] = ()
) -> list[Finding]:
    """Return what breaks the rules in the models of *target*, sorted by table.

    Needs no database. Put it into a test, ``assert not check(Base)``, or run ``sqlkeel lint``.

    Args:
        target: A declarative base, a `MetaData`, or a module that holds one or the other.
        singular: Words that look like a plural and are none, ``["news"]``.
        ignore: What is let through: ``"code"`` everywhere, ``"code:table"`` and ``"code:table.column"`` at one place.

    Raises:
        ConfigurationError: When *target* holds no tables, or *ignore* names a rule that does not exist.
    """
    ignored = set(ignore)
    _refuse_unknown(ignored)
    words = frozenset(singular)
    schemas = [Schema(metadata, _mappers_on(metadata, target), words) for metadata in _metadata_of(target)]
    found = {finding for schema in schemas for finding in _findings(schema)}
    return sorted(one for one in found if not {one.code, f"{one.code}:{one.where}"} & ignored)


def _findings(schema: Schema) -> Iterator[Finding]:
    for table in schema.metadata.tables.values():
        for rule in load_rules():
            for problem in rule.check(table, schema):
                yield Finding(problem.where, rule.code, problem.message, problem.fix)


def _metadata_of(target: object) -> list[MetaData]:
    found = [one for one in map(_metadata, _candidates(target)) if one is not None and one.tables]
    if not found:
        raise ConfigurationError(f"{target!r} holds no tables.", hint="check(Base), after the models are imported.")
    return list({id(one): one for one in found}.values())


def _mappers_on(metadata: MetaData, target: object) -> dict[Table, tuple[Mapper[Any], ...]]:
    registries = {one for candidate in _candidates(target) if (one := _registry(candidate)) is not None}
    found: dict[Table, list[Mapper[Any]]] = defaultdict(list)
    for mapper in (mapper for one in registries for mapper in one.mappers):
        if isinstance(mapper.local_table, Table) and mapper.local_table.metadata is metadata:
            found[mapper.local_table].append(mapper)
    return {table: tuple(sorted(mappers, key=_depth)) for table, mappers in found.items()}


def _depth(mapper: Mapper[Any]) -> tuple[int, str]:
    return len(list(mapper.iterate_to_root())), mapper.class_.__qualname__


def _registry(candidate: object) -> registry | None:
    found = getattr(candidate, "registry", None)
    return found if isinstance(found, registry) else None


def _candidates(target: object) -> Iterable[object]:
    return vars(target).values() if isinstance(target, ModuleType) else (target,)


def _metadata(candidate: object) -> MetaData | None:
    if isinstance(candidate, Table):
        return candidate.metadata
    if (models := _registry(candidate)) is not None:
        # Configured mappers have written ON DELETE into the foreign keys.
        models.configure()
    metadata = getattr(candidate, "metadata", candidate)
    return metadata if isinstance(metadata, MetaData) else None


def _refuse_unknown(ignored: set[str]) -> None:
    unknown = {entry.partition(":")[0] for entry in ignored} - {rule.code for rule in load_rules()}
    if unknown:
        raise ConfigurationError(
            f"There is no rule {', '.join(sorted(unknown))}.",
            hint=f"The rules are {', '.join(rule.code for rule in load_rules())}.",
        )
