"""Whether a session holds an object: a flush writes what it holds, and nothing else."""

from __future__ import annotations

from typing import Any

from sqlalchemy import inspect as sa_inspect
from sqlalchemy import orm
from sqlalchemy.orm import InstanceState

from .errors import NotFound, UsageError

__all__ = ["refuse_foreign", "refuse_other_than_session", "refuse_unheld"]


def refuse_other_than_session(session: object, model: object) -> None:
    """Refuse a model in the place of the session, as of ``Repository(User, session)``.

    Raises:
        UsageError: Says in which order they are given.
    """
    if isinstance(session, type) or (model is not None and not isinstance(model, type)):
        given = [one.__name__ if isinstance(one, type) else type(one).__name__ for one in (session, model)]
        name = session.__name__ if isinstance(session, type) else "Model"
        raise UsageError(
            f"A repository is made of a session and a model, not of {given[0]} and {given[1]}.",
            hint=f"Repository(session, {name})",
        )


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
            f"A {type(obj).__name__} is no row of {model.__name__}.", hint=f"An object of {model.__name__}."
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
    soft = getattr(state.class_, "__soft_delete__", False)
    return bool(soft) and state.dict.get("deleted_at") is not None


def _name(state: InstanceState[Any]) -> str:
    kind = state.class_.__name__
    return f"the {kind}" if state.key is None else f"the {kind} {_key(state)!r}"


def _key(state: InstanceState[Any]) -> Any:
    identity = state.key[1] if state.key is not None else ()
    return identity[0] if len(identity) == 1 else identity
