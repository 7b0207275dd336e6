"""Hooks: what waits until a transaction has ended, and whether that was by a commit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

from sqlalchemy.orm import SessionTransaction

__all__ = ["Hook", "Hooks"]


class Hook(NamedTuple):
    """What is called when a transaction has ended in the way it waits for."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    after_commit: bool


class Hooks:
    """The hooks of a session: by the transaction or savepoint whose end they wait for, then those that are due."""

    def __init__(self) -> None:
        self._waiting: dict[SessionTransaction, list[Hook]] = defaultdict(list)
        self._committed: set[SessionTransaction] = set()
        self._due: list[Hook] = []

    def __bool__(self) -> bool:
        """Tell whether something waits for the end of a transaction, or is due because of one."""
        return bool(self._waiting or self._due)

    @property
    def are_due(self) -> bool:
        """Whether a transaction or savepoint has ended for which something waited."""
        return bool(self._due)

    def add(self, hook: Hook, transaction: SessionTransaction) -> None:
        """Keep *hook* until the transaction or savepoint ends."""
        self._waiting[transaction].append(hook)

    def note_commit(self, transaction: SessionTransaction) -> None:
        """Note that the transaction or savepoint is committed; it ends afterwards."""
        self._committed.add(transaction)

    def end(self, ended: SessionTransaction) -> bool:
        """Hand the hooks of a transaction on that has ended, and tell whether it was committed.

        Those of a savepoint move to the transaction around it, or are dropped with it if they wait for a commit.
        """
        hooks = self._waiting.pop(ended, ())
        committed = ended in self._committed
        self._committed.discard(ended)
        if committed and ended.nested and ended.parent is not None:
            if hooks:
                self._waiting[ended.parent].extend(hooks)
        elif hooks:
            self._due.extend(hook for hook in hooks if hook.after_commit is committed)
        return committed

    def take_due(self) -> list[Hook]:
        """Return the hooks whose transaction has ended in the way they wait for, once."""
        due, self._due = self._due, []
        return due

    def drop(self) -> None:
        """Forget the hooks of a transaction whose end nobody knows: neither kind may be called."""
        self._waiting.clear()
        self._due.clear()
