"""Turn a driver's error into a typed one, with the table and columns that the models know."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, ForeignKeyConstraint, Table, event
from sqlalchemy.engine import ExceptionContext

from ..errors import ConnectionLost, ConstraintViolation, DatabaseFault, DatabaseUnavailable
from .backend import Backend, Diagnosis

__all__ = ["install"]


def install(engine: Engine, backend: Backend) -> None:
    """Make *engine* raise the errors of `sqlkeel.errors`; each is also what SQLAlchemy would have raised."""

    @event.listens_for(engine, "handle_error", retval=True)
    def translate(context: ExceptionContext) -> BaseException | None:
        original = context.original_exception
        if not isinstance(original, Exception) or context.sqlalchemy_exception is None:
            return None
        return _fault(context, original, backend.diagnose(original))

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Any, record: Any, args: Any, kwargs: Any) -> Any:
        # asyncpg lets an OSError of the socket through, which no listener of SQLAlchemy sees.
        try:
            return dialect.connect(*args, **kwargs)
        except (OSError, TimeoutError) as error:
            raise DatabaseUnavailable(_unreachable(engine), orig=error) from error


def _fault(context: ExceptionContext, original: Exception, diagnosis: Diagnosis | None) -> DatabaseFault | None:
    if diagnosis is None:
        if not context.is_disconnect:
            return None
        diagnosis = Diagnosis(ConnectionLost)
    if issubclass(diagnosis.kind, ConstraintViolation):
        return _violation(context, original, diagnosis)
    kind = DatabaseUnavailable if context.connection is None and diagnosis.kind is ConnectionLost else diagnosis.kind
    message = f"{kind.__doc__}".partition("\n")[0]
    return kind(
        f"{message} The database says: {_first_line(original)}",
        orig=original,
        statement=context.statement,
        connection_invalidated=context.is_disconnect,
    )


def _violation(context: ExceptionContext, original: Exception, found: Diagnosis) -> ConstraintViolation:
    written = _written_table(context)
    table, columns, constraint = found.table, found.columns, found.constraint
    if written is not None:
        known = _known(written, constraint, table, columns)
        if known is not None:
            table, columns, constraint = known
        table = table or written.name
    assert issubclass(found.kind, ConstraintViolation)
    return found.kind(table=table, columns=columns, constraint=constraint, orig=original, statement=context.statement)


def _written_table(context: ExceptionContext) -> Table | None:
    compiled = getattr(context.execution_context, "compiled", None)
    table = getattr(getattr(compiled, "statement", None), "table", None)
    return table if isinstance(table, Table) else None


def _known(
    written: Table, constraint: str | None, table: str | None, columns: tuple[str, ...]
) -> tuple[str, tuple[str, ...], str | None] | None:
    """Find the constraint in the models, by its name or (SQLite names none) by its columns."""
    tables = [written, *(other for other in written.metadata.tables.values() if other is not written)]
    for candidate in tables:
        if table is not None and candidate.name != table:
            continue
        known: Any
        for known in (*candidate.constraints, *candidate.indexes):
            names = _column_names(known)
            if constraint is not None and known.name == constraint:
                return candidate.name, names or columns, constraint
            if constraint is None and columns and names == columns and getattr(known, "unique", True):
                return candidate.name, columns, str(known.name) if known.name else None
    return None


def _column_names(known: Any) -> tuple[str, ...]:
    if isinstance(known, ForeignKeyConstraint):
        return tuple(known.column_keys)
    return tuple(column.name for column in getattr(known, "columns", ()))


def _first_line(error: Exception) -> str:
    # MariaDB's errors are (number, text); the others are their text. The first line holds no values of the row.
    text = str(error.args[-1]) if error.args else type(error).__name__
    return text.partition("\n")[0].removeprefix("<class 'asyncpg.exceptions.").strip()


def _unreachable(engine: Engine) -> str:
    url = engine.url
    where = f"{url.host or 'localhost'}:{url.port}" if url.port else f"{url.host or url.database}"
    return f"No connection to {where} could be made."
