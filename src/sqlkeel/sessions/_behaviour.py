"""What mixins, and modules of ours, do in every session where SQLAlchemy has no event for it: one protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, TypeAlias, TypeVar

from sqlalchemy.orm import InstanceState, LoaderCallableStatus, ORMExecuteState, PassiveFlag, SessionTransaction
from sqlalchemy.util import immutabledict

from ..errors import ConfigurationError

__all__ = ["REGISTERED", "Behaviour", "register", "unregister"]

_W = TypeVar("_W", bound=Callable[..., Any])
_OfClass: TypeAlias = "tuple[tuple[type, _W], ...]"


class Behaviour:
    """What a mixin, or a module, does in every `SyncSession`; each method does nothing until it is overridden.

    `register` makes it known, for the objects of a class or for all. The first three methods are asked about an object,
    and only of a class that the behaviour is registered for; the class that comes first in the method resolution order
    is asked first. The other three are called in every session. An error that a method raises reaches whoever called
    the session. Use an event of SQLAlchemy where there is one: it can be listened to for one session, too.
    """

    # `session` is a SyncSession, whose module imports this one.

    def delete(self, session: Any, obj: Any) -> bool:
        """Delete *obj* in a way of its own and return true; after false the next behaviour is asked, then SQLAlchemy.

        Called by ``session.delete()``, ``delete_all()`` and what is built on them; not for objects that a cascade of
        SQLAlchemy deletes.
        """
        return False

    def hides(
        self,
        session: Any,
        obj: Any,
        *,
        passive: PassiveFlag = PassiveFlag.PASSIVE_OFF,
        lazy_loaded_from: InstanceState[Any] | None = None,
        execution_options: Mapping[str, Any] = immutabledict(),
        **_: Any,
    ) -> bool:
        """Tell whether the loaded object *obj* does not count, so that the answer is ``None``.

        Called by ``get()`` and by the lazy load of a many-to-one relation, each time they find an object in the
        session: they send no statement then, which a listener could change.

        Args:
            session: The session.
            obj: What it holds under the key.
            passive: What SQLAlchemy may do to answer: without ``SQL_OK`` it may not send a statement.
            lazy_loaded_from: The object whose relation is being loaded; ``None`` for ``get()``.
            execution_options: Those given to ``get()``; the session has its own.
        """
        return False

    def conflict(self, session: Any, obj: Any) -> Exception | None:
        """Return a clearer error for the ``StaleDataError`` that ``merge()`` or ``get()`` got for *obj*."""
        return None

    def around_flush(self, session: Any) -> AbstractContextManager[None]:
        """Surround each flush that has something to write, its listeners included; it may turn the error into another.

        Where it raises after the flush has written, the transaction cannot be committed any more.
        """
        return nullcontext()

    def at_savepoint(self, session: Any, savepoint: SessionTransaction) -> None:
        """Do something when a savepoint is made; a listener of SQLAlchemy is called for each transaction."""

    def at_load_inside(self, state: ORMExecuteState) -> None:
        """Do something when a relation is loaded in a savepoint; a listener is called for each statement."""


class _Registered:
    """The behaviours that are registered, method by method: a session asks only those that override it."""

    deleting: tuple[type, ...]
    hiding: tuple[type, ...]
    """The classes that `delete` and `hides` are asked about: most objects are of none, and pay for nothing else."""

    # Tuples, each replaced as a whole: another thread may be going through the former one.
    _delete: _OfClass[Callable[[Any, Any], bool]]
    _hides: _OfClass[Callable[..., bool]]
    _conflict: _OfClass[Callable[[Any, Any], Exception | None]]
    around_flush: tuple[Callable[[Any], AbstractContextManager[None]], ...]
    at_savepoint: tuple[Callable[[Any, SessionTransaction], None], ...]
    at_load_inside: tuple[Callable[[ORMExecuteState], None], ...]

    def __init__(self) -> None:
        self._behaviours: dict[Behaviour, type] = {}
        self._sort()

    def add(self, behaviour: Behaviour, of: type) -> None:
        self._behaviours[behaviour] = of
        self._sort()

    def remove(self, behaviour: Behaviour) -> None:
        del self._behaviours[behaviour]
        self._sort()

    def __contains__(self, behaviour: object) -> bool:
        return behaviour in self._behaviours

    def _sort(self) -> None:
        self._delete = tuple(self._overriding("delete"))
        self._hides = tuple(self._overriding("hides"))
        self.deleting, self.hiding = (tuple(of for of, _ in ways) for ways in (self._delete, self._hides))
        self._conflict = tuple(self._overriding("conflict"))
        self.around_flush = tuple(way for _, way in self._overriding("around_flush"))
        self.at_savepoint = tuple(way for _, way in self._overriding("at_savepoint"))
        self.at_load_inside = tuple(way for _, way in self._overriding("at_load_inside"))

    def _overriding(self, method: str) -> Iterator[tuple[type, Any]]:
        for behaviour, of in self._behaviours.items():
            if getattr(type(behaviour), method) is not getattr(Behaviour, method):
                yield of, getattr(behaviour, method)

    def delete(self, session: Any, state: InstanceState[Any]) -> bool:
        """Let the first behaviour delete the object that wants to, and tell whether there was one."""
        # The object of the state: the caller's may be a proxy, which is of no class of ours.
        return any(way(session, state.obj()) for way in _nearest_first(self._delete, state.class_))

    def hides(self, session: Any, found: Any, options: Mapping[str, Any]) -> bool:
        """Tell whether a behaviour hides what was *found* in the session, of one of the classes in `hiding`."""
        if found is None or isinstance(found, LoaderCallableStatus):  # of the class `object` as well
            return False
        for kind, way in self._hides:  # noqa: SIM110 - any() costs as much as the rest
            if isinstance(found, kind) and way(session, found, **options):
                return True
        return False

    def conflict(self, session: Any, state: InstanceState[Any]) -> Exception | None:
        """Return the first conflict that a behaviour finds for the object."""
        found = (way(session, state.obj()) for way in _nearest_first(self._conflict, state.class_))
        return next((conflict for conflict in found if conflict is not None), None)


def _nearest_first(ways: Iterable[tuple[type, _W]], kind: type) -> list[_W]:
    """Return those of the classes that *kind* inherits from, in the order in which it would inherit a method."""
    # Not cached by class: a cache that lets go of its classes costs more than this.
    found = [(kind.__mro__.index(of), way) for of, way in ways if of in kind.__mro__]
    return [way for _, way in sorted(found, key=lambda one: one[0])] if len(found) > 1 else [way for _, way in found]


REGISTERED: Final = _Registered()
"""What every `SyncSession` asks."""


def register(behaviour: Behaviour, *, of: type = object) -> None:
    """Make *behaviour* known to every `SyncSession`, for the objects of a class and those that inherit from it.

    Raises:
        ConfigurationError: When it is registered already, or is no `Behaviour`.
    """
    if not isinstance(behaviour, Behaviour):
        raise ConfigurationError(f"{behaviour!r} is not a Behaviour.", hint="register(MyBehaviour(), of=MyMixin)")
    if behaviour in REGISTERED:
        raise ConfigurationError(f"{behaviour!r} is registered already.", hint="Register each behaviour once.")
    REGISTERED.add(behaviour, of)


def unregister(behaviour: Behaviour) -> None:
    """Have no session ask *behaviour* any more.

    Raises:
        ConfigurationError: When it is not registered.
    """
    if behaviour not in REGISTERED:
        raise ConfigurationError(f"{behaviour!r} is not registered.", hint="Give the object that register() was given.")
    REGISTERED.remove(behaviour)
