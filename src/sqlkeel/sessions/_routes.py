"""Routing in a session with several databases: where a flush, and we ourselves, write the rows of a class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Dialect, Row, Select, TableClause, insert, inspect, orm, select, update
from sqlalchemy.orm import InstanceState, Mapper, SessionTransactionOrigin

from .. import _sqlalchemy as private
from ..errors import NotSupported, ReadOnlySession

__all__ = [
    "READ_ONLY",
    "as_flushing",
    "dialect_of",
    "in_order",
    "is_for_reading",
    "is_writing",
    "refuse_detour",
    "refuse_reading",
    "shard_of",
    "unwritten",
    "windowed",
    "writing_bind",
    "writing_connection",
]

M = TypeVar("M")
READ_ONLY: Final = "sqlkeel_read_only"
"""A key of ``Session.info``, which SQLAlchemy's own session has too."""


def is_for_reading(session: Any) -> bool:
    """Return whether the session was opened for reading."""
    return bool(session.info.get(READ_ONLY))


def refuse_reading(session: Any, to: str) -> None:
    """Refuse a call that would write in a session for reading.

    Args:
        session: A session of any kind.
        to: What the call does: "write rows".

    Raises:
        ReadOnlySession: When the session was opened for reading.
    """
    if is_for_reading(session):
        raise ReadOnlySession(f"The session was opened for reading; it cannot {to}.")


def unwritten(session: orm.Session) -> Iterator[tuple[int, str]]:
    """Name what a flush would write, without its values, and which object each is about."""
    for word, objects in (("new", session.new), ("deleted", session.deleted)):
        yield from ((id(one), f"a {word} {type(one).__name__}") for one in objects)
    for one in filter(session.is_modified, session.dirty):
        changed = [attribute.key for attribute in inspect(one).attrs if attribute.history.has_changes()]
        yield id(one), f"a changed {type(one).__name__} ({', '.join(changed)})"


def dialect_of(session: orm.Session, mapper: Mapper[Any]) -> Dialect:
    """Return the dialect of the database with rows of *mapper*; with shards, which all have the same, the first's."""
    if session.connection_callable is not None:
        return next(iter(private.shards_of(session).values())).dialect  # type: ignore[no-any-return]
    return session.get_bind(mapper=mapper).dialect


def writing_bind(session: orm.Session, mapper: Mapper[Any], state: InstanceState[Any] | None = None) -> Any:
    """Return the engine or connection to which a flush sends rows of *mapper*, or the one row of *state*."""
    base = mapper.base_mapper
    if type(session).get_bind is orm.Session.get_bind:
        return session.get_bind(mapper=base)
    with as_flushing(session):
        return session.get_bind(mapper=base, clause=_write(base), **shard_of(session, state))


def writing_connection(
    session: orm.Session, mapper: Mapper[Any], state: InstanceState[Any] | None = None
) -> Connection:
    """Return the session's connection to the database that a flush writes to.

    Writes of ours outside the flush, and the reads for them, use this connection. The session's ``execute`` would call
    ``get_bind()`` for each statement, and might get different answers.
    """
    return session.connection(bind_arguments={"bind": writing_bind(session, mapper, state)})


def refuse_detour(session: orm.Session, mapper: Mapper[Any], call: str) -> None:
    """Refuse a call that reads what it writes if the session reads from another database.

    Raises:
        NotSupported: When `get_bind` sends reads, or an INSERT, to another database than a flush, or when the rows are
            spread over shards, of which we cannot know the right one.
    """
    if type(session).get_bind is orm.Session.get_bind:
        return
    name = mapper.class_.__name__
    if session.connection_callable is not None:
        raise NotSupported(
            f"{call} cannot tell to which shard each {name} belongs.",
            hint="Use a session of the shard's own engine: AsyncSession(engine, sync_session_class=SyncSession).",
        )
    target = writing_bind(session, mapper)
    if any(session.get_bind(mapper=mapper, clause=one(mapper.class_)) is not target for one in (select, insert)):
        raise NotSupported(
            f"{call} reads and writes, but get_bind() sends one of the two for {name} to another database.",
            hint="Use a session of the database that is written: async with db.transaction() as session.",
        )


def windowed(session: orm.Session, statement: Select[Any], *, skip: int, limit: int | None) -> Select[Any]:
    """Return *statement* with *skip* and *limit*; shards would each skip by themselves, so they return all rows."""
    if session.connection_callable is not None:
        return statement if limit is None else statement.limit(skip + limit)
    if skip:
        statement = statement.offset(skip)
    # MariaDB and SQLite support OFFSET only with a LIMIT; SQLAlchemy writes the largest one if there is none.
    return statement.limit(limit) if limit is not None or skip else statement


def in_order(session: orm.Session, rows: Sequence[M], *, skip: int = 0) -> list[M]:
    """Return rows in order; if each shard returned its skipped rows too, drop the first *skip*.

    Raises:
        NotSupported: When they come from several shards, each with its own order, LIMIT and end.
    """
    if session.connection_callable is None:
        return list(rows)
    states = [inspect(row[0] if isinstance(row, Row) else row, raiseerr=True) for row in rows]
    if len({state.identity_token for state in states}) > 1:
        name = states[0].mapper.class_.__name__
        raise NotSupported(
            f"The rows of {name} come from several shards, and only the rows of each shard are in order.",
            hint="Name one shard in execute_chooser, or get_all() without order_by, skip and limit, and sort them.",
        )
    return list(rows[skip:])


def shard_of(session: orm.Session, state: InstanceState[Any] | None) -> dict[str, Any]:
    """Return the arguments of a ``ShardedSession``'s `get_bind` for a row that already exists."""
    if session.connection_callable is None or state is None or state.identity_token is None:
        return {}
    return {"shard_id": state.identity_token}


@contextmanager
def as_flushing(session: orm.Session) -> Iterator[None]:
    """Make a routing `get_bind` answer as during a flush; SQLAlchemy's recipe tests a private attribute."""
    before = private.is_flushing(session)
    private.set_flushing(session, True)
    try:
        yield
    finally:
        private.set_flushing(session, before)


def is_writing(session: orm.Session) -> bool:
    """Return whether a flush is past ``before_flush``, so that SQLAlchemy may consider changes as written."""
    # The public methods return only the outermost transaction and the savepoint, but a flush has its own.
    part = private.part_of_transaction(session)
    return private.is_flushing(session) and part is not None and part.origin is SessionTransactionOrigin.SUBTRANSACTION


def _write(mapper: Mapper[Any]) -> Any:
    """Return a statement that writes the mapper's table; the table itself if that is not a plain table."""
    table: Any = mapper.local_table
    return update(table) if isinstance(table, TableClause) else table
