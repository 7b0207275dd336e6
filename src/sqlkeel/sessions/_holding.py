"""Whether a session holds an object: a flush writes what it holds, and nothing else."""

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
"""A session, or a registry that stands for one in each task."""

AnySyncSession: TypeAlias = orm.Session | scoped_session[Any]
"""The same for synchronous code, and threads."""


@overload
def session_in(session: AnyAsyncSession) -> AsyncSession: ...
@overload
def session_in(session: AnySyncSession) -> orm.Session: ...
def session_in(session: Any) -> Any:
    """Return the session that a registry stands for in the running task or thread; any other session as it is.

    ``scoped_session`` and ``async_scoped_session`` hand on what SQLAlchemy's session has, and nothing of ours.
    """
    return session() if isinstance(session, async_scoped_session | scoped_session) else session


def refuse_other_than_session(session: object, model: object) -> None:
    """Refuse a model, a database or a factory in the place of the session, and an object in that of the model.

    Whatever a test puts in the place of a session has its methods.

    Raises:
        UsageError: Says what is to be given, and in which order.
    """
    is_session = isinstance(session, AsyncSession) or (hasattr(session, "get_bind") and _is_asynchronous(session))
    if is_session and (model is None or _is_mapped(model)):
        return
    name = next((_name_of(one) for one in (model, session) if _is_mapped(_class_of(one))), "Model")
    if isinstance(session, type) and _is_mapped(session):
        raise UsageError(
            f"A repository is made of a session and a model, not of {session.__name__} and {type(model).__name__}.",
            hint=f"Repository(session, {name})",
        )
    if is_session:
        raise UsageError(
            f"The model of a repository is a mapped class, not {_described(model)}.",
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
    return hasattr(model, "__mapper__") or isinstance(sa_inspect(model, raiseerr=False), Mapper)  # the quick one first


def _name_of(one: object) -> str:
    return one.__name__ if isinstance(one, type) else type(one).__name__


def _opening(given: object, model: str) -> str:
    opened = "factory()" if isinstance(given, async_sessionmaker) else "db.transaction()"
    return f"async with {opened} as session: Repository(session, {model})"


def refuse_unheld(session: orm.Session, obj: object, *, model: type[Any], call: str) -> None:
    """Refuse an object whose changes *session* would not write.

    It is not attached instead: that takes along whatever else was changed on it, and on what it has loaded, by code
    that did not mean to write, and it fails where the session holds the same row already.

    Raises:
        UsageError: When the object is no row of *model*, was never added, has left its session, is held by another
            one, or is deleted. The hint says how to come by one that this session holds.
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
    """Refuse an object that *session* can neither hold nor take in; one that is in no session may come in.

    Raises:
        UsageError: When the object is no row of *model*, was never written, is held by another session, or *session*
            holds another object of its row.
        NotFound: When the session has removed its row already.
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
        hint = "Give the object that this session holds: await repository.get_one(key, include_deleted=True)."
        raise UsageError(f"{call} cannot take {name}: this session holds another object of the row.", hint=hint)


def _state_of(obj: object, model: type[Any]) -> InstanceState[Any]:
    state: Any = sa_inspect(obj, raiseerr=False)
    if not isinstance(state, InstanceState):
        raise UsageError(
            f"An object of {type(obj).__name__} is no row of {model.__name__}.",
            hint="obj = await repository.get_one(key), and then that.",
        )
    if not isinstance(obj, model):
        kind = type(obj).__name__
        raise UsageError(f"{_name(state)} is no {model.__name__}.", hint=f"Repository(session, {kind})")
    return state


def _whereabouts(state: InstanceState[Any]) -> str:
    return "is held by another session" if state.session is not None else "is in no session: it has left the one it had"


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
