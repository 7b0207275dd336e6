"""Triggers that increment the version of a row, whichever application writes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Dialect, ExecutableDDLElement, Table, event, text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import DDLCompiler, IdentifierPreparer

from ..errors import NotSupported
from ..models._naming import fitting_name

__all__ = ["VersionTrigger"]

_MARK: Final = "sqlkeel_version_trigger"
_SUFFIX: Final = "version_trigger"

# A SQLite trigger cannot change the row that is being written, so it writes the row again after a statement that has
# not incremented the version. The ORM does so itself: nothing is written twice, and RETURNING shows the final row.
_CREATE: Final = {
    "mariadb": (
        "CREATE OR REPLACE TRIGGER {schema}{name} BEFORE UPDATE ON {schema}{table} "
        "FOR EACH ROW SET NEW.{column} = OLD.{column} + 1",
    ),
    "postgresql": (
        "CREATE OR REPLACE FUNCTION {schema}{name}() RETURNS trigger LANGUAGE plpgsql AS "
        "$$BEGIN NEW.{column} := OLD.{column} + 1; RETURN NEW; END$$",
        "CREATE OR REPLACE TRIGGER {name} BEFORE UPDATE ON {schema}{table} "
        "FOR EACH ROW EXECUTE FUNCTION {schema}{name}()",
    ),
    "sqlite": (
        "DROP TRIGGER IF EXISTS {schema}{name}",
        "CREATE TRIGGER {schema}{name} AFTER UPDATE ON {table} FOR EACH ROW WHEN NEW.{column} IS NOT OLD.{column} + 1 "
        "BEGIN UPDATE {table} SET {column} = OLD.{column} + 1 WHERE rowid = NEW.rowid; END",
    ),
}
_DROP: Final = {
    "mariadb": ("DROP TRIGGER IF EXISTS {schema}{name}",),
    "postgresql": ("DROP TRIGGER IF EXISTS {name} ON {schema}{table}", "DROP FUNCTION IF EXISTS {schema}{name}()"),
    "sqlite": ("DROP TRIGGER IF EXISTS {schema}{name}",),
}
_DROP_REST: Final[Mapping[str, tuple[str, ...]]] = {
    "mariadb": (),
    "postgresql": ("DROP FUNCTION IF EXISTS {schema}{name}()",),
    "sqlite": (),
}
_FIND: Final = {
    "mariadb": (
        "SELECT 1 FROM information_schema.triggers WHERE trigger_name = :name AND event_object_table = :table "
        "AND trigger_schema = coalesce(:schema, database())",
    ),
    "postgresql": (
        "SELECT 1 FROM pg_trigger JOIN pg_class t ON t.oid = tgrelid JOIN pg_namespace s ON s.oid = relnamespace "
        "WHERE tgname = :name AND tgenabled <> 'D' AND relname = :table "
        "AND nspname = coalesce(CAST(:schema AS text), current_schema())",
    ),
    "sqlite": ("SELECT 1 FROM {schema}sqlite_master WHERE type = 'trigger' AND name = :name AND tbl_name = :table",),
}


@dataclass(frozen=True)
class VersionTrigger:
    """The trigger of one table: each UPDATE of a row sets its version to the old version plus one.

    It ignores the value in the statement. So applications that know nothing of versions increment them, and the ORM
    writes the value that the trigger would write. An UPDATE that changes nothing counts too.
    """

    table: Table
    column: str = "version"

    @property
    def name(self) -> str:
        """The name of the trigger, and on PostgreSQL of its function."""
        return fitting_name(self.table.name, _SUFFIX)

    @classmethod
    def of(cls, table: Table) -> VersionTrigger | None:
        """Return the trigger that a table should have; ``None`` if it has none."""
        column = table.info.get(_MARK)
        return None if column is None else cls(table, column)

    def attach(self) -> None:
        """Make ``create_all`` and ``drop_all`` create and drop the trigger with the table."""
        self.table.info[_MARK] = self.column
        # Propagated, so that a copy of the table in another MetaData has the trigger too.
        event.listen(self.table, "after_create", _create, propagate=True)
        event.listen(self.table, "after_drop", _drop_rest, propagate=True)

    def exists(self, connection: Connection) -> bool:
        """Return whether the trigger exists; ``False`` for an unknown database."""
        if connection.dialect.name not in _FIND:
            return False
        (template,) = _FIND[connection.dialect.name]
        schema = connection.schema_for_object(self.table)
        statement = template.format(schema=_prefix(connection.dialect.identifier_preparer, schema))
        given = {"name": self.name, "table": self.table.name, "schema": schema}
        return connection.execute(text(statement), given).first() is not None

    def creation(self, dialect: Dialect) -> list[ExecutableDDLElement]:
        """Return the statements that create the trigger, replacing an existing one.

        Raises:
            NotSupported: For an unknown database.
        """
        return self._statements(dialect, _CREATE)

    def removal(self, dialect: Dialect) -> list[ExecutableDDLElement]:
        """Return the statements that drop the trigger and keep its table."""
        return self._statements(dialect, _DROP)

    def _statements(self, dialect: Dialect, templates: Mapping[str, tuple[str, ...]]) -> list[ExecutableDDLElement]:
        if dialect.name not in templates:
            raise NotSupported(f"Versions are counted by a trigger of {', '.join(templates)}, not of {dialect.name}.")
        return [_Statement(self, template) for template in templates[dialect.name]]


class _Statement(ExecutableDDLElement):
    """One statement about a trigger; compiled late, because a connection may translate the table's schema."""

    def __init__(self, trigger: VersionTrigger, template: str) -> None:
        self.trigger = trigger
        self.template = template


@compiles(_Statement)
def _written(statement: _Statement, compiler: DDLCompiler, **kw: Any) -> str:
    preparer, trigger = compiler.preparer, statement.trigger
    return statement.template.format(
        name=preparer.quote(trigger.name),
        table=preparer.quote(trigger.table.name),
        column=preparer.quote(trigger.column),
        schema=_prefix(preparer, preparer.schema_for_object(trigger.table)),
    )


def _prefix(preparer: IdentifierPreparer, schema: str | None) -> str:
    return f"{preparer.quote_schema(schema)}." if schema else ""


def _create(table: Table, connection: Connection, **kw: Any) -> None:
    _run(table, connection, _CREATE)


def _drop_rest(table: Table, connection: Connection, **kw: Any) -> None:
    # The trigger was dropped with its table, but PostgreSQL's function was not.
    _run(table, connection, _DROP_REST)


def _run(table: Table, connection: Connection, templates: Mapping[str, tuple[str, ...]]) -> None:
    trigger = VersionTrigger.of(table)
    for statement in trigger._statements(connection.dialect, templates) if trigger is not None else ():
        connection.execute(statement)
