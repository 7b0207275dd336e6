"""The interface that each database implements below the ORM, and the lookup of the one for a URL."""

from __future__ import annotations

import re
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from math import inf
from typing import Any, Final, Literal, NamedTuple, Self, TypeAlias

from sqlalchemy import URL, Connection, Engine, PoolProxiedConnection, make_url, orm
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import ArgumentError, IntegrityError

from .._databases import KNOWN, class_for
from ..errors import DatabaseFault, DriverMissing, InvalidURL, InvalidValue, UniqueViolation
from ._addresses import refuse_wrong_ports
from ._traces import LeavesTraces

__all__ = [
    "ABORTED",
    "CONNECT_ARGUMENTS",
    "ISOLATION_LEVELS",
    "LIMITS",
    "READ_ONLY",
    "Backend",
    "ConnectArguments",
    "Diagnosis",
    "IsolationLevel",
    "Limits",
    "backend_for",
    "backend_of",
    "begin_for_savepoint",
    "driver_of",
    "info_of",
    "parse_url",
    "unadapted",
    "unique_violation",
]

ABORTED: Final = "sqlkeel_aborted"
"""The key in a connection's ``info`` for the error that aborted its transaction on the server."""

CONNECT_ARGUMENTS: Final = "sqlkeel_connect_arguments"
"""The key in a connection's ``info`` for the arguments of the driver's connect(), to connect again in the same way."""

IsolationLevel: TypeAlias = Literal[
    "read uncommitted",
    "read committed",
    "repeatable read",
    "serializable",
    "READ UNCOMMITTED",
    "READ COMMITTED",
    "REPEATABLE READ",
    "SERIALIZABLE",
]
"""A level of the SQL standard, in small letters or as SQLAlchemy writes it."""

ISOLATION_LEVELS: Final = ("READ UNCOMMITTED", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE")
"""The levels of the SQL standard; AUTOCOMMIT is not a transaction."""

LIMITS: Final = "sqlkeel_limits"
"""The execution option with the `Limits` of one transaction."""

READ_ONLY: Final = "sqlkeel_read_only"
"""The execution option of a read-only transaction or, with the value "always", of a read-only engine."""

_CUT: Final = "@.*/"
"""What the name of a database looks like when it begins in the password."""

_QUERY_BEFORE: Final = r"\A[^:/]*://[^:/]*:\d*/[^?@]*\?[^@]*=[^@]*@"
"""The start of a URL whose password is in the query and has an @; SQLAlchemy reads too much of it as the password."""

_HIDDEN: Final = (
    r"(?i)(?<![a-z])pass(?!file|word\Z|word_)|(?<=.)passw(?!ord_)|pwd|passphrase|secret|token|scram_\w+_key"
    r"|\A(?:hex|text)?key\Z"
)
"""Query parameters with secrets, which SQLAlchemy would show with the URL.

Not among them: ``passfile`` is a path, and ``password_encryption`` is a setting of the server.
"""

_AS_DATABASE: Final = r"[;&#]\s*([\w.-]+)\s*="
"""A parameter inside the name of the database: written for another program, or after a forgotten ``?``."""

_SETTING: Final = r"([\w.-]+)="
"""The name of a setting in ``options``."""

_WITHOUT_SECRETS: Final = "SQLite's driver has no secrets. Send PRAGMA key in a 'connect' listener on the engines."
"""The hint for a secret in the URL of a SQLite file, for which the driver has no argument."""

_NO_ARGUMENTS: Final = r"(?i)pg_?password|(?:\w+_)?(?:pass|password|pwd)"
"""What a password is called elsewhere, and no driver calls it."""


class ConnectArguments(dict[str, Any]):
    """The arguments of a driver; its repr(), which appears in a connection's ``info``, shows only their names."""

    def __repr__(self) -> str:
        return f"<ConnectArguments {', '.join(self)}>"


class _Seconds(NamedTuple):
    statement: float | None = None
    lock: float | None = None
    idle: float | None = None


class Limits(_Seconds):
    """How long things may take, in seconds; ``None`` leaves the server's own setting, 0 is no limit.

    Raises:
        InvalidValue: When one is not a number, negative, or not finite.
    """

    __slots__ = ()

    def __new__(cls, statement: float | None = None, lock: float | None = None, idle: float | None = None) -> Self:
        """Create the limits, and check each given number."""
        made = super().__new__(cls, statement, lock, idle)
        for name, seconds in made._asdict().items():
            if seconds is not None and not (isinstance(seconds, int | float) and 0 <= seconds < inf):
                raise InvalidValue(
                    f"{seconds!r} is not a number of seconds for the {name} limit.",
                    hint="0 for no limit, None for the server's own.",
                )
        return made

    def changed_by(self, other: Limits | None) -> Limits:
        """Return these limits, overridden by those that *other* sets."""
        if other is None:
            return self
        return Limits(*(mine if theirs is None else theirs for mine, theirs in zip(self, other, strict=True)))


class Diagnosis(NamedTuple):
    """What a driver's error means: the class to raise and, for a constraint, what the database says of it."""

    kind: type[DatabaseFault]
    table: str | None = None
    columns: tuple[str, ...] = ()
    constraint: str | None = None
    primary_key: bool = False
    """Whether it is the primary key of the written table, which MariaDB always calls PRIMARY."""

    mistyped: bool = False
    """Whether a value may have a type that does not fit its column, or the statement itself is wrong."""

    spoils: bool = False
    """Whether the connection is unusable although it did not break."""


class Backend(ABC):
    """One database: how to connect, begin transactions, set limits, and read its errors."""

    name: str
    """SQLAlchemy's name of the dialect."""

    drivers: Mapping[str, str]
    """Supported drivers, the preferred one first, each with the extra that installs it; empty if it needs none."""

    bound_to_loop: frozenset[str] = frozenset()
    """The drivers whose connections only work in the event loop that opened them."""

    unavailable: str | None = None
    """A hint for failed connections to a database without a server."""

    def in_memory(self, url: URL) -> bool:
        """Return whether the database exists only in its connection, as SQLite's in memory."""
        return False

    @abstractmethod
    def engine_options(self, url: URL, limits: Limits) -> dict[str, Any]:
        """Return required arguments of `create_async_engine`; the caller's ``connect_args`` take precedence."""

    @abstractmethod
    def reader_options(self, url: URL, limits: Limits) -> dict[str, Any] | None:
        """Return the options of a pool for reading; ``None`` if the database can only have one pool."""

    def beside(self, ours: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the caller's connect arguments, merged with ours if the driver has one string for both."""
        return dict(given)

    def arguments(self, given: dict[str, Any]) -> dict[str, Any]:
        """Return the driver's arguments, after converting values that it needs in another form than a URL has."""
        return given

    @abstractmethod
    def install(self, engine: Engine, limits: Limits) -> None:
        """Listen to the engine's events; *limits* apply to a transaction without its own."""

    def watch(self, engine: Engine) -> None:
        """Record the state that `aborts` needs, on an engine without a Database, if the driver does not report it."""
        return

    @abstractmethod
    def traces(self, url: URL) -> LeavesTraces | None:
        """Return the function that detects statements which change the session beyond their transaction.

        ``None`` if none is needed: such statements are refused, or the connection is the database.
        """

    @abstractmethod
    def begin_options(self, *, read_only: bool = False, isolation: str | None = None) -> dict[str, Any]:
        """Return the execution options that begin a transaction; *isolation* is one of `ISOLATION_LEVELS`."""

    def begin(self, session: orm.Session, options: Mapping[str, Any]) -> None:
        """Begin the transaction of *session* with the *options* of `begin_options` and the option `LIMITS`."""
        session.connection(execution_options=options)

    @abstractmethod
    def aborts(self, error: Any, connection: Connection) -> bool:
        """Return whether *error* has ended the transaction, so that nothing of it can be committed."""

    def is_too_large(self, context: ExceptionContext) -> bool:
        """Return whether the server closed the connection because the statement is larger than the server accepts."""
        return False

    def leaves_unsent(self, error: Any, connection: Connection) -> bool:
        """Return whether *error* has left a statement half sent, so that the server still waits for the rest."""
        return False

    def transaction_ticket(self, session: orm.Session) -> str | None:
        """Return an id of the transaction for `was_committed`; ``None`` if the server cannot report outcomes."""
        return None

    def was_committed(self, connection: Connection, ticket: str) -> bool | None:
        """Return whether the transaction was committed; ``None`` while the server does not know the outcome."""
        return None

    @abstractmethod
    def in_transaction(self, raw: Any) -> bool:
        """Return whether the connection is in a transaction, as far as the driver knows without a query."""

    def recovers(self, raw: Any) -> bool:
        """Clean up after a failed COMMIT or ROLLBACK, and return whether the connection can be used again.

        After ``False`` the connection is closed, which is the surest way to end a transaction on a server.
        """
        return False

    def watched_end(self, usual: Callable[..., Any]) -> Callable[..., Any]:
        """Return *usual*, a dialect method that sends COMMIT or ROLLBACK, with checks before it."""
        return usual

    savepoint_recovers: bool
    """Whether rolling back to a savepoint makes an aborted transaction usable again."""

    def met(self, error: Exception) -> Exception:
        """Return the original error if the driver has raised another error in place of it."""
        return error

    @abstractmethod
    def diagnose(self, error: Any) -> Diagnosis | None:
        """Read a driver's error by its code; ``None`` if the code has no special meaning."""

    @abstractmethod
    def keeps_locks(self, connection: Connection) -> bool:
        """Return whether the connection is in a transaction that keeps its locks until it ends."""

    def begin_for_savepoint(self, connection: Connection) -> bool:
        """Begin the transaction around a savepoint; return whether the driver had not begun it yet."""
        return False

    def commits_by_itself(self, connection: Connection) -> bool:
        """Return whether the connection commits each statement, so that no savepoint takes any back."""
        return connection.dialect.detect_autocommit_setting(connection.connection.dbapi_connection)  # type: ignore[arg-type]

    @abstractmethod
    def commits(self, statement: str) -> bool:
        """Return whether a statement commits the transaction: COMMIT as text, or a statement that implies a COMMIT."""

    @abstractmethod
    def lock(self, connection: Connection, name: str, *, nowait: bool) -> bool:
        """Acquire the lock *name* until the transaction ends; return whether it was granted."""


def driver_of(connection: Connection) -> Any:
    """Return the driver's own connection, even if it was detached from its pool."""
    return unadapted(connection.connection.dbapi_connection)


def unadapted(raw: Any) -> Any:
    """Return the driver's own connection inside SQLAlchemy's adapter; a synchronous driver has no adapter."""
    return getattr(raw, "driver_connection", raw)


def info_of(connection: Connection | PoolProxiedConnection) -> dict[Any, Any]:
    """Return the dictionary for notes on a driver connection, even while SQLAlchemy initialises the dialect."""
    pooled = connection.connection if isinstance(connection, Connection) else connection
    try:
        return pooled.info
    except NotImplementedError:
        # The pool has not handed it out yet, but its record already exists.
        return pooled.record_info or {}


def parse_url(url: str | URL) -> URL:
    """Parse a database URL, and add the async driver.

    Raises:
        InvalidURL: When it is not a URL, names a database, driver or port that sqlkeel does not support, or exposes its
            password.
        DriverMissing: When the driver is not installed.
    """
    if (read := _read(url)) is None:
        # Neither the URL nor the original error is included, because both may contain a password and would be shown
        # with the chain of errors.
        raise InvalidURL("The database URL cannot be read.") from None
    parsed = read
    backend = _lookup(parsed.get_backend_name())
    _refuse_cut_password(parsed, url)
    refuse_wrong_ports(parsed)
    parsed = _with_hidden_password(parsed)
    preferred = next(iter(backend.drivers))
    _, _, named = parsed.drivername.partition("+")
    driver = named or preferred
    if driver not in backend.drivers:
        raise InvalidURL(
            f"sqlkeel does not support the driver {driver!r} with {backend.name}.",
            hint=f"Write {backend.name}+{preferred}://…",
        )
    if backend.name == "sqlite" and (parsed.host or parsed.username or parsed.password is not None):
        raise InvalidURL(
            f"A SQLite database is a file, but the URL names a {'host' if parsed.host else 'user or a password'}.",
            hint="Write three slashes before a path: sqlite+aiosqlite:///app.db.",
        )
    if find_spec(driver) is None:
        raise DriverMissing(driver, backend.drivers[driver])
    complete = parsed.set(drivername=f"{backend.name}+{driver}")
    if complete.query:
        _refuse_unreadable_options(complete)
    return complete


def _read(url: str | URL) -> URL | None:
    try:
        return make_url(url)
    except (ArgumentError, ValueError):
        return None


def _refuse_unreadable_options(url: URL) -> None:
    """Check that SQLAlchemy can parse the query options; its ValueError would not name one."""
    if not _has_readable_options(url):
        raise InvalidURL(
            f"The value of an option in the database URL cannot be read; it has {', '.join(sorted(url.query))}.",
            hint="Write a number like ?timeout=30, and pass an object as connect_args={...}.",
        )


def _has_readable_options(url: URL) -> bool:
    try:
        with warnings.catch_warnings(action="ignore"):  # it parses them again later, and warns then
            url.get_dialect()().create_connect_args(url)
    except (ArgumentError, ValueError):
        return False
    return True


def _refuse_cut_password(url: URL, written: str | URL) -> None:
    """Refuse a URL whose password is not percent-encoded and so extends into the host, the database or the query."""
    query = written.partition("?")[2] if isinstance(written, str) else ""
    elsewhere = (
        "@" in (url.host or ""),
        url.get_backend_name() != "sqlite" and _is_cut(url.database or "", written),
        any("@" in piece.partition("=")[0] for piece in query.split("&")),
        isinstance(written, str) and re.match(_QUERY_BEFORE, written),
    )
    if any(elsewhere):
        # The message contains no part of the URL.
        raise InvalidURL(
            "The database URL has an @ after the one that ends the password, or in its host.",
            hint="Percent-encode the password: urllib.parse.quote(password, safe=''), which writes @ as %40.",
        )


def _is_cut(name: str, written: str | URL) -> bool:
    """Return whether the name of a database begins in the password: an @ of its own is percent-encoded in a URL."""
    as_written = isinstance(written, str) and "@" in name and name in written
    return as_written or re.search(_CUT, name) is not None


def _with_hidden_password(url: URL) -> URL:
    """Return *url* with its password where SQLAlchemy hides it, whenever the URL is shown."""
    beside = re.findall(_AS_DATABASE, url.database or "")
    if misplaced := [name for name in beside if name.lower() == "password" or re.search(_HIDDEN, name)]:
        raise InvalidURL(
            f"The name of the database in the URL contains {misplaced[0]}=.",
            hint="Write the password before the @: postgresql+asyncpg://user:password@host/name.",
        )
    if shown := [key for key, value in url.query.items() if _is_secret(key, value)]:
        name = "password" if re.fullmatch(_NO_ARGUMENTS, shown[0]) else shown[0]
        as_argument = f"Database(url, connect_args={{{name!r}: ...}})"
        raise InvalidURL(
            f"The database URL has {shown[0]} in its query, which would be shown with the URL.",
            hint=_WITHOUT_SECRETS if url.get_backend_name() == "sqlite" else as_argument,
        )
    password = url.query.get("password")
    if password is None:
        return url
    if not isinstance(password, str):
        raise InvalidURL("The database URL has more than one password in its query.")
    return url.difference_update_query(["password"]).set(password=password)


def _is_secret(key: str, value: str | tuple[str, ...]) -> bool:
    given = [value] if isinstance(value, str) else value
    settings = key == "options" and any(re.search(_HIDDEN, name) for one in given for name in re.findall(_SETTING, one))
    return settings or re.search(_HIDDEN, key) is not None or key.lower() == "password" != key


def backend_for(url: URL) -> Backend:
    """Return the backend for a parsed URL.

    Raises:
        InvalidURL: When sqlkeel does not support the database.
    """
    return _lookup(url.get_backend_name())


def backend_of(dialect: str) -> Backend | None:
    """Return the backend for SQLAlchemy's name of a dialect; ``None`` if there is none."""
    kind: type[Backend] | None = class_for("engines", dialect)
    return None if kind is None else kind()


def unique_violation(error: IntegrityError, url: URL) -> UniqueViolation | Diagnosis | None:
    """Return the violated unique constraint, even on an engine that is not ours; ``None`` for another violation."""
    if isinstance(error, DatabaseFault):
        return error if isinstance(error, UniqueViolation) else None
    found = backend_for(url).diagnose(error.orig)
    return found if found is not None and issubclass(found.kind, UniqueViolation) else None


def begin_for_savepoint(connection: Connection) -> None:
    """Call `Backend.begin_for_savepoint` on a connection of any engine; do nothing for an unknown database."""
    backend = backend_of(connection.dialect.name)
    if backend is not None:
        backend.begin_for_savepoint(connection)


def _lookup(name: str) -> Backend:
    backend = backend_of(name)
    if backend is None:
        hint = "Write postgresql:// instead of postgres://." if name == "postgres" else None
        raise InvalidURL(f"sqlkeel does not support {name!r}; it supports {', '.join(KNOWN)}.", hint=hint)
    return backend
