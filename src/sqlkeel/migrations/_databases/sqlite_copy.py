"""A copy of a SQLite table that keeps what reflection does not read: collations, index SQL, AUTOINCREMENT."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import dropwhile, islice
from typing import Any, Final

from sqlalchemy import (
    CheckConstraint,
    Column,
    ColumnElement,
    Connection,
    Executable,
    Index,
    String,
    Table,
    TextClause,
    exists,
    literal,
    select,
    text,
)
from sqlalchemy.exc import OperationalError
from sqlalchemy.schema import CreateIndex

from ..._sql_heads import has_phrase
from ..._sql_text import SQLITE
from ...errors import MigrationError
from .._written import literal_text
from .migrator import UNNAMED

__all__ = ["SQLiteCopy", "read_collations", "refuse_other_values"]

_BINARY: Final = "BINARY"
_MASTER: Final = "SELECT name, sql FROM sqlite_master WHERE type = ? AND tbl_name = ? AND sql IS NOT NULL"
_KIND: Final = "SELECT wr, strict FROM pragma_table_list WHERE schema = 'main' AND name = ?"


@dataclass(frozen=True)
class _Traits:
    """The parts of a table besides its columns, read from the statement that created the table."""

    collations: dict[str, str]
    counts_up: bool
    without_rowid: bool
    strict: bool
    has_conflict_clause: bool

    @classmethod
    def read(cls, name: str, sql: str) -> _Traits:
        """Create the table in memory, because SQLite reports the collation of an index, but not of a column."""
        with closing(sqlite3.connect(":memory:")) as memory:
            memory.execute(sql)
            counts_up = bool(memory.execute("SELECT 1 FROM sqlite_master WHERE name = 'sqlite_sequence'").fetchall())
            [(without_rowid, strict)] = memory.execute(_KIND, (name,)).fetchall()
            columns = [row[0] for row in memory.execute("SELECT name FROM pragma_table_xinfo(?)", (name,))]
            collations = {column: _collation(memory, name, column) for column in columns}
        return cls(collations, counts_up, bool(without_rowid), bool(strict), has_phrase(SQLITE, sql, "ON CONFLICT"))


class SQLiteCopy:
    """One copy of one table: prepared before the new table is created, finished once it has the old name."""

    def __init__(self, connection: Connection, batch: Any, table: Table) -> None:
        self._connection = connection
        self._batch = batch
        self._table = table
        self.temporary_name: str = batch.temp_table_name
        [sql] = self._statements("table").values()
        self._refuse_shared_names()
        self._before = _Traits.read(table.name, sql)
        self._sequence = self._read_sequence()
        self._indexes = dict(self._take_indexes())

    def prepare(self) -> None:
        """Add to the new table what reflection has not read, and remove CHECKs on dropped columns.

        Raises:
            MigrationError: When a CHECK uses both a dropped and a remaining column.
        """
        new = self._batch.new_table
        for column in self._stated_nowhere():
            kind: Any = column.type.copy()
            kind.collation = self._before.collations[column.name]
            column.type = kind
        if self._before.counts_up:
            new.dialect_options["sqlite"]["autoincrement"] = True
        if not any(isinstance(one, CheckConstraint) for one in self._batch.table_args):
            for check in self._unnamed_checks():
                new.append_constraint(CheckConstraint(_as_read(check)))
        for check in new.constraints:
            original = self._batch.named_constraints.get(check.name)
            if self._batch.reflected and isinstance(original, CheckConstraint) and original in self._table.constraints:
                check.sqltext = _as_read(original)
        self._drop_checks_of_dropped()
        self._drop_replaced_lists()

    def _drop_checks_of_dropped(self) -> None:
        gone = {one.name for one in self._table.c if one.name not in self._batch.columns}
        reflected = {str(check.sqltext) for check in self._table.constraints if isinstance(check, CheckConstraint)}
        for check in [one for one in self._batch.new_table.constraints if isinstance(one, CheckConstraint)]:
            named = self._columns_in(check) if gone and str(check.sqltext) in reflected else set()
            if named and named <= gone:
                self._batch.new_table.constraints.discard(check)
            elif named & gone:
                raise self._lost(
                    f"the CHECK {check.sqltext}, which names {', '.join(sorted(named & gone))}",
                    "drop_constraint in batch_alter_table, or for an unnamed one copy_from=sa.Table(…)",
                )

    def _columns_in(self, check: CheckConstraint) -> set[str]:
        """Return the columns that a CHECK uses, according to SQLite's parser."""
        found: set[str] = set()

        def note(action: int, table: str | None, column: str | None, *_: object) -> int:
            if action == sqlite3.SQLITE_READ and column:
                found.add(column)
            return sqlite3.SQLITE_OK

        [sql] = self._statements("table").values()
        name = self._connection.dialect.identifier_preparer.quote(self._table.name)
        with closing(sqlite3.connect(":memory:")) as memory:
            memory.execute(sql)
            memory.set_authorizer(note)
            memory.execute(f"SELECT ({check.sqltext}) FROM {name}")  # noqa: S608 - the table's own CHECK, on a copy
        return found

    def _refuse_shared_names(self) -> None:
        names = Counter(str(one.name) for one in self._table.constraints if one.name is not None)
        for name in [name for name, number in names.items() if number > 1]:
            raise self._lost(
                f"one of the constraints that its naming_convention calls {name}",
                "another naming_convention in batch_alter_table",
            )

    @contextmanager
    def without_views(self) -> Iterator[None]:
        """Rename the new table without SQLite's check of the views, because their table does not exist at that moment.

        After the rename it exists again; the end of the run checks that the views can be read.
        """
        before = self._connection.exec_driver_sql("PRAGMA legacy_alter_table").scalar()
        self._connection.exec_driver_sql("PRAGMA legacy_alter_table=ON")
        try:
            yield
        finally:
            self._connection.exec_driver_sql(f"PRAGMA legacy_alter_table={before}")

    def finish(self) -> None:
        """Recreate the indexes, restore the AUTOINCREMENT counter, and check that nothing else was lost.

        Raises:
            MigrationError: When the copy has lost something; the run is rolled back.
        """
        for name, statement in self._indexes.items():
            try:
                self._connection.execute(statement)
            except OperationalError as error:
                raise self._lost(
                    f"the index {name} ({error.orig})", f"op.drop_index({name!r}) before the change"
                ) from error
        if self._sequence is not None:
            self._write_sequence()
        [sql] = self._statements("table").values()
        self._compare(_Traits.read(self._table.name, sql))

    def _compare(self, now: _Traits) -> None:
        kept = {column.name for column in self._columns() if getattr(column.type, "collation", None) is None}
        for column in kept & self._before.collations.keys():
            collation = self._before.collations[column]
            if now.collations[column] != collation:
                raise self._lost(f"COLLATE {collation} of {column}", "type_=sa.String(…, collation=…) in alter_column")
        for word in ("without_rowid", "strict", "has_conflict_clause", "counts_up"):
            if getattr(self._before, word) and not getattr(now, word):
                name = word.removeprefix("has_").replace("_", " ")
                raise self._lost(name.upper(), "copy_from=sa.Table(…) in batch_alter_table, with the whole table")

    def _lost(self, what: str, instead: str) -> MigrationError:
        return MigrationError(
            f"Copying {self._table.name} would lose {what}. The run was rolled back.", hint=f"Write {instead}."
        )

    def _take_indexes(self) -> Iterator[tuple[str, Executable]]:
        """Yield the indexes to recreate as written, except those that the batch drops, renames or changes."""
        dropped = {index.name for index in self._table.indexes} - self._batch.indexes.keys()
        for name, sql in self._statements("index").items():
            known = self._batch.indexes.get(name)
            if name not in dropped and (known is None or self._stays(known)):
                self._batch.indexes.pop(name, None)
                yield name, text(literal_text(sql))
        for name, index in [*self._batch.new_indexes.items()]:
            if not all(isinstance(one, Column) for one in index.expressions):
                del self._batch.new_indexes[name]
                yield name, CreateIndex(index)

    def _stays(self, index: Index) -> bool:
        columns = self._batch.columns
        return all(one.name in columns and columns[one.name].name == one.name for one in index.columns)

    def _columns(self) -> Iterator[Column[Any]]:
        """Yield the columns of the new table that keep their name."""
        new = self._batch.new_table
        return (new.c[name] for name in self._batch.column_transfers if name in new.c)

    def _stated_nowhere(self) -> Iterator[Column[Any]]:
        for column in self._columns():
            collation = self._before.collations.get(column.name, _BINARY)
            if collation != _BINARY and isinstance(column.type, String) and column.type.collation is None:
                yield column

    def _unnamed_checks(self) -> list[CheckConstraint]:
        found = [one for one in self._table.constraints if isinstance(one, CheckConstraint) and one.name is None]
        return found if self._batch.reflected else []

    def _drop_replaced_lists(self) -> None:
        """Remove an unnamed IN list that a new list for the same column replaces; no batch can drop it."""
        before = {str(one.sqltext) for one in self._table.constraints if isinstance(one, CheckConstraint)}
        checks = [one for one in self._batch.new_table.constraints if isinstance(one, CheckConstraint)]
        new = {_listed(one) for one in checks if str(one.sqltext) not in before} - {None}
        for check in checks:
            is_named = check.name is not None and not str(check.name).startswith(UNNAMED)
            if not is_named and str(check.sqltext) in before and _listed(check) in new:
                self._batch.new_table.constraints.discard(check)

    def _statements(self, kind: str) -> dict[str, str]:
        rows = self._connection.exec_driver_sql(_MASTER, (kind, self._table.name)).all()
        return {row.name: row.sql for row in rows}

    def _read_sequence(self) -> int | None:
        if not self._before.counts_up:
            return None
        found = "SELECT seq FROM sqlite_sequence WHERE name = ?"
        return self._connection.exec_driver_sql(found, (self._table.name,)).scalar()

    def _write_sequence(self) -> None:
        self._connection.exec_driver_sql("DELETE FROM sqlite_sequence WHERE name = ?", (self._table.name,))
        row = (self._table.name, self._sequence)
        self._connection.exec_driver_sql("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", row)


def _listed(check: CheckConstraint) -> str | None:
    """Return the column whose values a CHECK limits to a list."""
    tokens = dropwhile(lambda token: token.text == "(", SQLITE.tokens(str(check.sqltext)))
    column, *rest = islice(tokens, 3)
    return column.name.casefold() if column.name and [one.key for one in rest] == ["IN", "("] else None


def _as_read(check: CheckConstraint) -> TextClause:
    """Return a reflected condition without the parameters that text() would see in it."""
    condition: Any = check.sqltext
    return text(literal_text(condition.text))


def read_collations(connection: Connection, table: str) -> dict[str, str]:
    """Return the collation of each column; empty for a table that cannot be created outside its file."""
    rows = connection.exec_driver_sql(_MASTER, ("table", table)).all()
    try:
        return _Traits.read(table, rows[0].sql).collations if rows else {}
    except sqlite3.Error:
        return {}


def refuse_other_values(connection: Connection, column: Column[Any], cast: ColumnElement[Any]) -> None:
    """Check that the values of a column survive its new type.

    Raises:
        MigrationError: When a value would change: SQLite casts ``'12 pieces'`` to 12, and a date to its year.
    """
    if connection.scalar(select(exists(select(literal(1)).where(cast.is_distinct_from(column))))):
        raise MigrationError(
            f"{column.table.name} has rows whose {column.name} would change as {cast.type!r}.",
            hint="Add a column of the new type, fill it with the values that you want, and drop the old one.",
        )


def _collation(memory: sqlite3.Connection, table: str, column: str) -> str:
    quoted = ['"' + name.replace('"', '""') + '"' for name in (table, column)]
    memory.execute("DROP INDEX IF EXISTS probe")
    memory.execute(f"CREATE INDEX probe ON {quoted[0]} ({quoted[1]})")
    [(found,)] = memory.execute("SELECT coll FROM pragma_index_xinfo('probe') WHERE key = 1").fetchall()
    return str(found)
