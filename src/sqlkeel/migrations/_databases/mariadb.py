"""Migrations on MariaDB: every DDL statement commits, so a failed revision stays half applied."""

from __future__ import annotations

import re
from typing import Any, Final

from alembic.ddl.impl import ComparisonResult, DefaultImpl
from sqlalchemy import CheckConstraint, Column, Connection, Dialect, Enum, ForeignKeyConstraint, Index, Table, text
from sqlalchemy.dialects.mysql import SET
from sqlalchemy.schema import DropConstraint

from ... import _sqlalchemy_tables as private
from ...models._constraints import is_live_marker, live_index
from .._named_types import PassesTypes
from .._narrowing import KeepsValues
from .._required import refuse_made_up_values, refuse_missing_values
from .._written import WritesText
from .mariadb_sql import column_as_made, default_in, has_same_index, index_made_for
from .migrator import Migrator, read_default

__all__ = ["MariaDBMigrator"]
_CHECK: Final = re.compile(r"CONSTRAINT_\d+")
_COUNTED: Final = re.compile(r"_\d+$")


class MariaDBMigrator(Migrator):
    """DDL is not transactional, and a statement waits for a metadata lock for a day by default."""

    batch = False
    has_identity = False
    indexes_keys = True
    has_character_sets = True
    after_failure = (
        "stopped half-way: MariaDB commits every DDL statement, so the statements before the failing one stay. "
        "Revert them by hand before you run it again"
    )

    def implementation(self) -> type[DefaultImpl]:
        """Return the mixin that recognises the index of `unique_live`."""
        return _Impl

    def prepare(self, connection: Connection, lock_timeout: float) -> None:
        """Lift the application's limits for this session, and make the server refuse values that do not fit.

        An engine that is not ours may lack the strict mode. Without it, changing a column truncates such values or
        stores 0.
        """
        seconds = max(round(lock_timeout), 1)
        connection.exec_driver_sql(
            "SET max_statement_time = 0, idle_transaction_timeout = 0, "
            "sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES'), "
            f"lock_wait_timeout = {seconds}, innodb_lock_wait_timeout = {seconds}"
        )
        connection.commit()

    def try_lock(self, connection: Connection) -> bool:
        """Acquire a user lock; lock names are global to the server, so the name contains a hash of the database's."""
        got = connection.execute(text("SELECT GET_LOCK(CONCAT('sqlkeel:', MD5(DATABASE())), 0)")).scalar_one()
        connection.commit()
        return bool(got)

    def verify(self, connection: Connection) -> None:
        """Check nothing: DDL is already committed."""

    def restore(self, connection: Connection) -> None:
        """Close the connection, which releases the lock and discards the settings of the session."""
        connection.invalidate()

    def is_same_default(
        self, connection: Connection, dialect: Dialect, found: Column[Any], wanted: Column[Any]
    ) -> bool:
        """Compare the reflected default with what the server makes of ours, such as 0.00 for ``'0'``."""
        made = column_as_made(connection, dialect, wanted, like=found.table)
        return made is not None and made.default == read_default(found)

    def is_same_computed(
        self, connection: Connection, dialect: Dialect, found: Column[Any], wanted: Column[Any]
    ) -> bool:
        """Compare the reflected expression with what the server makes of ours."""
        if found.computed is None or wanted.computed is None:
            return False
        made = column_as_made(connection, dialect, wanted, like=found.table)
        computed = made and made.reflected.get("computed")
        if not computed or computed["sqltext"] != str(found.computed.sqltext):
            return False
        return bool(computed.get("persisted", False)) == bool(found.computed.persisted)

    def is_same_type(
        self, connection: Connection, dialect: Dialect, found: Column[Any], wanted: Column[Any]
    ) -> bool | None:
        """Ask the server what it makes of our type: a BLOB(5) becomes a TINYBLOB."""
        bare: Column[Any] = Column(wanted.name, wanted.type)
        made = column_as_made(connection, dialect, bare, like=found.table)
        if made is None:
            return None
        process = dialect.type_compiler_instance.process
        return process(made.reflected["type"]) == process(found.type)

    def names_check(self, table: Table, name: str) -> bool:
        """Recognise ``CONSTRAINT_1``, and the name of the column for a CHECK in a column definition."""
        return name in table.columns or _CHECK.fullmatch(name) is not None

    def is_generated(self, kind: str, reflected: Any) -> bool:
        """Recognise the hidden column of `unique_live`, and the index that a foreign key creates."""
        if kind == "index":
            return _comes_with_key(reflected)
        return kind == "column" and is_live_marker(reflected)

    def parts(self, connection: Connection) -> set[tuple[str | None, str]]:
        """Return nothing: partitions are not tables."""
        return set()


def _comes_with_key(index: Index) -> bool:
    """Return whether the server named the index, after its first column or ``user_id_2``, or a key requires it.

    A key that replaces another one keeps using the index with the old key's name.
    """
    names, table = _names(index), index.table
    if index.unique or not names or table is None:
        return False
    if not any(_names(key) == names for key in table.foreign_key_constraints):
        return False
    others = [one for one in table.indexes if one.name != index.name]
    is_only = not any(_names(one)[: len(names)] == names for one in (*others, table.primary_key))
    return is_only or _COUNTED.sub("", str(index.name)) == names[0]


def _members(kind: Any) -> tuple[str, ...]:
    """Return the members of an ENUM or SET in sort order; empty for an Enum stored as VARCHAR."""
    if isinstance(kind, SET):
        return tuple(kind.values)
    return tuple(kind.enums) if isinstance(kind, Enum) and kind.native_enum else ()


def _names(item: Any) -> list[str]:
    return [column.name for column in item.columns]


class _Impl(KeepsValues, PassesTypes, WritesText, DefaultImpl):
    """Alembic's implementation for MariaDB, which recognises the index of `unique_live`.

    It refuses to add a required column to a table with rows. In every SQL mode, MariaDB would fill it with 0, an empty
    string, the date 0000-00-00, the first member of an ENUM or a UUID of zeros.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._gone: set[tuple[str | None, str, str] | None] = set()

    def add_column(self, table_name: str, column: Column[Any], *, schema: str | None = None, **options: Any) -> None:
        refuse_made_up_values(self.connection, column, table_name=table_name, schema=schema)
        super().add_column(table_name, column, schema=schema, **options)

    def compare_type(self, inspector_column: Column[Any], metadata_column: Column[Any]) -> bool:
        """Also compare UNSIGNED and the order of members, which Alembic ignores."""
        types = [one.type.dialect_impl(self.dialect) for one in (inspector_column, metadata_column)]
        traits = {(bool(getattr(one, "unsigned", False)), _members(one)) for one in types}
        return len(traits) > 1 or super().compare_type(inspector_column, metadata_column)

    def alter_column(self, table_name: str, column_name: str, **options: Any) -> None:
        """Change a column; refuse NOT NULL if rows hold NULL, because the server's error would talk about lengths."""
        if options.get("nullable") is False and self.connection is not None:
            refuse_missing_values(self.connection, column_name, table_name=table_name, schema=options.get("schema"))
        super().alter_column(table_name, column_name, **options)

    def drop_constraint(self, const: Any, **options: Any) -> None:
        """Also drop the CHECK of a type, and the index that the server created for a foreign key.

        Alembic adds the CHECK with the type, but does not drop it with the type. A revision that was written on another
        database does not mention the index.
        """
        if isinstance(const, CheckConstraint) and isinstance(const.name, str):
            self.execute(DropConstraint(const, **options))
        elif isinstance(const, ForeignKeyConstraint) and self.connection is not None:
            made = index_made_for(self.connection, self.dialect, const.table, str(const.name))
            super().drop_constraint(const, **options)
            if made is not None:
                super().drop_index(private.index_of(const.table, made))
                self._gone.add((const.table.schema, const.table.name, made))
        else:
            super().drop_constraint(const, **options)

    def drop_index(self, index: Index, **options: Any) -> None:
        """Drop an index, unless it was dropped with its key: a revision written on MariaDB also drops it."""
        table = index.table
        place = (table.schema, table.name, str(index.name)) if table is not None else None
        if place in self._gone:
            self._gone.discard(place)
        else:
            super().drop_index(index, **options)

    def autogen_column_reflect(self, inspector: Any, table: Table, column_info: Any) -> None:
        """Read the whole default; reflection truncates an expression at its first parenthesis or quote."""
        assert self.connection is not None
        if not column_info.get("computed"):
            name = self.dialect.identifier_preparer.format_table(table)
            column_info["default"] = default_in(self.connection, name, column_info["name"])
        super().autogen_column_reflect(inspector, table, column_info)

    def compare_indexes(self, metadata_index: Index, reflected_index: Index) -> ComparisonResult:
        """Create our index in a probe table and compare the server's definitions: order is not reflected."""
        assert self.connection is not None
        if metadata_index.dialect_kwargs.get("mariadb_live") is not None:
            return super().compare_indexes(metadata_index, reflected_index)
        same = has_same_index(self.connection, self.dialect, metadata_index)
        return ComparisonResult.Equal() if same else ComparisonResult.Different("parts")

    def correct_for_autogen_constraints(
        self, conn_uniques: Any, conn_indexes: Any, metadata_unique_constraints: Any, metadata_indexes: Any
    ) -> None:
        for index in list(conn_indexes):
            made = live_index(index)
            if made is not None:
                conn_indexes.remove(index)
                index.table.append_constraint(made)
                conn_indexes.add(made)
        super().correct_for_autogen_constraints(
            conn_uniques, conn_indexes, metadata_unique_constraints, metadata_indexes
        )
