"""Check models, the responses of an application, or a live database against the rules."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from types import ModuleType
from typing import Any

from sqlalchemy import MetaData, Table
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.orm import Mapper, registry

from ..errors import ConfigurationError
from ._allowing import Allowance, allowances_in, parse_ignore, suppress
from ._finding import Finding, Problem, Schema
from ._locating import source_of
from ._reflecting import HasEngine, reflect
from ._responses import is_app
from ._rulebook import Rule, load_rules, require_rules

__all__ = ["check", "check_database", "judge"]


def check(
    target: MetaData | type[Any] | ModuleType,
    *,
    apps: Iterable[Any] = (),
    singular: Iterable[str] = (),
    ignore: Mapping[str, str] | None = None,
    exclude: Mapping[str, str] | None = None,
) -> list[Finding]:
    """Return what breaks the rules in the models of *target*, sorted by table.

    It does not need a database. Put it into a test, ``assert not check(Base)``, or run ``sqlkeel lint``.

    Args:
        target: A declarative base, a `MetaData`, or a module that contains either.
        apps: FastAPI or Litestar applications whose responses are built from these models.
        singular: Words that look like a plural but are not, ``["news"]``.
        ignore: Exceptions and their reasons: ``{"code": reason}`` everywhere, ``{"code:table.column": reason}`` at one
            place, with ``*`` as wildcard. An exception that suppresses nothing is reported. `allow` does the same in
            the model.
        exclude: Tables to skip and why, ``{"legacy_*": reason}``.

    Raises:
        ConfigurationError: When *target* holds no tables, a rule does not exist, or a reason is missing.
    """
    schemas = [
        Schema(metadata, _mappers_on(metadata, target), frozenset(singular)) for metadata in _metadata_of(target)
    ]
    allowances = [*parse_ignore(ignore or {}), *(one for each in schemas for one in allowances_in(each))]
    require_rules(one.code for one in allowances)
    apps = [*apps, *(one for one in _candidates(target) if is_app(one))]
    skipped = tuple(one.code for one in parse_ignore(exclude or {}, setting="exclude"))
    found = [finding for schema in schemas for finding in judge(schema, apps=apps, exclude=skipped)]
    kept, idle = suppress(found, allowances)
    return one_per_cause(sorted([*kept, *_unused(idle, allowances, with_apps=bool(apps))]))


async def check_database(
    database: HasEngine,
    *,
    models: MetaData | type[Any] | None = None,
    schemas: Iterable[str] = (),
    singular: Iterable[str] = (),
    ignore: Mapping[str, str] | None = None,
    exclude: Mapping[str, str] | None = None,
) -> list[Finding]:
    """Return what breaks the rules in a live database, sorted by table; the database is only read.

    Use it for a database that other applications created, or for what the models do not show. A rule is skipped on a
    database that does not show what the rule needs. Unlike `check`, this does not report exceptions that suppress
    nothing: the same list serves the models, and the database shows only part of them.

    Args:
        database: A `Database`, or an `AsyncEngine`.
        models: The models whose `allow` exceptions apply.
        schemas: The schemas to check; by default, the default schema.
        singular: As for `check`.
        ignore: As for `check`.
        exclude: As for `check`; ``alembic_version`` is always excluded.

    Raises:
        ConfigurationError: When a rule does not exist or a reason is missing.
        DatabaseFault: When the database cannot be read.
    """
    allowances = [*parse_ignore(ignore or {})]
    if models is not None:
        allowances += [one for metadata in _metadata_of(models) for one in allowances_in(Schema(metadata))]
    require_rules(one.code for one in allowances)
    skipped = [one.code for one in parse_ignore(exclude or {}, setting="exclude")]
    schema = await reflect(database, schemas=schemas, exclude=skipped, singular=singular)
    return suppress(judge(schema), allowances)[0]


def judge(schema: Schema, *, apps: Iterable[Any] = (), exclude: Iterable[str] = ()) -> Iterator[Finding]:
    """Yield everything that the rules find in a schema, before exceptions are applied."""
    rules = [rule for rule in load_rules() if schema.database not in rule.unseen_on]
    for table in schema.metadata.tables.values():
        if not any(fnmatchcase(table.fullname, pattern) for pattern in exclude):
            for rule in rules:
                yield from (_finding(rule, problem, table, schema) for problem in rule.check(table, schema))
    for app in apps:
        for rule in rules:
            yield from (_plain(rule, problem) for problem in rule.check_app(app, schema))


def _finding(rule: Rule, problem: Problem, table: Table, schema: Schema) -> Finding:
    _, _, column = problem.where.partition(".")
    where = f"{table.schema}.{problem.where}" if table.schema else problem.where
    source = problem.source or source_of(schema.mappers_of(table), column or None, table=table)
    # If several tables have a column from the same line, that line is in a mixin.
    cause = problem.cause or (str(source) if column and source is not None else None)
    return Finding(where, rule.code, problem.message, problem.fix, problem.rename, source, cause)


def _plain(rule: Rule, problem: Problem) -> Finding:
    return Finding(problem.where, rule.code, problem.message, problem.fix, problem.rename, problem.source)


def one_per_cause(findings: Iterable[Finding]) -> list[Finding]:
    """Return one finding per cause, the first, and add in how many other tables it occurs."""
    places: dict[tuple[str, str | None], list[Finding]] = defaultdict(list)
    for number, one in enumerate(findings):
        places[one.code, one.cause or f"alone {number}"].append(one)
    return [_with_others(*found) for found in places.values()]


def _with_others(first: Finding, *others: Finding) -> Finding:
    tables = {one.where.partition(".")[0] for one in others} - {first.where.partition(".")[0]}
    if not tables:
        return first
    more = "in 1 more table" if len(tables) == 1 else f"in {len(tables)} more tables"
    return replace(first, message=f"{first.message} Also {more}.")


def _unused(idle: Iterable[Allowance], allowances: Iterable[Allowance], *, with_apps: bool) -> list[Finding]:
    # Without an application, the rules about responses did not run, so their exceptions cannot be judged.
    silent = set() if with_apps else {rule.code for rule in load_rules() if rule.is_about_apps}
    judged = [one for one in idle if one.code not in silent]
    found = [_plain(rule, problem) for rule in load_rules() for problem in rule.check_idle(judged)]
    return suppress(found, allowances)[0]


def _metadata_of(target: object) -> list[MetaData]:
    found = [one for one in map(_metadata, _candidates(target)) if one is not None and one.tables]
    if not found:
        raise ConfigurationError(
            f"{target!r} contains no tables.", hint="Call check(Base) after the models are imported."
        )
    return list({id(one): one for one in found}.values())


def _mappers_on(metadata: MetaData, target: object) -> dict[Table, tuple[Mapper[Any], ...]]:
    registries = {one for candidate in _candidates(target) for one in _registries(candidate)}
    found: dict[Table, list[Mapper[Any]]] = defaultdict(list)
    for mapper in (mapper for one in registries for mapper in one.mappers):
        if isinstance(mapper.local_table, Table) and mapper.local_table.metadata is metadata:
            found[mapper.local_table].append(mapper)
    return {table: tuple(sorted(mappers, key=_depth)) for table, mappers in found.items()}


def _depth(mapper: Mapper[Any]) -> tuple[int, str]:
    return len(list(mapper.iterate_to_root())), mapper.class_.__qualname__


def _registries(candidate: object) -> set[registry]:
    """Return the registry of a base; if it has none, as SQLModel's, the registries of its subclasses."""
    if (own := _registry(candidate)) is not None:
        return {own}
    if not isinstance(candidate, type) or not isinstance(getattr(candidate, "metadata", None), MetaData):
        return set()
    mapper: object = sa_inspect(candidate, raiseerr=False)
    classes: list[type[Any]] = candidate.__subclasses__()
    below = {one for model in classes for one in _registries(model)}
    return below | {mapper.registry} if isinstance(mapper, Mapper) else below


def _registry(candidate: object) -> registry | None:
    found = getattr(candidate, "registry", None)
    return found if isinstance(found, registry) else None


def _candidates(target: object) -> Iterable[object]:
    return vars(target).values() if isinstance(target, ModuleType) else (target,)


def _metadata(candidate: object) -> MetaData | None:
    if isinstance(candidate, Table):
        return candidate.metadata
    for models in _registries(candidate):
        # Configuring the mappers writes ON DELETE into the foreign keys.
        models.configure()
    metadata = getattr(candidate, "metadata", candidate)
    return metadata if isinstance(metadata, MetaData) else None
