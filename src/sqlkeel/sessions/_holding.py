"""Check that a session holds an object, because a flush writes only objects that the session holds."""

from __future__ import annotations

from typing import Any, TypeAlias, overload

from sqlalchemy import inspect as sa_inspect
from sqlalchemy import orm
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker
from sqlalchemy.orm import InstanceState, Mapper, scoped_session

from ..errors import NotFound, UsageError
from ..models._key_columns import plain_key
from ..models._relations import is_soft

__all__ = [
    "AnyAsyncSession",
    "AnySyncSession",
    "refuse_foreign",
    "refuse_other_than_session",
    "refuse_unheld",
    "session_in",
]

AnyAsyncSession: TypeAlias = AsyncSession | async_scoped_session[Any]
"""A session, or a registry that returns the current task's session."""

AnySyncSession: TypeAlias = orm.Session | scoped_session[Any]
"""The same for synchronous code and threads."""


@overload
def session_in(session: AnyAsyncSession) -> AsyncSession: ...
@overload
def session_in(session: AnySyncSession) -> orm.Session: ...
def session_in(session: Any) -> Any:
    """Return the session that a registry returns for the current task or thread; any other session unchanged.

    ``scoped_session`` and ``async_scoped_session`` forward only the methods of SQLAlchemy's session, not ours.
    """
    return session() if isinstance(session, async_scoped_session | scoped_session) else session


def refuse_other_than_session(session: object, model: object) -> None:
    """Refuse a model, a database or a factory instead of the session, and an object instead of the model.

    Test doubles are accepted: they have the methods of a session.

    Raises:
        UsageError: Names the expected arguments and their order.
    """
    is_session = isinstance(session, AsyncSession) or (hasattr(session, "get_bind") and _is_asynchronous(session))
    if is_session and (model is None or _is_mapped(model)):
        return
    name = next((_name_of(one) for one in (model, session) if _is_mapped(_class_of(one))), "Model")
    if isinstance(session, type) and _is_mapped(session):
        raise UsageError(
            f"A repository takes a session and a model, not {session.__name__} and {type(model).__name__}.",
            hint=f"Repository(session, {name})",
        )
    if is_session:
        raise UsageError(
            f"The model of a repository has to be a mapped class, not {_described(model)}.",
            hint=f"Repository(session, {name})",
        )
    what = f"A repository takes an asynchronous session, not {_described(session)}."
    raise UsageError(what, hint=_opening(session, name))


def _described(given: object) -> str:
    if given is None:
        return "None"
    return f"the class {given.__name__}" if isinstance(given, type) else f"an object of {type(given).__name__}"


def _is_asynchronous(session: Any) -> bool:
    return not isinstance(session, orm.Session | type)


def _class_of(one: object) -> object:
    return one if isinstance(one, type) else type(one)


def _is_mapped(model: object) -> bool:
    if not isinstance(model, type):
        return False
    return hasattr(model, "__mapper__") or isinstance(sa_inspect(model, raiseerr=False), Mapper)  # cheaper test first


def _name_of(one: object) -> str:
    return one.__name__ if isinstance(one, type) else type(one).__name__


def _opening(given: object, model: str) -> str:
    opened = "factory()" if isinstance(given, async_sessionmaker) else "db.transaction()"
    return f"async with {opened} as session: Repository(session, {model})"


def refuse_unheld(session: orm.Session, obj: object, *, model: type[Any], call: str) -> None:
    """Refuse an object whose changes *session* would not write.

    The object is not attached instead. That would also write other changes to it, and to objects that it has loaded,
    by code that did not mean to write, and it fails if the session already holds the same row.

    Raises:
        UsageError: When the object is not a row of *model*, was never added, is detached, belongs to another session,
            or is deleted. The hint shows how to get an object that this session holds.
    """
    state = _state_of(obj, model)
    if obj in session and obj not in session.deleted:
        return
    name = _name(state)
    if state.key is None:
        hint = "await repository.create(**values), or session.add(obj) first."
        raise UsageError(f"{call} would write nothing: {name} was never added to this session.", hint=hint)
    if obj in session or state.deleted or state.was_deleted or _is_marked(state):
        raise UsageError(f"{call} would write nothing: {name} is deleted.", hint=_after_deletion(state))
    raise UsageError(f"{call} would write nothing: {name} {_whereabouts(state)}.", hint=_reload(state))


def refuse_foreign(session: orm.Session, obj: object, *, model: type[Any], call: str) -> None:
    """Refuse an object that *session* neither holds nor can attach; a detached object is accepted.

    Raises:
        UsageError: When the object is not a row of *model*, was never written, belongs to another session, or *session*
            holds another object for its row.
        NotFound: When the session has already removed its row.
    """
    state = _state_of(obj, model)
    name = _name(state)
    if state.key is None:
        hint = "session.expunge(obj) takes it out of the session."
        raise UsageError(f"{call} has nothing to work on: {name} was never written.", hint=hint)
    if obj in session:
        return
    if state.deleted or state.was_deleted:
        raise NotFound(type(obj).__name__, _key(state))
    if state.session is not None:
        raise UsageError(f"{call} cannot take {name}, which {_whereabouts(state)}.", hint=_reload(state))
    if state.key in session.identity_map:
        hint = "Pass the object that this session holds: await repository.get_one(key, include_deleted=True)."
        raise UsageError(f"{call} cannot take {name}: this session holds another object of the row.", hint=hint)


def _state_of(obj: object, model: type[Any]) -> InstanceState[Any]:
    state: Any = sa_inspect(obj, raiseerr=False)
    if not isinstance(state, InstanceState):
        raise UsageError(
            f"An object of {type(obj).__name__} is not a row of {model.__name__}.",
            hint="obj = await repository.get_one(key), and pass that.",
        )
    if not isinstance(obj, model):
        kind = type(obj).__name__
        raise UsageError(f"{_name(state)} is not a {model.__name__}.", hint=f"Repository(session, {kind})")
    return state


def _whereabouts(state: InstanceState[Any]) -> str:
    return "is held by another session" if state.session is not None else "is detached from its session"


def _reload(state: InstanceState[Any]) -> str:
    return f"obj = await repository.get_one({_key(state)!r}), and change that."


def _after_deletion(state: InstanceState[Any]) -> str:
    return "await repository.restore(obj) first." if _is_marked(state) else "await repository.create(**values)"


def _is_marked(state: InstanceState[Any]) -> bool:
    return is_soft(state.mapper) and state.dict.get("deleted_at") is not None


def _name(state: InstanceState[Any]) -> str:
    kind = state.class_.__name__
    return f"the {kind}" if state.key is None else f"the {kind} {_key(state)!r}"


def _key(state: InstanceState[Any]) -> Any:
    return plain_key(state.key[1] if state.key is not None else ())
