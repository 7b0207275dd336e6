"""PostgreSQL through asyncpg or psycopg."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, event

from .. import errors
from ..errors import DatabaseFault
from .backend import LIMITS, Backend, Diagnosis, Limits

__all__ = ["PostgreSQL"]

_NOT_SENT: Final = "22000"
"""What asyncpg calls an argument that it cannot encode; the server itself is always more specific."""

# https://www.postgresql.org/docs/current/errcodes-appendix.html
_KINDS: Final[Mapping[str, type[DatabaseFault]]] = {
    "08007": errors.CommitUnknown,
    _NOT_SENT: errors.ValueRefused,
    "22001": errors.ValueRefused,
    "22003": errors.ValueRefused,
    "22007": errors.ValueRefused,
    "22008": errors.ValueRefused,
    "22021": errors.ValueRefused,
    "22P02": errors.ValueRefused,
    "23001": errors.ForeignKeyViolation,
    "23502": errors.NotNullViolation,
    "23503": errors.ForeignKeyViolation,
    "23505": errors.UniqueViolation,
    "23514": errors.CheckViolation,
    "23P01": errors.ExclusionViolation,
    "25006": errors.ReadOnlyViolation,
    "25P02": errors.TransactionAborted,
    "25P03": errors.ConnectionLost,
    "28000": errors.AuthenticationFailed,
    "28P01": errors.AuthenticationFailed,
    "3D000": errors.DatabaseMissing,
    "40001": errors.SerializationFailure,
    "40P01": errors.Deadlock,
    "42703": errors.SchemaMissing,
    "42P01": errors.SchemaMissing,
    "53300": errors.DatabaseUnavailable,
    "55P03": errors.LockTimeout,
    "57014": errors.StatementTimeout,
    "57P01": errors.ConnectionLost,
    "57P02": errors.ConnectionLost,
    "57P03": errors.DatabaseUnavailable,
}


class PostgreSQL(Backend):
    """The main database."""

    name = "postgresql"
    drivers = {"asyncpg": "postgres", "psycopg": "psycopg"}
    savepoint_recovers = True

    def engine_options(self, url: URL, limits: Limits) -> dict[str, Any]:
        """Give the session its limits in the start-up message: no statement, and nothing to reset."""
        return {"connect_args": _connect_args(url, _settings(limits))}

    def reader_options(self, url: URL, limits: Limits) -> dict[str, Any] | None:
        """Return options of connections that the server lets only read, and that send no BEGIN and no ROLLBACK."""
        settings = {**_settings(limits), "default_transaction_read_only": "on"}
        return {
            "connect_args": _connect_args(url, settings),
            "isolation_level": "AUTOCOMMIT",
            "skip_autocommit_rollback": True,
        }

    def install(self, engine: Engine, limits: Limits) -> None:
        """Set the limits that a transaction has of its own; all else is in the start-up message."""
        event.listen(engine, "begin", _limit)

    def begin_options(self, *, read_only: bool = False, isolation: str | None = None) -> dict[str, Any]:
        """Put READ ONLY and the isolation level into the BEGIN message."""
        options: dict[str, Any] = {"postgresql_readonly": True} if read_only else {}
        return options if isolation is None else {**options, "isolation_level": isolation}

    def aborts(self, error: Any, connection: Connection) -> bool:
        """Know that whatever the server refuses ends the transaction, and that COMMIT then is a silent ROLLBACK."""
        raw: Any = connection.connection.dbapi_connection
        return getattr(error, "sqlstate", None) not in {None, _NOT_SENT} and not raw.autocommit

    def diagnose(self, error: Any) -> Diagnosis | None:
        """Read the SQLSTATE; table, column and constraint are fields of the server's message."""
        state = getattr(error, "sqlstate", None)
        kind = _KINDS.get(state or "") or (errors.ConnectionLost if str(state).startswith("08") else None)
        if kind is None:
            return None
        column = _field(error, "column_name")
        return Diagnosis(
            kind,
            table=_field(error, "table_name"),
            columns=(column,) if column else (),
            constraint=_field(error, "constraint_name"),
        )


def _limit(connection: Connection) -> None:
    """Set the limits until the transaction ends, in one SELECT."""
    settings = _settings(connection.get_execution_options().get(LIMITS, Limits()))
    if settings:
        calls = ", ".join(f"set_config('{name}', '{value}', true)" for name, value in settings.items())
        connection.exec_driver_sql(f"SELECT {calls}")


def _settings(limits: Limits) -> dict[str, str]:
    values = {
        "statement_timeout": limits.statement,
        "lock_timeout": limits.lock,
        "idle_in_transaction_session_timeout": limits.idle,
    }
    # Rounded up: zero is no limit at all.
    return {name: str(ceil(seconds * 1000)) for name, seconds in values.items() if seconds is not None}


def _connect_args(url: URL, settings: Mapping[str, str]) -> dict[str, Any]:
    if url.get_driver_name() == "asyncpg":
        return {"server_settings": dict(settings)}
    # The URL may have options of its own; connect_args would replace them.
    given = url.query.get("options", ())
    parts = [given] if isinstance(given, str) else [*given]
    return {"options": " ".join([*parts, *(f"-c {name}={value}" for name, value in settings.items())])}


def _field(error: Any, name: str) -> str | None:
    # psycopg keeps the fields in ``diag``, asyncpg on the exception that SQLAlchemy's adapter carries.
    source = getattr(error, "diag", None) or getattr(error, "driver_exception", None) or error
    value = getattr(source, name, None)
    return str(value) if value else None
