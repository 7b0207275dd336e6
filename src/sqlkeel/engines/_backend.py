"""What every database file has to say, and how to find the one for a URL."""

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
"""Where a connection's ``info`` keeps the error that ended its transaction on the server."""

CONNECT_ARGUMENTS: Final = "sqlkeel_connect_arguments"
"""Where a connection's ``info`` keeps what the driver was called with, to call it once more the same way."""

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
"""The levels of the SQL standard; AUTOCOMMIT is no transaction."""

LIMITS: Final = "sqlkeel_limits"
"""The execution option with the `Limits` of one transaction."""

READ_ONLY: Final = "sqlkeel_read_only"
"""The execution option of a transaction, or ("always") of an engine, that only reads."""

_CUT: Final = "@.*/"
"""What the name of a database looks like when it begins in the password."""

_QUERY_BEFORE: Final = r"\A[^:/]*://[^:/]*:\d*/[^?@]*\?[^@]*=[^@]*@"
"""What a URL begins with whose password stands in the query and has an @: all before that is read as the password."""

_HIDDEN: Final = (
    r"(?i)(?<![a-z])pass(?!file|word\Z|word_)|(?<=.)passw(?!ord_)|pwd|passphrase|secret|token|scram_\w+_key"
    r"|\A(?:hex|text)?key\Z"
)
"""What parameters of a URL's query are called that are nobody's to see, and have no other place in it.

A ``passfile`` is a path, and ``password_encryption`` a setting of the server.
"""

_AS_DATABASE: Final = r"[;&#]\s*([\w.-]+)\s*="
"""A parameter that stands in the name of the database, as with other programs or where the ``?`` is forgotten."""

_SETTING: Final = r"([\w.-]+)="
"""The name of a setting in ``options``."""

_WITHOUT_SECRETS: Final = "SQLite's driver takes no secret. A listener of 'connect' on the engines may send PRAGMA key."
"""What to say of one for a file, for which there is no argument of the driver either."""

_NO_ARGUMENTS: Final = r"(?i)pg_?password|(?:\w+_)?(?:pass|password|pwd)"
"""What a password is called elsewhere, and no driver calls it."""


class ConnectArguments(dict[str, Any]):
    """What a driver was called with; shown, as in a connection's ``info``, it has no values, of which one is secret."""

    def __repr__(self) -> str:
        return f"<ConnectArguments {', '.join(self)}>"


class _Seconds(NamedTuple):
    statement: float | None = None
    lock: float | None = None
    idle: float | None = None


class Limits(_Seconds):
    """How long things may take, in seconds; ``None`` leaves the server's own setting, 0 is no limit.

    Raises:
        InvalidValue: When one is no number, negative, or not finite.
    """

    __slots__ = ()

    def __new__(cls, statement: float | None = None, lock: float | None = None, idle: float | None = None) -> Self:
        """Make the limits of those that are given."""
        made = super().__new__(cls, statement, lock, idle)
        for name, seconds in made._asdict().items():
            if seconds is not None and not (isinstance(seconds, int | float) and 0 <= seconds < inf):
                raise InvalidValue(
                    f"{seconds!r} is no {name} limit in seconds.", hint="0 for no limit, None for the server's own."
                )
        return made

    def changed_by(self, other: Limits | None) -> Limits:
        """Return these limits, and those of *other* where it has some."""
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
    """Whether it is the key of the table that was written, which MariaDB calls PRIMARY whatever its name was."""

    mistyped: bool = False
    """Whether a value may have another type than the column it is written to, or the statement itself be wrong."""

    spoils: bool = False
    """Whether the connection can be of no use any more, though it did not break."""


class Backend(ABC):
    """One database: how to connect to it, begin on it, limit it, and read its errors."""

    name: str
    """The dialect's name in SQLAlchemy."""

    drivers: Mapping[str, str]
    """Supported drivers, the preferred one first, each with the extra that installs it (empty: always there)."""

    bound_to_loop: frozenset[str] = frozenset()
    """The drivers whose connections work in the event loop that has opened them, and in no other."""

    unavailable: str | None = None
    """What to look for when no connection can be made, where there is no server."""

    def in_memory(self, url: URL) -> bool:
        """Tell whether the connection is the database."""
        return False

    @abstractmethod
    def engine_options(self, url: URL, limits: Limits) -> dict[str, Any]:
        """Return what `create_async_engine` must be given; in ``connect_args`` the caller's own win."""

    @abstractmethod
    def reader_options(self, url: URL, limits: Limits) -> dict[str, Any] | None:
        """Return the options of a pool whose connections only read, or ``None`` where there can be one pool only."""

    def beside(self, ours: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the caller's connect arguments, with what we say where one text of the driver says both."""
        return dict(given)

    def arguments(self, given: dict[str, Any]) -> dict[str, Any]:
        """Return what the driver is called with, where it takes a value in another form than a URL has."""
        return given

    @abstractmethod
    def install(self, engine: Engine, limits: Limits) -> None:
        """Listen to the engine's events; *limits* are in force where a transaction has none of its own."""

    def watch(self, engine: Engine) -> None:
        """Note on an engine that is not a Database's what `aborts` is to know, where the driver does not tell."""
        return

    @abstractmethod
    def traces(self, url: URL) -> LeavesTraces | None:
        """Return what tells whether a statement changes the session beyond its transaction.

        ``None`` where there is nothing to tell: the statement is refused, or the connection is the database.
        """

    @abstractmethod
    def begin_options(self, *, read_only: bool = False, isolation: str | None = None) -> dict[str, Any]:
        """Return the execution options with which a transaction begins; *isolation* is of `ISOLATION_LEVELS`."""

    def begin(self, session: orm.Session, options: Mapping[str, Any]) -> None:
        """Begin the transaction of *session* with *options*, which are those of `begin_options` and its `LIMITS`."""
        session.connection(execution_options=options)

    @abstractmethod
    def aborts(self, error: Any, connection: Connection) -> bool:
        """Tell whether *error* has ended the transaction, so that nothing of it can be committed."""

    def is_too_large(self, context: ExceptionContext) -> bool:
        """Tell whether the server closed the connection because the statement is larger than it takes."""
        return False

    def leaves_unsent(self, error: Any, connection: Connection) -> bool:
        """Tell whether *error* has left a statement half sent, where no end of a transaction will finish it."""
        return False

    def transaction_ticket(self, session: orm.Session) -> str | None:
        """Return a name for the transaction by which `was_committed` can ask for its fate; ``None`` if none can be."""
        return None

    def was_committed(self, connection: Connection, ticket: str) -> bool | None:
        """Tell whether the transaction was committed; ``None`` while nobody can say."""
        return None

    @abstractmethod
    def in_transaction(self, raw: Any) -> bool:
        """Tell whether the driver knows the connection to be in a transaction; it asks nobody."""

    def recovers(self, raw: Any) -> bool:
        """Undo what a COMMIT or ROLLBACK that failed left behind, and tell whether the connection is as good as new.

        ``False`` has it closed, which is the surest way to end a transaction on a server.
        """
        return False

    def watched_end(self, usual: Callable[..., Any]) -> Callable[..., Any]:
        """Return *usual*, a method of the dialect that sends COMMIT or ROLLBACK, with what is looked at before."""
        return usual

    savepoint_recovers: bool
    """Whether a rollback to a savepoint makes such a transaction usable again."""

    def met(self, error: Exception) -> Exception:
        """Return what the driver has met, where it raises something else for it."""
        return error

    @abstractmethod
    def diagnose(self, error: Any) -> Diagnosis | None:
        """Read a driver's error by its code; ``None`` where it means nothing special."""

    @abstractmethod
    def keeps_locks(self, connection: Connection) -> bool:
        """Tell whether the connection is in a transaction that keeps what it locks from others until it ends."""

    def begin_for_savepoint(self, connection: Connection) -> bool:
        """Begin the transaction that a savepoint is to stand in, and tell whether the driver had not done so yet."""
        return False

    def commits_by_itself(self, connection: Connection) -> bool:
        """Tell whether the connection commits each statement, so that no savepoint takes any back."""
        return connection.dialect.detect_autocommit_setting(connection.connection.dbapi_connection)  # type: ignore[arg-type]

    @abstractmethod
    def commits(self, statement: str) -> bool:
        """Tell whether a statement ends the transaction and keeps it: COMMIT as text, or what implies it."""

    @abstractmethod
    def lock(self, connection: Connection, name: str, *, nowait: bool) -> bool:
        """Take the lock *name* until the transaction ends, and tell whether it was granted."""


def driver_of(connection: Connection) -> Any:
    """Return the driver's own connection; SQLAlchemy has none for one that was detached from its pool."""
    return unadapted(connection.connection.dbapi_connection)


def unadapted(raw: Any) -> Any:
    """Return the driver's own connection behind SQLAlchemy's; a synchronous driver has no other."""
    return getattr(raw, "driver_connection", raw)


def info_of(connection: Connection | PoolProxiedConnection) -> dict[Any, Any]:
    """Return what is kept with a connection of the driver; SQLAlchemy's own first look at a server has less of it."""
    pooled = connection.connection if isinstance(connection, Connection) else connection
    try:
        return pooled.info
    except NotImplementedError:
        # It is not given out by the pool yet. What belongs to the pool's place is there.
        return pooled.record_info or {}


def parse_url(url: str | URL) -> URL:
    """Read a database URL and name an async driver in it.

    Raises:
        InvalidURL: When it is no URL, names a database, driver or port that sqlkeel cannot use, or shows its password.
        DriverMissing: When the driver is not installed.
    """
    if (read := _read(url)) is None:
        # The URL is not repeated, nor what could not be read in it, which a report of the context would show: it may
        # hold a password.
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
            f"The driver {driver!r} is not one that sqlkeel uses with {backend.name}.",
            hint=f"Write {backend.name}+{preferred}://…",
        )
    if backend.name == "sqlite" and (parsed.host or parsed.username or parsed.password is not None):
        raise InvalidURL(
            f"A database of SQLite is a file, and the URL names a {'host' if parsed.host else 'user or a password'}.",
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
    """See that SQLAlchemy can read the options in the query; it would fail with a ValueError that names none."""
    if not _has_readable_options(url):
        raise InvalidURL(
            f"The value of an option in the database URL cannot be read; it has {', '.join(sorted(url.query))}.",
            hint="Write a number as one, ?timeout=30, and what is an object as connect_args={...}.",
        )


def _has_readable_options(url: URL) -> bool:
    try:
        with warnings.catch_warnings(action="ignore"):  # it is asked again, and warns then
            url.get_dialect()().create_connect_args(url)
    except (ArgumentError, ValueError):
        return False
    return True


def _refuse_cut_password(url: URL, written: str | URL) -> None:
    """Refuse a URL whose password is not percent-encoded and so goes on in the host, the database or the query."""
    query = written.partition("?")[2] if isinstance(written, str) else ""
    elsewhere = (
        "@" in (url.host or ""),
        url.get_backend_name() != "sqlite" and _is_cut(url.database or "", written),
        any("@" in piece.partition("=")[0] for piece in query.split("&")),
        isinstance(written, str) and re.match(_QUERY_BEFORE, written),
    )
    if any(elsewhere):
        # Nothing of the URL is repeated.
        raise InvalidURL(
            "The database URL has an @ after the one that ends the password, or in its host.",
            hint="Percent-encode the password: urllib.parse.quote(password, safe=''), which writes @ as %40.",
        )


def _is_cut(name: str, written: str | URL) -> bool:
    """Tell whether the name of a database begins in the password: an @ of its own is percent-encoded in a URL."""
    as_written = isinstance(written, str) and "@" in name and name in written
    return as_written or re.search(_CUT, name) is not None


def _with_hidden_password(url: URL) -> URL:
    """Return *url* with its password where SQLAlchemy hides it, whenever the URL is shown."""
    beside = re.findall(_AS_DATABASE, url.database or "")
    if misplaced := [name for name in beside if name.lower() == "password" or re.search(_HIDDEN, name)]:
        raise InvalidURL(
            f"The name of the database in the URL holds {misplaced[0]}=.",
            hint="The password stands before the @: postgresql+asyncpg://user:password@host/name.",
        )
    if shown := [key for key, value in url.query.items() if _is_secret(key, value)]:
        name = "password" if re.fullmatch(_NO_ARGUMENTS, shown[0]) else shown[0]
        as_argument = f"Database(url, connect_args={{{name!r}: ...}})"
        raise InvalidURL(
            f"The database URL holds {shown[0]} in its query, which is shown with the URL.",
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
    """Return the database file of a parsed URL.

    Raises:
        InvalidURL: When no file is for this database.
    """
    return _lookup(url.get_backend_name())


def backend_of(dialect: str) -> Backend | None:
    """Return the file of a dialect, by its name in SQLAlchemy; ``None`` where there is none."""
    kind: type[Backend] | None = class_for("engines", dialect)
    return None if kind is None else kind()


def unique_violation(error: IntegrityError, url: URL) -> UniqueViolation | Diagnosis | None:
    """Return what tells the unique constraint that was broken, if it was one; on an engine that is not ours, too."""
    if isinstance(error, DatabaseFault):
        return error if isinstance(error, UniqueViolation) else None
    found = backend_for(url).diagnose(error.orig)
    return found if found is not None and issubclass(found.kind, UniqueViolation) else None


def begin_for_savepoint(connection: Connection) -> None:
    """Do `Backend.begin_for_savepoint` on a connection of any engine; nothing on a database that is not known."""
    backend = backend_of(connection.dialect.name)
    if backend is not None:
        backend.begin_for_savepoint(connection)


def _lookup(name: str) -> Backend:
    backend = backend_of(name)
    if backend is None:
        hint = "postgres:// is written postgresql://." if name == "postgres" else None
        raise InvalidURL(f"sqlkeel does not support {name!r}; it supports {', '.join(KNOWN)}.", hint=hint)
    return backend
