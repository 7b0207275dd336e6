"""Migrations on SQLite: one transaction for the whole run, foreign keys checked at its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from alembic.ddl.impl import DefaultImpl
from sqlalchemy import URL, Column, Connection, Date, DateTime, Dialect, String, Table, Time, inspect, make_url, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.sql.elements import quoted_name

from ... import _sqlalchemy_tables as private
from ...engines._backend import backend_for
from ...errors import MigrationError
from .. import _alembic as unpromised
from .._named_types import PassesTypes
from .._required import refuse_made_up_values
from .._written import WritesText
from .migrator import UNNAMED, Migrator, computed_sql, default_sql, read_default
from .sqlite_copy import SQLiteCopy, read_collations, refuse_other_values
from .sqlite_sql import default_form, form

__all__ = ["SQLiteMigrator"]

_NULL: Final = "NULL"
_BUSY: Final = 5
_KEPT_AS_TEXT: Final = (Date, DateTime, Time)
_REFERENCES: Final = (
    "SELECT 1 FROM sqlite_master m JOIN pragma_foreign_key_list(m.name) f "
    "WHERE m.type = 'table' AND lower(f.\"table\") = lower(?)"
)
_DECLARED: Final = text("SELECT type FROM pragma_table_info(:table) WHERE lower(name) = lower(:column)")
_SHADOWS: Final = "SELECT name FROM pragma_table_list WHERE type = 'shadow'"


class SQLiteMigrator(Migrator):
    """ALTER TABLE copies the table: create the new table, copy the rows, drop the old table, rename the new one.

    With foreign keys on, that DROP would delete the rows of every child table with ON DELETE CASCADE. So they are off
    during the run, and the run is refused if a row violates a foreign key at its end. The write lock, held from the
    first read to the commit, keeps a second migrator out.
    """

    batch = True
    has_identity = False
    merges_unique = True
    keeps_lengths = False
    usual_collation = "BINARY"
    after_failure = "failed; the whole run was rolled back"

    def __init__(self) -> None:
        self._enforced = False
        self._orphans_before: Counter[tuple[str, str]] = Counter()
        self._triggers_before: dict[str, _Trigger] = {}
        self._views_before: set[str] = set()

    def implementation(self) -> type[DefaultImpl]:
        """Return the mixin that copies tables completely."""
        return _Impl

    def prepare(self, connection: Connection, lock_timeout: float) -> None:
        """Switch foreign keys off; SQLite ignores that inside a transaction."""
        self._enforced = bool(_pragma(connection, "foreign_keys")[0][0])
        _pragma(connection, "foreign_keys=OFF")

    def try_lock(self, connection: Connection) -> bool:
        """Begin the write transaction."""
        try:
            connection.begin()
            _begin_at_once(connection)
        except OperationalError as error:
            connection.rollback()
            if getattr(error.orig, "sqlite_errorcode", 0) & 0xFF == _BUSY:
                return False
            raise
        self._look(connection)
        return True

    @contextmanager
    def borrow(self, connection: Connection) -> Iterator[None]:
        """Work in the caller's transaction, or begin one for the whole run; verify it in both cases.

        Foreign keys cannot be switched off inside a transaction. If they are on, copying a table that another one
        references is refused.

        Raises:
            MigrationError: When another connection is writing, or `verify` finds a problem.
        """
        if connection.in_transaction():
            _begin_at_once(connection)
            self._look(connection)
            yield
            self.verify(connection)
            return
        self.prepare(connection, 0)
        try:
            if not self.try_lock(connection):
                raise MigrationError("Another connection writes to this database.", hint="Run it again.")
            yield
            self.verify(connection)
            connection.commit()
        finally:
            self.restore(connection)

    def _look(self, connection: Connection) -> None:
        _drop_old_copies(connection)
        self._orphans_before = _orphans(connection)
        self._triggers_before = _triggers(connection)
        self._views_before = {name for name in _views(connection) if _fault_of(connection, name) is None}

    def verify(self, connection: Connection) -> None:
        """Check that the run violated no foreign key, lost no trigger by copying its table, and broke no view.

        Raises:
            MigrationError: When it did.
        """
        self._refuse_orphans(connection)
        self._refuse_lost_triggers(connection)
        self._refuse_broken_views(connection)

    def _refuse_orphans(self, connection: Connection) -> None:
        broken = _orphans(connection) - self._orphans_before
        if broken:
            lines = [f"{number} row(s) of {table} → {parent}" for (table, parent), number in sorted(broken.items())]
            raise MigrationError(
                f"The migrations leave rows that reference missing rows: {', '.join(lines)}. The run was rolled back.",
                hint="Delete or move these rows in the revision before the rows that they reference.",
            )

    def _refuse_lost_triggers(self, connection: Connection) -> None:
        now, pages = _triggers(connection), _root_pages(connection)
        for name, trigger in self._triggers_before.items():
            copied = pages.get(trigger.table, trigger.root_page) != trigger.root_page
            if copied and name not in now:
                raise MigrationError(
                    f"Copying {trigger.table} lost its trigger {name}. The run was rolled back.",
                    hint=f"Recreate it in the revision: op.execute({trigger.sql!r})",
                )

    def _refuse_broken_views(self, connection: Connection) -> None:
        for name in sorted(self._views_before & _views(connection)):
            fault = _fault_of(connection, name)
            if fault is not None:
                raise MigrationError(
                    f"After these migrations the view {name} cannot be read: {fault}. The run was rolled back.",
                    hint="Drop it in the revision, and recreate it as it should be now: op.execute('CREATE VIEW …')",
                )

    def restore(self, connection: Connection) -> None:
        """Roll back uncommitted changes and switch foreign keys back on."""
        connection.rollback()
        _pragma(connection, f"foreign_keys={'ON' if self._enforced else 'OFF'}")

    def is_same_default(
        self, connection: Connection, dialect: Dialect, found: Column[Any], wanted: Column[Any]
    ) -> bool:
        """Compare the SQL texts; a missing default is NULL."""
        texts = (default_sql(dialect, wanted) or _NULL, read_default(found) or _NULL)
        ours, theirs = (default_form(one, wanted) for one in texts)
        return ours == theirs

    def is_same_computed(
        self, connection: Connection, dialect: Dialect, found: Column[Any], wanted: Column[Any]
    ) -> bool:
        """Compare the SQL texts of the expressions."""
        ours, theirs = computed_sql(dialect, wanted), computed_sql(dialect, found)
        return ours is not None and theirs is not None and form(ours) == form(theirs)

    def is_same_type(
        self, connection: Connection, dialect: Dialect, found: Column[Any], wanted: Column[Any]
    ) -> bool | None:
        """Compare our type with the text in the CREATE TABLE: reflection would return NUMERIC(16) for a BINARY(16)."""
        declared = connection.execute(_DECLARED, {"table": found.table.name, "column": found.name}).scalar()
        ours = dialect.type_compiler_instance.process(wanted.type)
        return declared is not None and form(declared) == form(ours)

    def collation(self, connection: Connection, found: Column[Any]) -> str | None:
        """Read the statement that created the table, because reflection ignores collations."""
        collation = read_collations(connection, found.table.name).get(found.name, self.usual_collation)
        return None if collation == self.usual_collation else collation

    def names_check(self, table: Table, name: str) -> bool:
        """Recognise the name that a revision gave to a CHECK: a batch cannot change an unnamed one."""
        return name.startswith(UNNAMED)

    def is_missing(self, url: URL) -> bool:
        """Return whether the file does not exist."""
        path = url.database or ":memory:"
        return path != ":memory:" and not path.startswith("file:") and not Path(path).exists()

    def reading_options(self) -> dict[str, Any]:
        """Return options for reading without waiting: the whole file has one write lock."""
        return backend_for(make_url("sqlite://")).begin_options(read_only=True)

    def is_generated(self, kind: str, reflected: Any) -> bool:
        """Return ``False``, because SQLite creates no such objects by itself."""
        return False

    def parts(self, connection: Connection) -> set[tuple[str | None, str]]:
        """Return the tables in which virtual tables keep their rows."""
        return {(None, name) for name in connection.exec_driver_sql(_SHADOWS).scalars()}


class _Impl(PassesTypes, WritesText, DefaultImpl):
    """Alembic's implementation for SQLite: the copy of a table keeps its rows and what reflection does not read.

    SQLite itself refuses to add a required column to a table with rows, but its message does not mention the rows.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._copy: SQLiteCopy | None = None

    def add_column(self, table_name: str, column: Column[Any], *, schema: str | None = None, **options: Any) -> None:
        refuse_made_up_values(self.connection, column, table_name=table_name, schema=schema)
        super().add_column(table_name, column, schema=schema, **options)

    def prep_table_for_batch(self, batch_impl: Any, table: Table) -> None:
        for column in batch_impl.table.c:
            if column.computed is not None:
                batch_impl.column_transfers.get(column.name, {}).pop("expr", None)
        if self.connection is not None:
            _refuse_cascade(self.connection, table.name)
            for name in batch_impl.columns.keys() - batch_impl.table.c.keys():
                refuse_made_up_values(
                    self.connection, batch_impl.columns[name], table_name=table.name, schema=table.schema
                )
        super().prep_table_for_batch(batch_impl, table)
        if self.connection is not None and table.schema is None:
            self._copy = SQLiteCopy(self.connection, batch_impl, table)
            self._copy.prepare()

    def cast_for_batch_migrate(self, existing: Column[Any], existing_transfer: Any, new_type: Any) -> None:
        before = existing_transfer["expr"]
        if isinstance(existing.type, String) and issubclass(private.affinity_of(new_type), _KEPT_AS_TEXT):
            return  # A cast would produce a number, because SQLite gives these types NUMERIC affinity.
        super().cast_for_batch_migrate(existing, existing_transfer, new_type)  # type: ignore[no-untyped-call]
        if existing_transfer["expr"] is not before and isinstance(before, Column) and self.connection is not None:
            refuse_other_values(self.connection, before, existing_transfer["expr"])

    def rename_table(self, old_table_name: str, new_table_name: str | quoted_name, schema: Any = None) -> None:
        copy, self._copy = self._copy, None
        if copy is None or copy.temporary_name != old_table_name:
            super().rename_table(old_table_name, new_table_name, schema)
            return
        with copy.without_views():
            super().rename_table(old_table_name, new_table_name, schema)
        copy.finish()

    def correct_for_autogen_constraints(
        self, conn_uniques: Any, conn_indexes: Any, metadata_unique_constraints: Any, metadata_indexes: Any
    ) -> None:
        """Treat an index over an expression as unchanged if the models have one of its name."""
        read = {index.name: index for index in conn_indexes}
        for index in list(metadata_indexes):
            if len(index.columns) < len(index.expressions) and index.name in read:
                # SQLAlchemy reflects the column of text("day DESC"), which the models' index does not know.
                conn_indexes.discard(read[index.name])
                metadata_indexes.discard(index)
            elif index.name not in read and (index.table.name, index.name) in _index_names(self.connection):
                metadata_indexes.discard(index)


class _Trigger(NamedTuple):
    table: str
    sql: str
    root_page: int
    """The first page of the table in the file; a copy of the table begins at another page."""


def _triggers(connection: Connection) -> dict[str, _Trigger]:
    found = connection.exec_driver_sql("SELECT name, tbl_name, sql FROM sqlite_master WHERE type = 'trigger'").all()
    pages = _root_pages(connection)
    return {name: _Trigger(table, sql, pages.get(table, 0)) for name, table, sql in found}


def _index_names(connection: Any) -> set[tuple[str, str]]:
    found = connection.exec_driver_sql("SELECT tbl_name, name FROM sqlite_master WHERE type = 'index'").all()
    return {(table, name) for table, name in found}


def _root_pages(connection: Connection) -> dict[str, int]:
    rows = connection.exec_driver_sql("SELECT name, rootpage FROM sqlite_master WHERE type = 'table'").all()
    return {row.name: row.rootpage for row in rows}


def _begin_at_once(connection: Connection) -> None:
    """Begin the transaction in the file too: the driver of a foreign engine begins late, and not for DDL."""
    driver: Any = connection.connection.driver_connection
    if not driver.in_transaction:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _refuse_cascade(connection: Connection, table: str) -> None:
    """Check that dropping the old copy of a table does not delete the rows that reference it.

    Raises:
        MigrationError: When foreign keys are on, which is possible on a connection from the caller of Alembic.
    """
    if _pragma(connection, "foreign_keys")[0][0] and connection.exec_driver_sql(_REFERENCES, (table,)).first():
        raise MigrationError(
            f"Copying {table} with foreign keys on would delete the rows that reference it.",
            hint="Send PRAGMA foreign_keys=OFF before the transaction of config.attributes['connection'] begins.",
        )


def _pragma(connection: Connection, pragma: str) -> list[Any]:
    """Execute a pragma without beginning a transaction, because some have no effect inside one."""
    cursor = connection.connection.cursor()
    try:
        cursor.execute(f"PRAGMA {pragma}")
        return list(cursor.fetchall()) if cursor.description else []
    finally:
        cursor.close()


def _orphans(connection: Connection) -> Counter[tuple[str, str]]:
    return Counter((table, parent) for table, _, parent, _ in _pragma(connection, "foreign_key_check"))


def _views(connection: Connection) -> set[str]:
    return set(connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'view'").scalars())


def _fault_of(connection: Connection, view: str) -> str | None:
    """Return why a view cannot be read; ``None`` if it can."""
    name = connection.dialect.identifier_preparer.quote(view)
    try:
        # EXPLAIN would not do: the driver caches the statement, and SQLite does not notice that its plan is old.
        connection.exec_driver_sql(f"SELECT * FROM {name} LIMIT 0").close()  # noqa: S608 - a quoted name
    except OperationalError as error:
        return str(error.orig)
    return None


def _drop_old_copies(connection: Connection) -> None:
    """Drop the table that an interrupted copy left behind; it would make every later copy fail.

    Raises:
        MigrationError: When the original table is gone, so that the copy holds the only rows.
    """
    tables = set(inspect(connection).get_table_names())
    for copy in sorted(name for name in tables if name.startswith(unpromised.TABLE_OF_COPY)):
        table = copy.removeprefix(unpromised.TABLE_OF_COPY)
        if table not in tables:
            raise MigrationError(
                f"An interrupted migration left {copy}, and {table} is gone: the copy may hold the only rows.",
                hint=f"Look at it, then: ALTER TABLE {copy} RENAME TO {table}",
            )
        connection.exec_driver_sql(f"DROP TABLE {connection.dialect.identifier_preparer.quote(copy)}")
