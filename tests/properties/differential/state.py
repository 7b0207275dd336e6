"""What is in the tables and in the session, in a form in which two runs can be compared."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import Connection, Table, orm, select
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.orm import selectinload, undefer

from tests.properties.differential.models import Made

__all__ = ["Raw", "fresh_objects", "identity_of", "mask", "raw_rows", "same", "snapshot"]

Raw = dict[str, list[dict[str, str | None]]]
MADE: Final = re.compile(r"10000\d\d")
"""What the counting defaults make."""


def raw_rows(connection: Connection, made: Made) -> Raw:
    """Return every row of the model's tables, each value as the database writes it."""
    found: Raw = {}
    for table in made.tables:
        schemas = {table.schema, made.moved.get(table.schema, table.schema)}
        for schema in sorted(schemas, key=str):
            columns = [column.name for column in table.columns]
            rows = connection.exec_driver_sql(_query(connection, table, schema, columns))
            found[f"{schema}.{table.name}"] = [dict(zip(columns, map(_text, row), strict=True)) for row in rows]
    return found


def _text(value: Any) -> str | None:
    return value.hex() if isinstance(value, bytes) else value


def _query(connection: Connection, table: Table, schema: str | None, columns: Iterable[str]) -> str:
    quote = connection.dialect.identifier_preparer.quote_identifier
    forms = {"postgresql": "CAST({} AS text)", "sqlite": "quote({})", "mariadb": "HEX(CAST({} AS BINARY))"}
    form = forms[connection.dialect.name if connection.dialect.name != "mysql" else "mariadb"]
    parts = [form.format(quote(name)) for name in columns]
    name = quote(table.name) if schema is None else f"{quote(schema)}.{quote(table.name)}"
    return f"SELECT {', '.join(parts)} FROM {name}"


def mask(raw: Raw, planted: Raw, made: Made) -> Raw:
    """Replace what no two runs have in common, and sort: keys that were counted, times, UUIDs."""
    masked = _columns(made, made.masked)
    counted = _columns(made, made.counted)
    found: Raw = {}
    for table, rows in raw.items():
        known = {(name, value) for row in planted.get(table, ()) for name, value in row.items()}
        known -= {(name, _highest(planted.get(table, ()), name)) for name in masked}
        times = Counter((name, value) for row in rows for name, value in row.items() if name in counted)
        shown = [{n: _masked(n, v, known, masked, counted, times) for n, v in row.items()} for row in rows]
        found[table] = sorted(shown, key=lambda row: sorted((n, v or "") for n, v in row.items()))
    return found


def _highest(rows: Iterable[dict[str, str | None]], name: str) -> str | None:
    """Return the highest number, which SQLite counts again when its row is deleted: to one row here, another there."""
    numbers = [value for row in rows if (value := row.get(name)) is not None and value.isdecimal()]
    return max(numbers, key=int, default="")


def _masked(
    name: str, value: str | None, known: set[Any], masked: set[str], counted: set[str], times: Counter[Any]
) -> str | None:
    if value is None or (name, value) in known:
        return value
    if name in masked:
        return "<new>"
    if name in counted and MADE.search(_readable(value)):
        return "<made>" if times[name, value] == 1 else "<made, and shared>"
    return value


def _readable(value: str) -> str:
    try:
        return value + " " + bytes.fromhex(value).decode("latin-1")
    except ValueError:
        return value


def _columns(made: Made, attributes: Iterable[str]) -> set[str]:
    mapper = sa_inspect(made.model)
    return {column.name for name in attributes for column in mapper.column_attrs[name].columns}


def fresh_objects(connection: Connection, made: Made) -> dict[Any, Any]:
    """Load every object of the family anew, with all that can be loaded, by its identity."""
    found = {}
    with orm.Session(connection, join_transaction_mode="create_savepoint") as session:
        for model in {
            sa_inspect(one).base_mapper.class_ if not sa_inspect(one).concrete else one for one in _family(made)
        }:
            options: list[Any] = [undefer("*")]
            statement = select(orm.with_polymorphic(model, "*")) if made.siblings else select(model)
            if made.owner is not None and not made.siblings:
                options.append(selectinload(model.owner))
            for obj in session.scalars(statement.options(*options)).unique():
                found[identity_of(obj)] = obj
        session.expunge_all()
    return found


def _family(made: Made) -> tuple[type[Any], ...]:
    return (made.model, *made.siblings)


def identity_of(obj: Any) -> Any:
    """Return what tells an object from the others of its table."""
    return repr(sa_inspect(obj).identity)


def snapshot(obj: Any) -> dict[str, Any]:
    """Return the values of the columns that an object has loaded."""
    state = sa_inspect(obj)
    return {one.key: state.dict[one.key] for one in state.mapper.column_attrs if one.key in state.dict}


def same(one: Any, other: Any) -> bool:
    """Tell whether two values of an attribute are the same: a plain dict is not a MutableDict."""
    containers = (dict, list, set)
    if isinstance(one, containers) and type(one) is not type(other):
        return False
    return bool(one == other) or repr(one) == repr(other)
