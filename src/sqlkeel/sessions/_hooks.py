"""Hooks: functions that wait for the end of a transaction, and run after a COMMIT or after a ROLLBACK."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

from sqlalchemy.orm import SessionTransaction

__all__ = ["Hook", "Hooks"]


class Hook(NamedTuple):
    """A function to call when a transaction has ended: with a COMMIT (``after_commit``) or with a ROLLBACK."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    after_commit: bool


class Hooks:
    """The hooks of a session: those that wait, by their transaction or savepoint, and those that are due."""

    def __init__(self) -> None:
        self._waiting: dict[SessionTransaction, list[Hook]] = defaultdict(list)
        self._committed: set[SessionTransaction] = set()
        self._due: list[Hook] = []

    def __bool__(self) -> bool:
        """Return whether any hook waits or is due."""
        return bool(self._waiting or self._due)

    @property
    def are_due(self) -> bool:
        """Whether hooks are due, because their transaction or savepoint has ended."""
        return bool(self._due)

    def add(self, hook: Hook, transaction: SessionTransaction) -> None:
        """Keep *hook* until the transaction or savepoint ends."""
        self._waiting[transaction].append(hook)

    def note_commit(self, transaction: SessionTransaction) -> None:
        """Record that the transaction or savepoint is committed; `end` follows."""
        self._committed.add(transaction)

    def end(self, ended: SessionTransaction) -> bool:
        """Make the hooks of an ended transaction due or drop them, and return whether it was committed.

        The hooks of a released savepoint move to the transaction around it. After a rollback of the savepoint, its
        commit hooks are dropped.
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
        """Return the hooks that are due, and forget them."""
        due, self._due = self._due, []
        return due

    def drop(self) -> None:
        """Forget all hooks: it is unknown whether their transaction was committed, so neither kind may run."""
        self._waiting.clear()
        self._due.clear()
