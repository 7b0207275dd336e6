"""Canaries of what contextlib does not promise: each says which feature breaks with a Python that changes the name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from sqlkeel.errors import UsageError
from sqlkeel.sessions._blocks import _AsyncGeneratorContextManager, block


async def one() -> AsyncIterator[int]:
    """Give one value."""
    yield 1


class TestAsyncContextManager:
    async def test_its_class(self) -> None:
        """`with db.transaction()` could not be told what to write instead."""
        made = asynccontextmanager(one)()
        async with made as value:
            pass

        assert type(made) is _AsyncGeneratorContextManager
        assert issubclass(_AsyncGeneratorContextManager, AbstractAsyncContextManager)
        assert value == 1

    async def test_how_it_is_made(self) -> None:
        """The same: a class of ours is made with a function and its arguments, as the decorator makes its own."""
        async with _AsyncGeneratorContextManager(one, (), {}) as value:
            pass

        assert value == 1

    def test_what_is_said(self) -> None:
        """The block says it in the caller's words."""
        opened = block("async with db.transaction() as session")(one)

        with pytest.raises(UsageError, match=r"db\.transaction\(\) is entered by async with"), opened():
            pass
