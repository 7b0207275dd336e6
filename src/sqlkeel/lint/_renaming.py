"""Plan the renames that fix findings in a live database, and write the code of the revision."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from sqlalchemy import Column, Connection, ForeignKeyConstraint, Index, MetaData, PrimaryKeyConstraint, Table
from sqlalchemy.ext.asyncio import AsyncConnection

from ._allowing import Allowance, allowances_in, parse_ignore
from ._convention import Named, convention_name
from ._databases.renamer import ConstraintRename, Renamer, Step, StoredCode, execute, renamer_for
from ._finding import Schema
from ._reflecting import HasEngine, engine_of, reading_options, reflect
from ._rulebook import load_rules
from .rules.constraint_name import follows

__all__ = ["RenamePlan", "plan_renames"]

_ROUNDS: Final = 5
_RULE: Final = "constraint-name"


@dataclass(frozen=True)
class RenamePlan:
    """The renames, the bodies of the revision that makes and reverts them, and the names that cannot be changed."""

    renames: tuple[str, ...]
    """One line for each rename, ``post.likedBy → liked_by``."""

    upgrade: str
    downgrade: str
    refused: tuple[str, ...]
    """One line for each finding whose rename this database does not allow, with the reason."""


async def plan_renames(
    database: HasEngine,
    *,
    models: Any = None,
    schemas: Iterable[str] = (),
    singular: Iterable[str] = (),
    ignore: Mapping[str, str] | None = None,
    exclude: Mapping[str, str] | None = None,
) -> RenamePlan:
    """Find the names in a live database that break the rules, and plan how to change each without rewriting rows.

    Nothing is written. Constraints get the names that the convention gives them on the renamed tables and columns, so
    that the models agree with the database once you have renamed them by hand. Names with an exception are kept. An
    application that still uses the old names fails as soon as they are gone, so stop it first.

    Args:
        database: A `Database`, or an `AsyncEngine`.
        models: The models whose `allow` exceptions apply.
        schemas: As for `check_database`.
        singular: Words that look like a plural but are not.
        ignore: Names to keep, as for `check_database`.
        exclude: Tables to skip, as for `check_database`.

    Raises:
        ConfigurationError: When a reason is missing.
    """
    patterns = [one.code for one in parse_ignore(exclude or {}, setting="exclude")]
    allowances = parse_ignore(ignore or {})
    if models is not None:
        allowances += allowances_in(Schema(getattr(models, "metadata", models)))
    schema = await reflect(database, schemas=schemas, exclude=patterns, singular=singular)
    engine = engine_of(database)
    async with engine.connect() as connection:
        connection = await connection.execution_options(**reading_options(engine))
        return await _plan(connection, schema, allowances)


async def _plan(connection: AsyncConnection, schema: Schema, allowances: list[Allowance]) -> RenamePlan:
    return await connection.run_sync(lambda sync: _Planner(schema, allowances, sync).plan())


@dataclass
class _Planner:
    schema: Schema
    allowances: list[Allowance]
    connection: Connection
    tables: dict[Table, str] = field(default_factory=dict)
    columns: dict[Table, dict[str, str]] = field(default_factory=dict)
    renames: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    claimed: set[str] = field(default_factory=set)
    taken: dict[str | None, set[str]] = field(default_factory=dict)

    def plan(self) -> RenamePlan:
        """Plan tables and columns first, because the names of constraints depend on them."""
        self._settle()
        self._refuse_what_stored_code_names(list(self.backend.stored_code(self.connection)))
        self._refuse_taken_names()
        # Constraints are renamed first, while tables and columns still have their old names.
        steps = [*self._constraint_steps(), *self._column_steps(), *self._table_steps()]
        up, down = [one.up for one in steps], [one.down for one in reversed(steps)]
        return RenamePlan(tuple(self.renames), "\n".join(up), "\n".join(down), tuple(self.refused))

    @property
    def backend(self) -> Renamer:
        return renamer_for(self.connection.dialect.name)

    @property
    def preparer(self) -> Any:
        return self.connection.dialect.identifier_preparer

    def _settle(self) -> None:
        """Ask the rules until they have nothing to rename: one rule's new name may break another rule."""
        for _ in range(_ROUNDS):
            moved: set[tuple[Table, str | None]] = set()
            for table, code, column, new in list(self._wanted()):
                # Another rule derived its new name for the same thing from the old name: ask again.
                if (table, column) not in moved and self._take(table, code, column, new):
                    moved.add((table, column))
            if not moved:
                return

    def _wanted(self) -> Iterator[tuple[Table, str, str | None, str]]:
        """Yield table, code, column and new name of each rename that the rules want in the planned schema."""
        shadows = self._shadows()
        schema = replace(self.schema, metadata=next(iter(shadows)).metadata) if shadows else self.schema
        for shadow, table in shadows.items():
            present = {new: old for old, new in self.columns.get(table, {}).items()}
            for rule in (one for one in load_rules() if schema.database not in one.unseen_on):
                for rename in (problem.rename for problem in rule.check(shadow, schema)):
                    if rename is not None and rename.kind == "table":
                        yield table, rule.code, None, rename.new
                    elif rename is not None and rename.kind == "column":
                        yield table, rule.code, present.get(str(rename.old), rename.old), rename.new

    def _shadows(self) -> dict[Table, Table]:
        """Return the tables with their new names, each with its current table."""
        metadata, made = MetaData(), {}
        for table in self._all():
            columns = [Column(self._column(table, one.name), one.type) for one in table.columns]
            keys = [self._shadow_of(key) for key in table.foreign_key_constraints]
            name = self.tables.get(table, table.name)
            # Two tables may want the same name until _refuse_taken_names() has run.
            made[Table(name, metadata, *columns, *keys, schema=table.schema, extend_existing=True)] = table
        return made

    def _shadow_of(self, key: ForeignKeyConstraint) -> ForeignKeyConstraint:
        targets = []
        for element in key.elements:
            place, _, column = element.target_fullname.rpartition(".")
            target = self.schema.metadata.tables.get(place)
            if target is not None:
                schema = f"{target.schema}." if target.schema else ""
                place, column = f"{schema}{self.tables.get(target, target.name)}", self._column(target, column)
            targets.append(f"{place}.{column}")
        return ForeignKeyConstraint([self._column(key.table, column.name) for column in key.columns], targets)

    def _column(self, table: Table, name: str) -> str:
        return self.columns.get(table, {}).get(name, name)

    def _take(self, table: Table, code: str, column: str | None, new: str) -> bool:
        """Record a rename unless an exception covers it; return whether it is new."""
        if self._allows(code, table.fullname if column is None else f"{table.fullname}.{column}"):
            return False
        if column is None:
            known, self.tables[table] = self.tables.get(table, table.name), new
        else:
            names = self.columns.setdefault(table, {})
            known, names[column] = names.get(column, column), new
        return known != new

    def _allows(self, code: str, where: str) -> bool:
        return any(one.covers(code, where) for one in self.allowances)

    def _taken(self, schema: str | None) -> set[str]:
        """Return the names that are in use, including those of excluded objects."""
        if schema not in self.taken:
            self.taken[schema] = self.backend.taken(self.connection, schema)
        return self.taken[schema]

    def _refuse_taken_names(self) -> None:
        """Keep the old name if another object has the new one."""
        after = Counter((table.schema, self.tables.get(table, table.name)) for table in self._all())
        for table, new in list(self.tables.items()):
            if after[table.schema, new] > 1 or new in self._taken(table.schema):
                self._refuse(table, None, f'"{new}" is taken')
        for table, names in self.columns.items():
            result = Counter(names.get(one.name, one.name) for one in table.columns)
            for column, new in list(names.items()):
                if result[new] > 1 or new in table.columns:
                    self._refuse(table, column, f'"{new}" is taken')

    def _refuse_what_stored_code_names(self, stored: Iterable[StoredCode]) -> None:
        for code in stored:
            words = set(re.findall(r"\w+", code.text))
            for table in self._all():
                if table.name not in words:
                    continue
                if table in self.tables:
                    self._refuse(table, None, f"{code.name} names it")
                for column in [one for one in self.columns.get(table, {}) if one in words]:
                    self._refuse(table, column, f"{code.name} names it")

    def _all(self) -> list[Table]:
        # Reflection returns them in any order.
        return sorted(self.schema.metadata.tables.values(), key=lambda table: table.fullname)

    def _refuse(self, table: Table, column: str | None, reason: str) -> None:
        if column is None:
            self.refused.append(f"{table.fullname} → {self.tables.pop(table)}: {reason}")
        else:
            self.refused.append(f"{table.fullname}.{column} → {self.columns[table].pop(column)}: {reason}")

    def _constraint_steps(self) -> Iterator[Step]:
        for table in self._all():
            renames = self._without_taken(table, list(self._constraints(table)))
            reason = self.backend.rename_obstacle(self.connection, table) if renames else None
            # An index can always be renamed, even when a constraint cannot.
            for one in [one for one in renames if reason and _is_constraint(one.item)]:
                self.refused.append(f"{_named(table, one.item)} → {one.new}: {reason}")
                renames.remove(one)
            self.renames += [f"{_named(table, one.item)} → {one.new}" for one in renames]
            yield from self.backend.rename_constraints(table, renames, self.preparer)

    def _constraints(self, table: Table) -> Iterator[ConstraintRename]:
        """Yield the constraints whose name differs from what the convention gives them on the renamed table."""
        if self._allows(_RULE, table.fullname):
            return
        new, columns = self.tables.get(table, table.name), self.columns.get(table, {})
        keys = {key.name for key in table.foreign_key_constraints}
        items: list[Any] = sorted([*table.constraints, *table.indexes], key=lambda one: (str(one.name), str(type(one))))
        for item in items:
            by_product = not _is_constraint(item) and item.name in keys
            if by_product or not _has_name(item, self.backend):
                continue
            wanted = convention_name(item, table=new, columns=columns)
            if wanted is None and not follows(item, new):
                self.refused.append(f"{_named(table, item)}: the convention has no name for it")
            elif wanted is not None and item.name != wanted and self._must_move(table, item, new):
                yield ConstraintRename(item, wanted)

    def _must_move(self, table: Table, item: Named, new: str) -> bool:
        """Return whether the name is wrong, or will be; a good name that the project chose is kept."""
        if not follows(item, table.name) or not follows(item, new):
            return True
        return str(item.name) == convention_name(item, table=table.name, columns={})

    def _without_taken(self, table: Table, renames: list[ConstraintRename]) -> list[ConstraintRename]:
        items: list[Any] = [one for each in self._all() for one in (*each.constraints, *each.indexes)]
        present = {str(one.name) for one in items} | self._taken(table.schema)
        wanted = Counter(one.new for one in renames)
        for one in list(renames):
            # On PostgreSQL and SQLite the name of an index is unique in the whole schema.
            if wanted[one.new] > 1 or one.new in present | self.claimed:
                self.refused.append(f'{_named(table, one.item)} → {one.new}: "{one.new}" is taken')
                renames.remove(one)
        self.claimed |= {one.new for one in renames}
        return renames

    def _column_steps(self) -> Iterator[Step]:
        for table, names in self.columns.items():
            place = f"ALTER TABLE {self.preparer.format_table(table)} RENAME COLUMN"
            for old, new in names.items():
                self.renames.append(f"{table.fullname}.{old} → {new}")
                before, after = self.preparer.quote(old), self.preparer.quote(new)
                yield Step(execute(f"{place} {before} TO {after}"), execute(f"{place} {after} TO {before}"))

    def _table_steps(self) -> Iterator[Step]:
        for table, new in self.tables.items():
            self.renames.append(f"{table.fullname} → {new}")
            yield from self.backend.rename_table(table, new, self.preparer)


def _is_constraint(item: Any) -> bool:
    return not isinstance(item, Index)


def _has_name(item: Any, backend: Renamer) -> bool:
    return not isinstance(item, PrimaryKeyConstraint) or (backend.names_keys and bool(len(item.columns)))


def _named(table: Table, item: Any) -> str:
    return f"{table.fullname} {item.name or type(item).__name__}"
