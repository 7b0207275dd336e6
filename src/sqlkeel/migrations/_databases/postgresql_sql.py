"""Find out whether two pieces of SQL mean the same to PostgreSQL: its planner normalises both."""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple

from alembic.ddl.impl import ComparisonResult
from sqlalchemy import Connection, Index, Table, text
from sqlalchemy.exc import DBAPIError

from ..._sql_text import POSTGRESQL, Token
from .. import _alembic as unpromised

__all__ = ["ComparesIndexes", "is_same"]

# The planner drops the parts of a list of columns that have no effect.
_IS_DEFAULT: Final = text("""
SELECT c.opcdefault FROM pg_catalog.pg_opclass c JOIN pg_catalog.pg_am m ON m.oid = c.opcmethod
 WHERE c.opcname = :name AND m.amname = :using ORDER BY 1 DESC LIMIT 1
""")

# Collations that the index states and that differ from those of its columns.
_COLLATIONS: Final = text("""
SELECT CASE WHEN a.attcollation <> coalesce(t.attcollation, y.typcollation) THEN quote_ident(c.collname) END
  FROM pg_catalog.pg_index i
  JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indexrelid AND a.attnum <= i.indnkeyatts
  JOIN pg_catalog.pg_type y ON y.oid = a.atttypid
  LEFT JOIN pg_catalog.pg_attribute t ON t.attrelid = i.indrelid AND t.attnum = nullif(i.indkey[a.attnum - 1], 0)
  LEFT JOIN pg_catalog.pg_collation c ON c.oid = a.attcollation
 WHERE i.indexrelid = to_regclass(:name) ORDER BY a.attnum
""")


def is_same(connection: Connection, ours: str, theirs: str, *, kind: str | None = None, table: str = "") -> bool:
    """Ask the server, which plans both and runs neither; a read-only transaction or a standby is enough.

    Args:
        connection: In a transaction, which stays usable whatever the server answers.
        ours: The SQL of the models. If the server does not understand it, usually because a column does not exist yet,
            the two are different.
        theirs: The reflected SQL.
        kind: The SQL of a type that both are cast to.
        table: The quoted name of the table whose columns they may use.
    """
    if ours == theirs:
        return True
    if _collations(ours) != _collations(theirs):
        return False
    both = ", ".join(f"({one})" if kind is None else f"CAST(({one}) AS {kind})" for one in (ours, theirs))
    source = f" FROM {table} WHERE false" if table else ""
    statement = f"EXPLAIN (VERBOSE, COSTS OFF, FORMAT JSON) SELECT {both}{source}"
    try:
        with connection.begin_nested():
            # Without parameters, the driver does not interpret % in the statement.
            plan: Any = connection.exec_driver_sql(statement, execution_options={"no_parameters": True}).scalar_one()
    except DBAPIError:
        return False
    first, second = (json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]["Output"]
    return bool(first == second)


def _collations(sql: str) -> list[str]:
    """Return the collations that the SQL names; from a list of columns, the planner drops those without an effect."""
    tokens = [*POSTGRESQL.tokens(sql)]
    places = [place for place, token in enumerate(tokens, 1) if token.key == "COLLATE"]
    return [_name(tokens[place : place + 3]) for place in places]


def _name(tokens: list[Token]) -> str:
    first, *rest = [token.name or token.text for token in tokens]
    return f"{first}.{rest[1]}" if rest[:1] == ["."] else first


class ComparesIndexes:
    """The part of Alembic's PostgreSQL implementation that compares expressions and options of indexes fully."""

    connection: Any

    def compare_indexes(self, metadata_index: Index, reflected_index: Index) -> ComparisonResult:
        """Compare all parts of an index except its storage parameters."""
        differences = [*filter(None, [unpromised.difference_in_uniqueness(self, metadata_index, reflected_index)])]
        ours, found = (
            [unpromised.sql_of(self, part) for part in one.expressions] for one in (metadata_index, reflected_index)
        )
        assert metadata_index.table is not None
        found = [_with_collation(*pair) for pair in zip(found, self._stated_collations(reflected_index), strict=False)]
        if len(ours) != len(found) or not all(
            self._is_same_part(metadata_index.table, *pair) for pair in zip(ours, found, strict=True)
        ):
            differences.append(f"{', '.join(found)} to {', '.join(ours)}")
        if not self._is_same_condition(metadata_index, reflected_index):
            differences.append("condition")
        if self._options(metadata_index, ours) != self._options(reflected_index, found):
            differences.append("options")
        return ComparisonResult.Different(differences) if differences else ComparisonResult.Equal()

    def _stated_collations(self, index: Index) -> list[str | None]:
        preparer = self.connection.dialect.identifier_preparer
        schema = index.table.schema if index.table is not None else None
        name = preparer.format_index(index)
        qualified = f"{preparer.quote(schema)}.{name}" if schema else name
        return list(self.connection.scalars(_COLLATIONS, {"name": qualified}))

    def _is_same_part(self, table: Table, ours: str, theirs: str) -> bool:
        (our_core, our_order), (core, order) = _parted(ours), _parted(theirs)
        return our_order == order and self._is_same(table, our_core, core)

    def _is_same_condition(self, wanted: Index, found: Index) -> bool:
        ours, theirs = (self._sql(one.dialect_kwargs.get("postgresql_where")) for one in (wanted, found))
        if ours is None or theirs is None:
            return ours is theirs
        assert wanted.table is not None
        return self._is_same(wanted.table, ours, theirs)

    def _is_same(self, table: Table, ours: str, theirs: str) -> bool:
        name = self.connection.dialect.identifier_preparer.format_table(table)
        return is_same(self.connection, ours, theirs, table=name)

    def _sql(self, clause: Any) -> str | None:
        return clause if clause is None or isinstance(clause, str) else unpromised.sql_of(self, clause)

    def _options(self, index: Index, parts: list[str]) -> tuple[Any, ...]:
        options = index.dialect_kwargs
        using = str(options.get("postgresql_using") or "btree").lower()
        included = [getattr(one, "name", one) for one in options.get("postgresql_include") or ()]
        classes = [*(options.get("postgresql_ops") or {}).values(), *_classes(parts)]
        named = sorted(one for one in classes if not self._is_default(one, using))
        return using, included, named, bool(options.get("postgresql_nulls_not_distinct"))

    def _is_default(self, operators: str, using: str) -> bool:
        return bool(self.connection.scalar(_IS_DEFAULT, {"name": operators, "using": using}))


class _Tail(NamedTuple):
    """The options after the expression in a part of an index, and the position at which they begin."""

    start: int
    operators: str | None
    is_down: bool
    has_nulls_first: bool


def _tail(part: str) -> _Tail:
    tokens = [*POSTGRESQL.tokens(part)]
    keys = [token.key for token in tokens]
    nulls = keys.pop() if keys[-2:-1] == ["NULLS"] else None
    keys = keys[:-1] if nulls else keys
    order = keys.pop() if keys[-1:] in (["ASC"], ["DESC"]) else None
    # Alone it would be a column.
    has_operators = len(keys) > 1 and keys[-1].endswith("_OPS")
    operators = tokens[len(keys) - 1].text if has_operators else None
    last = tokens[len(keys) - 1 - has_operators]
    is_down = order == "DESC"
    return _Tail(last.end, operators, is_down, is_down if nulls is None else nulls == "FIRST")


def _parted(part: str) -> tuple[str, tuple[bool, bool]]:
    """Return what is indexed, whether downwards, and whether NULL comes first."""
    tail = _tail(part)
    return part[: tail.start], (tail.is_down, tail.has_nulls_first)


def _with_collation(part: str, collation: str | None) -> str:
    start = _tail(part).start
    return part if collation is None else f"{part[:start]} COLLATE {collation}{part[start:]}"


def _classes(parts: list[str]) -> list[str]:
    return [tail.operators for tail in map(_tail, parts) if tail.operators]
