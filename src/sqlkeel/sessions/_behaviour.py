"""Behaviours: how a mixin or a module takes part in every session at points for which SQLAlchemy has no event."""

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
    """The calls that a mixin or a module gets from every `SyncSession`; a method that is not overridden does nothing.

    `register` adds a behaviour, for the objects of one class or for all objects. The session calls the first three
    methods with an object of that class. If several behaviours apply, the order is that of their classes in the method
    resolution order. The session calls the other three methods whatever the class is. An error that a method raises
    reaches the caller of the session. If SQLAlchemy has an event, listen to the event instead: a listener can also be
    limited to one session.
    """

    # `session` is a SyncSession, whose module imports this one.

    def delete(self, session: Any, obj: Any) -> bool:
        """Delete *obj* and return true, or return false: then the next behaviour, or SQLAlchemy, deletes the object.

        Called by ``session.delete()``, ``delete_all()`` and the methods that use them; not for objects that a cascade
        of SQLAlchemy deletes.
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
        """Return whether the loaded object *obj* is hidden, so that the caller gets ``None``.

        Called by ``get()`` and by the lazy load of a many-to-one relationship, each time they find an object in the
        session. They send no statement in this case, so a listener could not change the result.

        Args:
            session: The session.
            obj: The object that the session holds under the key.
            passive: SQLAlchemy's flags for the load; without ``SQL_OK`` the behaviour may not send a statement.
            lazy_loaded_from: The object whose relationship is being loaded; ``None`` for ``get()``.
            execution_options: The options of the call of ``get()``, without those of the session.
        """
        return False

    def conflict(self, session: Any, obj: Any) -> Exception | None:
        """Return a clearer error for the ``StaleDataError`` that ``merge()`` or ``get()`` got for *obj*."""
        return None

    def around_flush(self, session: Any) -> AbstractContextManager[None]:
        """Return a context manager around each flush that has something to write, and around the flush's listeners.

        The context manager may replace the error of the flush. If it raises after the flush has written, the
        transaction can no longer be committed.
        """
        return nullcontext()

    def at_savepoint(self, session: Any, savepoint: SessionTransaction) -> None:
        """Handle the creation of a savepoint; SQLAlchemy calls its own listeners for each transaction as well."""

    def at_load_inside(self, state: ORMExecuteState) -> None:
        """Handle the load of a relationship in a savepoint; SQLAlchemy calls its own listeners for each statement."""


class _Registered:
    """The registered behaviours, by method: a session calls only the behaviours that override the method."""

    deleting: tuple[type, ...]
    hiding: tuple[type, ...]
    """The classes with a behaviour for `delete` and `hides`: all other objects cost one `isinstance` only."""

    # Tuples that are replaced as a whole, because another thread may be iterating over the old tuple.
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
        """Call the behaviours of the object's class until one has deleted the object; return whether one did."""
        # We pass the object of the state, because the caller's object may be a proxy of another class.
        return any(way(session, state.obj()) for way in _nearest_first(self._delete, state.class_))

    def hides(self, session: Any, found: Any, options: Mapping[str, Any]) -> bool:
        """Return whether a behaviour hides the object *found* in the session, whose class is in `hiding`."""
        if found is None or isinstance(found, LoaderCallableStatus):  # both are also instances of `object`
            return False
        for kind, way in self._hides:  # noqa: SIM110 - any() costs as much as the rest
            if isinstance(found, kind) and way(session, found, **options):
                return True
        return False

    def conflict(self, session: Any, state: InstanceState[Any]) -> Exception | None:
        """Return the first error that a behaviour has for the object; ``None`` if no behaviour has one."""
        found = (way(session, state.obj()) for way in _nearest_first(self._conflict, state.class_))
        return next((conflict for conflict in found if conflict is not None), None)


def _nearest_first(ways: Iterable[tuple[type, _W]], kind: type) -> list[_W]:
    """Return the methods registered for a class in the inheritance of *kind*, in its method resolution order."""
    # Not cached by class: a cache that does not keep its classes alive costs more than this loop.
    found = [(kind.__mro__.index(of), way) for of, way in ways if of in kind.__mro__]
    return [way for _, way in sorted(found, key=lambda one: one[0])] if len(found) > 1 else [way for _, way in found]


REGISTERED: Final = _Registered()
"""The behaviours that every `SyncSession` calls."""


def register(behaviour: Behaviour, *, of: type = object) -> None:
    """Register *behaviour* with every `SyncSession`, for the objects of a class and its subclasses.

    Raises:
        ConfigurationError: When *behaviour* is registered already, or is not a `Behaviour`.
    """
    if not isinstance(behaviour, Behaviour):
        raise ConfigurationError(f"{behaviour!r} is not a Behaviour.", hint="register(MyBehaviour(), of=MyMixin)")
    if behaviour in REGISTERED:
        raise ConfigurationError(f"{behaviour!r} is registered already.", hint="Register each behaviour once.")
    REGISTERED.add(behaviour, of)


def unregister(behaviour: Behaviour) -> None:
    """Remove *behaviour*, so that no session calls it again.

    Raises:
        ConfigurationError: When *behaviour* is not registered.
    """
    if behaviour not in REGISTERED:
        raise ConfigurationError(f"{behaviour!r} is not registered.", hint="Pass the same object as to register().")
    REGISTERED.remove(behaviour)
