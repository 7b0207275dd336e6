"""Hooks by the transaction they wait for: a savepoint hands its own on, and what nobody knows the end of is dropped."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session, SessionTransaction

from sqlkeel.sessions._hooks import Hook, Hooks

COMMITTED = Hook(print, (), {}, after_commit=True)
ROLLED_BACK = Hook(print, (), {}, after_commit=False)


@pytest.fixture
def root() -> Iterator[SessionTransaction]:
    """An open transaction."""
    with Session(create_engine("sqlite://")) as session:
        yield session.begin()


@pytest.fixture
def savepoint(root: SessionTransaction) -> SessionTransaction:
    """A savepoint in it."""
    return root.session.begin_nested()


@pytest.fixture
def hooks() -> Hooks:
    """What remembers them."""
    return Hooks()


class TestHooks:
    @pytest.mark.parametrize(("committed", "due"), [(True, [COMMITTED]), (False, [ROLLED_BACK])])
    def test_those_of_its_end_are_due(
        self, hooks: Hooks, root: SessionTransaction, committed: bool, due: list[Hook]
    ) -> None:
        """After a commit those that wait for one, after a rollback the others; each once."""
        hooks.add(COMMITTED, root)
        hooks.add(ROLLED_BACK, root)
        if committed:
            hooks.note_commit(root)

        assert hooks.end(root) is committed
        assert (hooks.are_due, hooks.take_due(), hooks.take_due()) == (True, due, [])

    def test_a_savepoint_hands_them_on(
        self, hooks: Hooks, root: SessionTransaction, savepoint: SessionTransaction
    ) -> None:
        """What is released is not committed yet."""
        hooks.add(COMMITTED, savepoint)
        hooks.note_commit(savepoint)
        hooks.end(savepoint)
        assert not hooks.are_due
        hooks.note_commit(root)

        hooks.end(root)

        assert hooks.take_due() == [COMMITTED]

    def test_a_savepoint_that_is_rolled_back_drops_them(self, hooks: Hooks, savepoint: SessionTransaction) -> None:
        """The others are due at once."""
        hooks.add(COMMITTED, savepoint)
        hooks.add(ROLLED_BACK, savepoint)

        hooks.end(savepoint)

        assert (hooks.take_due(), bool(hooks)) == ([ROLLED_BACK], False)

    def test_it_is_empty_without_hooks(
        self, hooks: Hooks, root: SessionTransaction, savepoint: SessionTransaction
    ) -> None:
        """A savepoint without any leaves nothing to its transaction."""
        hooks.note_commit(savepoint)
        hooks.end(savepoint)

        assert not hooks

    def test_they_are_dropped(self, hooks: Hooks, root: SessionTransaction, savepoint: SessionTransaction) -> None:
        """Those that wait, and those that are due."""
        hooks.add(ROLLED_BACK, savepoint)
        hooks.end(savepoint)
        hooks.add(COMMITTED, root)
        assert hooks

        hooks.drop()

        assert (hooks.take_due(), bool(hooks)) == ([], False)
