"""Objects that were changed inside a savepoint by more than a flush: given back as they were when it is rolled back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeAlias
from weakref import ref

from sqlalchemy import event, orm
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.orm import SessionTransaction

from .sync_session import SyncSession

__all__ = ["expunge", "note_made", "note_read"]

_NOTES: Final = "sqlkeel.rewinding"
"""Where a session's ``info`` keeps what is to be done with which objects, by savepoint or transaction."""

_Way: TypeAlias = Callable[[orm.Session, Any], None]
_Note: TypeAlias = tuple["ref[Any]", _Way]


def note_read(session: orm.Session, objects: Iterable[object]) -> None:
    """Note objects that show rows as a statement has written them; SQLAlchemy looks after those that it has flushed.

    Without it they keep the values when the savepoint is rolled back, and who assigns one of these writes nothing.
    """
    _note(session, objects, _forget)


def note_made(session: orm.Session, objects: Iterable[object]) -> None:
    """Note objects whose rows a statement inserted; without it the session holds them when the rows are gone."""
    _note(session, objects, _make_new)


def expunge(session: orm.Session, objects: Iterable[object]) -> None:
    """Take objects out of the session whose rows are gone, and back into it when the rows are there again."""
    gone: list[object] = []

    def note(_: orm.Session, obj: object) -> None:
        gone.append(obj)  # what hangs on it leaves the session with it

    event.listen(session, "persistent_to_detached", note)
    try:
        for obj in objects:
            if obj in session:
                session.expunge(obj)
    finally:
        event.remove(session, "persistent_to_detached", note)
    _note(session, gone, _take_in)


def _note(session: orm.Session, objects: Iterable[object], way: _Way) -> None:
    _keep(session, [(ref(obj), way) for obj in objects])


def _keep(session: orm.Session, notes: list[_Note]) -> None:
    """Keep notes until the innermost savepoint ends, or the transaction."""
    transaction = session.get_nested_transaction()
    if transaction is None:
        # A rollback of the whole transaction expires all that the session holds, and brings nothing back.
        transaction, notes = session.get_transaction(), [(found, way) for found, way in notes if way is _take_in]
    if transaction is None or not notes:
        return
    if _NOTES not in session.info:
        session.info[_NOTES] = {}
        event.listen(session, "after_rollback", _rewind)
        event.listen(session, "after_transaction_end", _pass_on)
    session.info[_NOTES].setdefault(transaction, []).extend(notes)


def _rewind(session: orm.Session) -> None:
    # Fires before SQLAlchemy restores what it has flushed: what was inserted inside is in the session still.
    transaction = session.get_nested_transaction() or session.get_transaction()
    notes: list[_Note] = session.info[_NOTES].pop(transaction, [])
    # The last change first: what was inserted and then deleted leaves the session in the end.
    for found, way in reversed(notes):
        if (obj := found()) is not None:
            way(session, obj)


def _pass_on(session: orm.Session, ended: SessionTransaction) -> None:
    if (left := session.info[_NOTES].pop(ended, None)) is not None and ended.nested:
        _keep(session, left)


def _forget(session: orm.Session, obj: Any) -> None:
    if obj in session:
        session.expire(obj)


def _make_new(session: orm.Session, obj: Any) -> None:
    if obj in session:
        orm.make_transient(obj)  # as SQLAlchemy leaves what was added inside


def _take_in(session: orm.Session, obj: Any) -> None:
    state = sa_inspect(obj)
    if not state.detached or state.key in session.identity_map:
        return
    if isinstance(session, SyncSession):
        session.keep_values(state)
    for relation in state.mapper.relationships:
        vars(obj).pop(relation.key, None)  # the session would take in whatever it leads to
    session.add(obj)
    session.expire(obj)
