"""Every exception of sqlkeel, in one tree.

::

    KeelError
    ├── ConfigurationError          your code or settings cannot work, found before a statement is sent
    │   ├── InvalidURL, DriverMissing, NamingCollision, NotSupported
    │   ├── CascadeMismatch         also sqlalchemy.exc.InvalidRequestError
    │   ├── InvalidRelation         also sqlalchemy.exc.InvalidRequestError and ArgumentError
    │   └── MigrationError ── DatabaseBehind, ModelsDiffer
    ├── InvalidValue (ValueError)   a value that would be stored wrong
    │   └── NaiveDatetime, InexactNumber, UnknownField, InvalidCursor, InvalidKey, InvalidETag
    ├── UsageError                  a call at the wrong time or on the wrong object
    │   ├── NoTransaction, NestedTransaction, ReadOnlySession, AlreadyFlushing, SessionClosed, SessionShared,
    │   │   PoolTimeout, QueryBudgetExceeded, LeakedTransaction
    │   └── UnloadedAttribute ── DetachedAttribute
    ├── ServerMissing, ServerFailed  a throw-away server of the test kit
    ├── UnexpectedValue             the database holds a value that the code does not know
    ├── NotFound (LookupError), MultipleFound
    ├── PreconditionRequired        a change over HTTP that does not say which version it changes
    ├── VersionConflict             also sqlalchemy.orm.exc.StaleDataError
    └── DatabaseFault               an error of the server or the driver; also a sqlalchemy.exc.DBAPIError
        ├── ConstraintViolation     also sqlalchemy.exc.IntegrityError
        │   ├── UniqueViolation ── RestoreConflict
        │   └── ForeignKeyViolation, CheckViolation, NotNullViolation, ExclusionViolation
        ├── TransientFault          the whole unit of work may be retried
        │   └── SerializationFailure, Deadlock, LockTimeout, DatabaseBusy, ConnectionLost, SchemaChanged
        ├── DatabaseUnavailable ── AuthenticationFailed, DatabaseMissing
        ├── ValueRefused ── StatementTooLarge
        ├── UnreadableValue, StatementTimeout, ReadOnlyViolation, SchemaMissing, PermissionDenied,
        │   OutOfResources
        ├── TransactionAborted      also sqlalchemy.exc.PendingRollbackError
        └── CommitUnknown

A fault is recognised by SQLSTATE or driver code, never by its text, and is also an instance of the SQLAlchemy class
that would have been raised without us, so that existing handlers keep working. Each class has a ``code``, the anchor
of its paragraph in ``docs/errors.md``, and a ``hint``: what to type next. Context is in attributes; every error
pickles.
"""

# pyright: reportIncompatibleVariableOverride=false
# Our ``code`` has another type on each class than SQLAlchemy's.

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from sqlalchemy import exc as sa_exc
from sqlalchemy.orm import exc as orm_exc

__all__ = [
    "AlreadyFlushing",
    "AuthenticationFailed",
    "CascadeMismatch",
    "CheckViolation",
    "CommitUnknown",
    "ConfigurationError",
    "ConnectionLost",
    "ConstraintViolation",
    "DatabaseBehind",
    "DatabaseBusy",
    "DatabaseFault",
    "DatabaseMissing",
    "DatabaseUnavailable",
    "Deadlock",
    "DetachedAttribute",
    "DriverMissing",
    "ExclusionViolation",
    "ForeignKeyViolation",
    "InexactNumber",
    "InvalidCursor",
    "InvalidETag",
    "InvalidKey",
    "InvalidRelation",
    "InvalidURL",
    "InvalidValue",
    "KeelError",
    "LeakedTransaction",
    "LockTimeout",
    "MigrationError",
    "ModelsDiffer",
    "MultipleFound",
    "NaiveDatetime",
    "NamingCollision",
    "NestedTransaction",
    "NoTransaction",
    "NotFound",
    "NotNullViolation",
    "NotSupported",
    "OutOfResources",
    "PermissionDenied",
    "PoolTimeout",
    "PreconditionRequired",
    "QueryBudgetExceeded",
    "ReadOnlySession",
    "ReadOnlyViolation",
    "RestoreConflict",
    "SchemaChanged",
    "SchemaMissing",
    "SerializationFailure",
    "ServerFailed",
    "ServerMissing",
    "SessionClosed",
    "SessionShared",
    "StatementTimeout",
    "StatementTooLarge",
    "TransactionAborted",
    "TransientFault",
    "UnexpectedValue",
    "UniqueViolation",
    "UnknownField",
    "UnloadedAttribute",
    "UnreadableValue",
    "UsageError",
    "ValueRefused",
    "VersionConflict",
]


class KeelError(Exception):
    """The base of every error that sqlkeel raises."""

    docs: ClassVar[str] = ""
    """The URL of your page of errors, "https://docs.example.org/errors.html", for the last line of each message.

    Set it once, ``KeelError.docs = ...``. Otherwise the line is the command that shows the explanation offline.
    """

    code: Any = "keel-error"  # a str; SQLAlchemy's errors declare it in several ways
    hint: str = ""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        Exception.__init__(self, message)
        if hint is not None:
            self.hint = hint

    @property
    def message(self) -> str:
        """What happened, in one paragraph, without the hint."""
        return str(self.args[0]) if self.args else ""

    def __str__(self) -> str:
        lines = [self.message]
        if self.hint:
            lines.append(f"hint: {self.hint}")
        lines.append(f"docs: {self.docs}#{self.code}" if self.docs else f"docs: sqlkeel explain {self.code}")
        return "\n  ".join(lines)

    def __reduce__(self) -> tuple[Any, ...]:
        state = {name: _picklable(value) for name, value in self.__dict__.items()}
        return _restore, (type(self), tuple(_picklable(arg) for arg in self.args), state)


def _picklable(value: Any) -> Any:
    """Replace a value that cannot be pickled by its repr()."""
    try:
        pickle.loads(pickle.dumps(value))  # noqa: S301 - bytes that we have just pickled
    except Exception:  # noqa: BLE001 - pickling runs foreign code, which may raise anything
        return repr(value)
    return value


_SHOWN: Final = 200
"""The maximum length of a value in a message."""


def shown(value: object) -> str:
    """Return a value for a message: one from a client may be long, or too deep for ``repr()``."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - too many digits, deeply nested lists, or a user's class
        return f"<{type(value).__name__}>"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _restore(kind: type[KeelError], args: tuple[Any, ...], state: dict[str, Any]) -> KeelError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


# --- configuration ----------------------------------------------------------------------------


class ConfigurationError(KeelError):
    """The application's code or settings cannot work."""

    code = "configuration"


class InvalidURL(ConfigurationError, sa_exc.ArgumentError):
    """A database URL that is missing, cannot be parsed, or names something that sqlkeel does not support."""

    code = "invalid-url"
    hint = "Write a URL such as sqlite+aiosqlite:///app.db or postgresql+asyncpg://user@host/name."


class DriverMissing(ConfigurationError, ModuleNotFoundError):
    """The driver that the URL names is not installed."""

    code = "driver-missing"

    def __init__(self, driver: str, extra: str) -> None:
        super().__init__(f"The driver {driver!r} is not installed.", hint=f"pip install 'sqlkeel[{extra}]'")
        self.driver = driver
        self.extra = extra


class CascadeMismatch(ConfigurationError, sa_exc.InvalidRequestError):
    """The ORM cascade of a relationship and the ON DELETE of its foreign key disagree, or would lose rows."""

    code = "cascade-mismatch"


class InvalidRelation(ConfigurationError, sa_exc.InvalidRequestError, sa_exc.ArgumentError):
    """A relationship names an attribute, a class or a foreign key that does not exist."""

    code = "invalid-relation"


class NamingCollision(ConfigurationError):
    """Two constraints would get the same name, and the convention cannot distinguish them."""

    code = "naming-collision"
    hint = "Name one of them explicitly."


class NotSupported(ConfigurationError):
    """The database or the model cannot do what was requested, and no weaker alternative is used."""

    code = "not-supported"


class MigrationError(ConfigurationError):
    """The migrations cannot do what was requested."""

    code = "migration"


class DatabaseBehind(MigrationError):
    """The database is not at the newest revision."""

    code = "database-behind"
    hint = "sqlkeel migrate up"

    def __init__(self, pending: Sequence[str]) -> None:
        super().__init__(f"{len(pending)} revision(s) are not applied: {', '.join(pending)}.")
        self.pending = tuple(pending)


class ModelsDiffer(MigrationError):
    """The models and the database describe different schemas."""

    code = "models-differ"
    hint = 'sqlkeel migrate new "what changed"'

    def __init__(self, differences: Sequence[str]) -> None:
        listing = "".join(f"\n    {difference}" for difference in differences)
        super().__init__(f"The database does not match the models:{listing}")
        self.differences = tuple(differences)


# --- values -----------------------------------------------------------------------------------


class InvalidValue(KeelError, ValueError, sa_exc.DontWrapMixin):
    """A value that the database would refuse or, worse, store as a different value.

    ``column`` is its column if a column type refused it, and ``row`` the number of its row in a bulk insert, as in
    `ValueRefused`.
    """

    row: int | None = None
    column: str | None = None

    code = "invalid-value"

    def locate(self, table: str, column: str, row: int | None = None) -> None:
        """Add the column and row of the value, which the type that raised the error does not know."""
        where = f"{table}.{column}" if row is None else f"{table}.{column} in row {row}"
        refusal = self.message.removeprefix(f"{table}.{self.column}: ")
        self.args = (f"{where}: {refusal}", *self.args[1:])
        self.column, self.row = column, row


class NaiveDatetime(InvalidValue):
    """A datetime without a time zone is not a definite point in time."""

    code = "naive-datetime"
    hint = "datetime.now(timezone.utc), or value.replace(tzinfo=timezone.utc) if it is UTC."


class InexactNumber(InvalidValue):
    """A number that cannot be stored exactly: a float, NaN, infinity, or too many digits."""

    code = "inexact-number"
    hint = 'Pass a Decimal made from text, Decimal("9.50"), and round it yourself.'


class UnknownField(InvalidValue):
    """A field that the model does not have."""

    code = "unknown-field"


class InvalidCursor(InvalidValue):
    """A page cursor that is damaged, or belongs to another order or filter."""

    code = "invalid-cursor"
    hint = "Start again without a cursor."


class InvalidKey(InvalidValue, sa_exc.InvalidRequestError):
    """A key of the wrong shape for this model."""

    code = "invalid-key"


class InvalidETag(InvalidValue):
    """A conditional request whose header is not a list of entity tags."""

    code = "invalid-etag"
    hint = 'Send the ETag as it came, quotes included: If-Match: "3".'


# --- use --------------------------------------------------------------------------------------


class UsageError(KeelError):
    """A call at the wrong time or on the wrong object."""

    code = "usage"


class NoTransaction(UsageError, sa_exc.InvalidRequestError):
    """The call needs an open transaction."""

    code = "no-transaction"
    hint = "async with db.transaction() as session: ..."


class ReadOnlySession(UsageError):
    """A write in a session that was opened for reading."""

    code = "read-only-session"
    hint = (
        "Open the outermost block for writing: async with db.transaction() as session: ..., without read_only=True. "
        "To change an object only for display, call session.expunge(obj) first."
    )


class AlreadyFlushing(UsageError, sa_exc.InvalidRequestError):
    """A flush listener called a method that flushes first, as most verbs do, or that ends the transaction."""

    code = "already-flushing"
    hint = (
        "In a listener use session.add(obj), session.delete(obj) or session.execute(), "
        "and session.connection().begin_nested() for a savepoint. "
        "Do everything else after the flush, in its caller or with session.on_commit()."
    )

    def __init__(self, what: str = "called a method that flushes first") -> None:
        super().__init__(f"Session is already flushing: a listener of the flush {what}.")


class NestedTransaction(UsageError, sa_exc.InvalidRequestError):
    """A transaction inside another one of the same task cannot have its own options, or be retried alone."""

    code = "nested-transaction"


class SessionClosed(UsageError, sa_exc.InvalidRequestError):
    """The session is closed for good: its block, or the request that it belonged to, has ended."""

    code = "session-closed"
    hint = "Use it inside its block, or open another one: async with db.transaction() as session: ..."

    def __init__(self) -> None:
        super().__init__("The session is permanently closed: the block or the request that it belonged to has ended.")


class SessionShared(UsageError, sa_exc.InvalidRequestError):
    """Two tasks used one session at the same time, but it has only one connection to the server.

    ``first`` is the file and line at which the task is that has the session, ``second`` the file and line of the other
    task's call. ``closed`` means that the first task had already closed the session.
    """

    code = "session-shared"
    hint = "Give each task its own session: async with db.read() as session, inside the task."

    def __init__(self, first: str, second: str, *, closed: bool = False) -> None:
        state = "was closed by" if closed else "is in use at"
        super().__init__(f"The session {state} {first}, and was called at {second}.")
        self.first = first
        self.second = second
        self.closed = closed


class PoolTimeout(UsageError, sa_exc.TimeoutError):
    """All connections of the pool are in use, and none was returned in time."""

    code = "pool-timeout"
    hint = "Close sessions earlier, or raise pool_size; a block inside another one needs two connections."


def _named(attribute: str) -> str:
    """Return the arguments for refresh(); without names it would not load a column that the query omitted."""
    return "obj" if "," in attribute or " " in attribute else f'obj, ["{attribute}"]'


class UnloadedAttribute(UsageError, sa_exc.MissingGreenlet):
    """The attribute was not loaded, or has expired; reading an attribute cannot wait for the database.

    It is also the error that SQLAlchemy raises with most drivers, so that code which catches that continues to work.
    """

    code = "unloaded-attribute"

    def __init__(self, model: str, attribute: str, *, is_column: bool = False) -> None:
        # For an expired object all columns are named, because it is unknown which one was read.
        verb = "are" if "," in attribute else "is"
        by_query = f"Load it with the query, load=[{model}.{attribute}], or await obj.awaitable_attrs.{attribute}."
        by_hand = f"await session.refresh({_named(attribute)}), or await it from obj.awaitable_attrs."
        super().__init__(f"{model}.{attribute} {verb} not loaded.", hint=by_hand if is_column else by_query)
        self.model = model
        self.attribute = attribute
        self.is_column = is_column


class DetachedAttribute(UnloadedAttribute, orm_exc.DetachedInstanceError):
    """The attribute was not loaded while the object had a session; now it cannot be loaded any more."""

    code = "detached-attribute"

    def __init__(self, model: str, attribute: str, *, is_column: bool = False) -> None:
        super().__init__(model, attribute, is_column=is_column)
        self.args = (
            f"{self.message.removesuffix('.')}, and the object is detached: the block of its session has ended.",
        )
        self.hint = (
            f"Inside the block: await session.refresh({_named(attribute)})."
            if is_column
            else f"Load it inside the block, with the query: load=[{model}.{attribute}]."
        )


class QueryBudgetExceeded(UsageError):
    """A block sent more statements than its budget allows."""

    code = "query-budget"
    hint = "Load the relationship with the query: load=[User.articles]."

    def __init__(self, limit: int, statements: Sequence[str], *, exactly: bool = False) -> None:
        listing = "".join(f"\n    {n}. {s}" for n, s in enumerate(statements, 1))
        budget = f"a budget of {'exactly ' if exactly else ''}{limit}"
        super().__init__(f"Sent {len(statements)} statements on {budget}:{listing}")
        self.limit = limit
        self.statements = tuple(statements)


class LeakedTransaction(UsageError):
    """A connection or a lock was not released by the code that acquired it."""

    code = "leaked-transaction"
    hint = "Open sessions and connections with async with."

    def __init__(self, database: str, leaks: Sequence[str]) -> None:
        listing = "".join(f"\n    {leak}" for leak in leaks)
        super().__init__(f"Still held on {database}:{listing}")
        self.database = database
        self.leaks = tuple(leaks)


class ServerMissing(KeelError):
    """The programs of the database server are not installed on this machine."""

    code = "server-missing"

    def __init__(self, product: str, *, hint: str) -> None:
        super().__init__(f"{product} is not installed here.", hint=hint)
        self.product = product


class ServerFailed(KeelError):
    """A throw-away server did not start; ``log`` is the end of what it wrote."""

    code = "server-failed"

    def __init__(self, product: str, log: str) -> None:
        super().__init__(f"{product} did not start; its log ends with:\n{log}")
        self.product = product
        self.log = log


class UnexpectedValue(KeelError):
    """The database holds a value that is not a member of the enumeration."""

    code = "unexpected-value"
    hint = "Deploy the code that knows a new value before the code that writes it."


class NotFound(KeelError, LookupError, sa_exc.NoResultFound):
    """No row matches; deleted rows do not count."""

    code = "not-found"

    def __init__(self, model: str, key: object = None) -> None:
        super().__init__(f"There is no {model}" + (f" with key {shown(key)}." if key is not None else " that matches."))
        self.model = model
        self.key = key


class MultipleFound(KeelError, LookupError, sa_exc.MultipleResultsFound):
    """More than one row matches, but at most one may."""

    code = "multiple-found"
    hint = "Filter by a unique column, or use get_all()."

    def __init__(self, model: str) -> None:
        super().__init__(f"More than one {model} matches.")
        self.model = model


class PreconditionRequired(KeelError):
    """A change over HTTP that does not say which version it changes."""

    code = "precondition-required"
    hint = 'Send the ETag of what was read: If-Match: "3".'


class VersionConflict(KeelError, orm_exc.StaleDataError):
    """The row was changed by another session since it was read; nothing was written.

    ``expected`` is the version that the caller had, an ``int``. If a client named several, as ``If-Match`` may, it is a
    ``frozenset``. It is ``None`` if the version is unknown, or the versions cannot be listed: more than 100, or
    ``If-Match: *``. ``current`` is the version in the database (``None``: the row no longer exists), ``current_row``
    the row's current values by attribute. If several rows of one flush had changed, ``others`` holds the rest.
    """

    code = "version-conflict"
    hint = "Show both versions to the editor, or reload and apply the change again."

    def __init__(
        self,
        model: str,
        key: object,
        *,
        expected: int | frozenset[int] | None,
        current: int | None,
        current_row: Mapping[str, Any] | None = None,
    ) -> None:
        now = "is gone" if current is None else f"is at version {current}"
        super().__init__(f"{model} {shown(key)} {now}; the {_expectation(expected)}.")
        self.model = model
        self.key = key
        self.expected = expected
        self.current = current
        self.current_row = current_row
        self.others: tuple[VersionConflict, ...] = ()


def _expectation(expected: int | frozenset[int] | None) -> str:
    """Return the part of the message about the version of the change, or about the versions that a client expected."""
    if not isinstance(expected, frozenset):
        return f"change was made on {'another one' if expected is None else f'version {shown(expected)}'}"
    if not expected:
        return "client named no version"
    named = [shown(version) for version in sorted(expected)]
    listing = ", ".join(named[:10]) + (", …" if len(named) > 10 else "")
    return f"client expected {'one of' if len(named) > 1 else 'version'} {listing}"


# --- errors of the server ----------------------------------------------------------------------


class DatabaseFault(KeelError, sa_exc.DBAPIError):
    """An error of the server or the driver, with the statement but without its parameters.

    ``orig`` is the driver's error, ``sqlstate`` its SQLSTATE if it has one, ``statement`` the SQL.
    """

    code = "database-fault"

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        orig: BaseException | None = None,
        statement: str | None = None,
        connection_invalidated: bool = False,
    ) -> None:
        KeelError.__init__(self, message, hint=hint)
        self.statement = statement
        self.params = None
        self.orig = orig  # type: ignore[assignment]  # None if there is no driver error
        self.ismulti = None
        self.hide_parameters = True
        self.detail = []
        self.connection_invalidated = connection_invalidated
        self.sqlstate: str | None = getattr(orig, "sqlstate", None)

    def __str__(self) -> str:
        text = KeelError.__str__(self)
        return f"{text}\n  SQL: {self.statement}" if self.statement else text


class ConstraintViolation(DatabaseFault, sa_exc.IntegrityError):
    """A constraint of the database refused the row.

    ``table`` and ``constraint`` are names in the database, ``columns`` the columns of the constraint; they are empty if
    the database does not report them (SQLite does not name the foreign key). ``row`` is as in `ValueRefused`.
    """

    row: int | None = None

    code = "constraint-violation"
    rule: ClassVar[str] = "a constraint"

    def __init__(
        self,
        *,
        table: str | None = None,
        columns: Sequence[str] = (),
        constraint: str | None = None,
        orig: BaseException | None = None,
        statement: str | None = None,
    ) -> None:
        name = f" {constraint!r}" if constraint else ""
        where = f" on {table}" if table else ""
        which = f" ({', '.join(columns)})" if columns else ""
        super().__init__(f"The row breaks {self.rule}{name}{where}{which}.", orig=orig, statement=statement)
        self.table = table
        self.columns = tuple(columns)
        self.constraint = constraint

    def locate(self, row: int | None) -> None:
        """Add the number of the row, if it is known."""
        if row is not None:
            self.args = (self.message.replace("The row", f"Row {row}", 1), *self.args[1:])
            self.row = row


class UniqueViolation(ConstraintViolation):
    """Another row already has this value."""

    code = "unique-violation"
    rule = "the unique constraint"
    hint = "Use get_or_create() or upsert() where an existing row is fine."


class RestoreConflict(UniqueViolation):
    """A live row has the unique value of the deleted row that should be restored."""

    code = "restore-conflict"
    rule = "the unique constraint among live rows"
    hint = "Rename or delete the live row first."


class ForeignKeyViolation(ConstraintViolation):
    """The row references a row that does not exist, or other rows still reference it."""

    code = "foreign-key-violation"
    rule = "the foreign key"


class CheckViolation(ConstraintViolation, sa_exc.OperationalError):
    """A CHECK constraint refused the values."""

    code = "check-violation"
    rule = "the check"


class NotNullViolation(ConstraintViolation, sa_exc.OperationalError):
    """A required column was left empty."""

    code = "not-null-violation"
    rule = "NOT NULL"


class ExclusionViolation(ConstraintViolation):
    """An EXCLUDE constraint found an overlapping row (PostgreSQL)."""

    code = "exclusion-violation"
    rule = "the exclusion constraint"


class TransientFault(DatabaseFault, sa_exc.OperationalError):
    """The transaction lost a race or its connection; retry the whole unit of work."""

    code = "transient"
    hint = "await db.run_transaction(function, ...) runs the whole function again."


class SerializationFailure(TransientFault):
    """The result of concurrent transactions would match no serial order, so the server rolled this one back."""

    code = "serialization-failure"


class Deadlock(TransientFault):
    """Two transactions waited for each other, so the server rolled this one back."""

    code = "deadlock"


class LockTimeout(TransientFault):
    """A lock was not granted in time, or at once with nowait."""

    code = "lock-timeout"


class DatabaseBusy(TransientFault):
    """Another connection is writing to the SQLite file."""

    code = "database-busy"


class ConnectionLost(TransientFault, sa_exc.InterfaceError):
    """The connection broke before COMMIT was sent; nothing was written."""

    code = "connection-lost"


class SchemaChanged(TransientFault, sa_exc.NotSupportedError, sa_exc.InternalError):
    """A table or type changed while the connection was using it; the same statement works when it is repeated."""

    code = "schema-changed"


class ValueRefused(
    DatabaseFault, sa_exc.DataError, sa_exc.OperationalError, sa_exc.InternalError, sa_exc.ProgrammingError
):
    """A value does not fit its column: too long, out of range, or of the wrong form.

    The database's own message is only in ``orig``, because it contains the value. ``row`` is the number of the row in
    the bulk call, counted from 1, and ``column`` its column, if they are known.
    """

    row: int | None = None
    column: str | None = None

    code = "value-refused"
    hint = "Check lengths, ranges and types where the value comes in."

    def locate(self, table: str | None, column: str | None = None, row: int | None = None) -> None:
        """Add the place of the value, as far as it is known."""
        what = "A value" if row is None else f"The value in row {row}"
        where = "its column" if column is None else column if table is None else f"{table}.{column}"
        where = f"{where} of {table}" if column is None and table is not None else where
        self.args = (f"{what} does not fit {where}: too long, out of range, or of the wrong form.", *self.args[1:])
        self.column, self.row = column, row


class StatementTooLarge(ValueRefused):
    """The statement and its values are larger than the server accepts: MariaDB's max_allowed_packet.

    It is a `ValueRefused`, because a retry would not help; but it names no single value, because all count together.
    """

    code = "statement-too-large"
    hint = (
        "Write fewer rows at a time, or shorter lists; store a single value that is larger elsewhere, or in pieces. "
        "The limit is max_allowed_packet in the server's configuration."
    )

    def locate(self, table: str | None, column: str | None = None, row: int | None = None) -> None:
        """Add nothing: the database refused all values together."""


class UnreadableValue(DatabaseFault, sa_exc.DataError):
    """A row holds a value that Python does not have: a year after 9999 or before 1, or infinity.

    ``table`` and ``column`` are set if only one column is possible.
    """

    table: str | None = None
    column: str | None = None

    code = "unreadable-value"
    hint = "Read the value as text, select(cast(Person.born_on, Text)), and correct it in the database."


class StatementTimeout(DatabaseFault, sa_exc.OperationalError):
    """The statement ran longer than it may; the server stopped it."""

    code = "statement-timeout"
    hint = "db.transaction(statement_timeout=300) allows more seconds, 0 any number; see first why it is slow."


class ReadOnlyViolation(DatabaseFault, sa_exc.OperationalError, sa_exc.InternalError):
    """A write reached a server or transaction that is read-only."""

    code = "read-only-violation"
    hint = "async with db.transaction() as session: ..."


class SchemaMissing(DatabaseFault, sa_exc.ProgrammingError, sa_exc.OperationalError):
    """The table or column does not exist; usually the database is not migrated."""

    code = "schema-missing"
    hint = "sqlkeel migrate up"


class PermissionDenied(DatabaseFault, sa_exc.ProgrammingError, sa_exc.OperationalError):
    """The account may not do this with this table or function."""

    code = "permission-denied"
    hint = "GRANT the right to the account, or connect as one that has it."


class OutOfResources(DatabaseFault, sa_exc.OperationalError, sa_exc.InternalError, sa_exc.DataError):
    """The server is out of resources: disk, memory, or the limits of this account."""

    code = "out-of-resources"
    hint = "Check the disk and the limits of the server; nothing of the transaction is written."


class DatabaseUnavailable(DatabaseFault, sa_exc.OperationalError):
    """No connection could be opened."""

    code = "database-unavailable"
    hint = "Start the server, or check host and port in the URL."


class AuthenticationFailed(DatabaseUnavailable):
    """The server refused the user or the password."""

    code = "authentication-failed"
    hint = "Check user and password in the URL; special characters in a password are %-encoded."


class DatabaseMissing(DatabaseUnavailable):
    """The server has no database of this name."""

    code = "database-missing"
    hint = "Create it first; sqlkeel creates tables, not databases."


class TransactionAborted(DatabaseFault, sa_exc.OperationalError, sa_exc.PendingRollbackError):
    """An earlier statement or flush failed, so the transaction cannot be committed."""

    code = "transaction-aborted"
    hint = "Put a statement that may fail into session.savepoint()."


class CommitUnknown(DatabaseFault, sa_exc.OperationalError):
    """The connection broke during COMMIT, and it is unknown whether it took place."""

    code = "commit-unknown"
    hint = "Check whether the row exists before you try again."
