"""What MariaDB makes of a model's column or index: it is created in a temporary table and read back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Column, Connection, Dialect, Index, Table, inspect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateColumn, CreateIndex

from ..._sql_text import MARIADB

__all__ = ["MadeColumn", "column_as_made", "default_in", "has_same_index", "index_made_for"]

_PROBE: Final = "sqlkeel_probe"
_USUAL: Final = re.compile(r"\).* (DEFAULT CHARSET=\w+(?: COLLATE=\w+)?)")


@dataclass(frozen=True)
class MadeColumn:
    """A column as the server created it: the reflected column, and the default as the server writes it."""

    reflected: Any
    default: str | None


def column_as_made(connection: Connection, dialect: Dialect, column: Column[Any], *, like: Table) -> MadeColumn | None:
    """Return a column as the server stores its definition; ``None`` if the server refuses the column.

    Args:
        connection: Not read-only, because MariaDB then refuses temporary tables. The user needs that privilege.
        dialect: Compiles the column.
        column: The column of the model.
        like: The existing table, whose columns the new column may refer to.
    """
    create: Any = CreateColumn(column)
    compiler: Any = dialect.ddl_compiler(dialect, create)
    written = compiler.get_column_specification(column).removeprefix(compiler.preparer.format_column(column))
    with _probe(connection, dialect, like):
        if not _send(connection, f"ALTER TABLE {_PROBE} ADD COLUMN {_PROBE}{written}"):
            return None
        return MadeColumn(inspect(connection).get_columns(_PROBE)[-1], default_in(connection, _PROBE, _PROBE))


def has_same_index(connection: Connection, dialect: Dialect, index: Index) -> bool:
    """Return whether the table has an index exactly as the server would create this one."""
    assert index.table is not None
    preparer = dialect.identifier_preparer
    table, quoted = preparer.format_table(index.table), preparer.format_index(index)
    name = preparer.unformat_identifiers(quoted)[-1]
    create = str(CreateIndex(index).compile(dialect=dialect)).replace(f" ON {table} ", f" ON {_PROBE} ", 1)
    with _probe(connection, dialect, index.table):
        _send(connection, f"ALTER TABLE {_PROBE} DROP INDEX {quoted}")
        if not _send(connection, create):
            return False
        made = _index_in(connection, _PROBE, name)
    return made is not None and made == _index_in(connection, table, name)


def index_made_for(connection: Connection, dialect: Dialect, table: Table, key: str) -> str | None:
    """Return the index that the server created for a foreign key and that no other key needs.

    MariaDB does not record which indexes it created itself, but it replaces only those by another index on the same
    columns. So we add such an index to an empty copy of the table and see which one disappears.
    """
    reader = inspect(connection)
    keys = {one["name"]: one["constrained_columns"] for one in reader.get_foreign_keys(table.name, schema=table.schema)}
    columns = keys.pop(key, None)
    if columns is None or any(columns[: len(one)] == one for one in keys.values()):
        return None
    indexes = reader.get_indexes(table.name, schema=table.schema)
    names = [one["name"] for one in indexes if one["column_names"] == columns and not one["unique"]]
    quoted = ", ".join(_quoted(one) for one in columns)
    with _probe(connection, dialect, table):
        _send(connection, f"ALTER TABLE {_PROBE} ADD INDEX {_PROBE} ({quoted})")
        left = {one["name"] for one in inspect(connection).get_indexes(_PROBE)}
    return next((name for name in names if name is not None and name not in left), None)


@contextmanager
def _probe(connection: Connection, dialect: Dialect, like: Table) -> Iterator[None]:
    name = dialect.identifier_preparer.format_table(like)
    if not _send(connection, f"CREATE TEMPORARY TABLE {_PROBE} LIKE {name}"):
        # InnoDB does not support FULLTEXT indexes in a temporary table.
        usual = next(found for line in _lines(connection, name) if (found := _USUAL.match(line)))
        empty = f"CREATE TEMPORARY TABLE {_PROBE} {usual[1]} ENGINE=MyISAM SELECT * FROM {name} LIMIT 0"  # noqa: S608 - a name
        connection.exec_driver_sql(empty)
    try:
        yield
    finally:
        connection.exec_driver_sql(f"DROP TEMPORARY TABLE {_PROBE}")


def _send(connection: Connection, statement: str) -> bool:
    try:
        # Without parameters, the driver does not interpret % in the statement.
        connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
    except DBAPIError:
        return False
    return True


def _lines(connection: Connection, table: str) -> list[str]:
    made: str = connection.exec_driver_sql(f"SHOW CREATE TABLE {table}").one()[1]
    return [line.strip().removesuffix(",") for line in made.splitlines()]


def _index_in(connection: Connection, table: str, name: str) -> str | None:
    key = re.compile(rf"(?:\w+ )?KEY {re.escape(_quoted(name))} .*")
    return next((line for line in _lines(connection, table) if key.fullmatch(line)), None)


def default_in(connection: Connection, table: str, column: str) -> str | None:
    """Return the server default of a column as the server writes it; *table* is quoted."""
    prefix = f"{_quoted(column)} "
    # Columns come first; a line of a multi-line CHECK may also begin with a name.
    return _default_of(next(line for line in _lines(connection, table) if line.startswith(prefix)))


def _default_of(line: str) -> str | None:
    """Return the SQL after DEFAULT, with its ON UPDATE; ``None`` for NULL, and if there is no DEFAULT."""
    words: list[str] = []
    depth, end = 0, -1
    for token in MARIADB.tokens(line):
        if depth == 0 and token.start > end:
            words.append("")
        words[-1] += line[end : token.end] if depth else token.text
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        end = token.end
    if "DEFAULT" not in words:
        return None
    first = words.index("DEFAULT") + 1
    last = first + 3 if words[first + 1 : first + 3] == ["ON", "UPDATE"] else first
    found = " ".join(words[first : last + 1])
    return None if found == "NULL" else found


def _quoted(name: str) -> str:
    return f"`{name.replace('`', '``')}`"
