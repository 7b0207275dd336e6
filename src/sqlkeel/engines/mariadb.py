"""MariaDB through asyncmy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, event

from .. import errors
from ..errors import DatabaseFault
from .backend import Backend, Diagnosis, Limits

__all__ = ["MariaDB"]

READ_ONLY: Final = "sqlkeel_read_only"


# https://mariadb.com/kb/en/mariadb-error-code-reference/
_KINDS: Final[Mapping[int, type[DatabaseFault]]] = {
    1020: errors.SerializationFailure,
    1040: errors.DatabaseUnavailable,
    1044: errors.AuthenticationFailed,
    1045: errors.AuthenticationFailed,
    1047: errors.DatabaseUnavailable,
    1048: errors.NotNullViolation,
    1049: errors.DatabaseMissing,
    1054: errors.SchemaMissing,
    1062: errors.UniqueViolation,
    1146: errors.SchemaMissing,
    1205: errors.LockTimeout,
    1213: errors.Deadlock,
    1216: errors.ForeignKeyViolation,
    1217: errors.ForeignKeyViolation,
    1290: errors.ReadOnlyViolation,
    1364: errors.NotNullViolation,
    1451: errors.ForeignKeyViolation,
    1452: errors.ForeignKeyViolation,
    1586: errors.UniqueViolation,
    1698: errors.AuthenticationFailed,
    1792: errors.ReadOnlyViolation,
    1927: errors.ConnectionLost,
    1969: errors.StatementTimeout,
    2002: errors.DatabaseUnavailable,
    2003: errors.DatabaseUnavailable,
    2006: errors.ConnectionLost,
    2013: errors.ConnectionLost,
    4025: errors.CheckViolation,
}
_QUOTED: Final = re.compile(r"[`']([^`']+)[`']")


class MariaDB(Backend):
    """MariaDB 10.11 and newer; MySQL is not supported."""

    name = "mariadb"
    drivers = {"asyncmy": "mariadb"}

    def engine_options(self, url: URL, limits: Limits) -> dict[str, Any]:
        """Set the session when it connects: UTC, strict mode, the limits."""
        return {"connect_args": {"init_command": _init(limits)}}

    def reader_options(self, url: URL, limits: Limits) -> dict[str, Any] | None:
        """Return options of connections that the server lets only read, each statement on its own."""
        return {
            "connect_args": {"init_command": _init(limits), "autocommit": True},
            "execution_options": {READ_ONLY: "always"},
            "isolation_level": "AUTOCOMMIT",
            "skip_autocommit_rollback": True,
        }

    def install(self, engine: Engine) -> None:
        """Make transactions read-only where asked, and reset limits that were set for one transaction."""
        if engine.get_execution_options().get(READ_ONLY) == "always":

            @event.listens_for(engine, "connect")
            def read_only_session(connection: Any, record: Any) -> None:
                cursor = connection.cursor()
                cursor.execute("SET SESSION TRANSACTION READ ONLY")
                cursor.close()

        else:
            event.listen(engine, "begin", _begin)

    def begin_options(self, *, read_only: bool) -> dict[str, Any]:
        """Mark a transaction that only reads."""
        return {READ_ONLY: True} if read_only else {}

    def limit_transaction(self, limits: Limits) -> str | None:
        """Return the SET that limits the session; the pool's reset takes it back."""
        return _set(limits)

    def diagnose(self, error: Any) -> Diagnosis | None:
        """Read the error number; constraint and column names stand only in the text, in quotes."""
        number = error.args[0] if getattr(error, "args", None) else None
        if not isinstance(number, int) or (kind := _KINDS.get(number)) is None:
            return None
        return _names(kind, number, str(error.args[1]) if len(error.args) > 1 else "")


def _begin(connection: Connection) -> None:
    if connection.get_execution_options().get(READ_ONLY):
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")


def _init(limits: Limits) -> str:
    fixed = "SET time_zone = '+00:00', sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')"
    limit = _set(limits)
    return fixed if limit is None else f"{fixed}, {limit.removeprefix('SET ')}"


def _set(limits: Limits) -> str | None:
    parts = []
    if limits.statement is not None:
        parts.append(f"max_statement_time = {limits.statement}")
    if limits.lock is not None:
        # InnoDB counts whole seconds and calls "at once" zero.
        parts.append(f"innodb_lock_wait_timeout = {max(round(limits.lock), 0)}")
        parts.append(f"lock_wait_timeout = {max(round(limits.lock), 0)}")
    if limits.idle is not None:
        parts.append(f"idle_transaction_timeout = {round(limits.idle)}")
    return f"SET {', '.join(parts)}" if parts else None


def _names(kind: type[DatabaseFault], number: int, text: str) -> Diagnosis:
    quoted = _QUOTED.findall(text)
    if kind is errors.NotNullViolation:
        return Diagnosis(kind, columns=tuple(quoted[:1]))
    if kind is errors.UniqueViolation:
        # "Duplicate entry '…' for key 'name'": the value may hold quotes, the key comes last.
        return Diagnosis(kind, constraint=quoted[-1].rpartition(".")[2] if quoted else None)
    if number in {1451, 1452}:
        found = re.search(r"\(`[^`]+`\.`([^`]+)`, CONSTRAINT `([^`]+)` FOREIGN KEY \(([^)]+)\)", text)
        if found:
            columns = tuple(_QUOTED.findall(found[3]))
            return Diagnosis(kind, table=found[1], constraint=found[2], columns=columns)
    if kind is errors.CheckViolation:
        return Diagnosis(kind, constraint=quoted[0] if quoted else None)
    return Diagnosis(kind)
