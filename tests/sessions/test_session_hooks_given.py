"""Tests of sessions._session: what a hook is given is a function."""

from __future__ import annotations

from typing import Any

import pytest

from sqlkeel.errors import UsageError
from sqlkeel.sessions import Database


async def send() -> None:
    """Send something."""


class TestGiven:
    @pytest.mark.parametrize("hook", ["on_commit", "on_rollback"])
    @pytest.mark.parametrize("given", [lambda: None, send], ids=["result", "coroutine"])
    async def test_what_a_call_returned_is_refused(self, sqlite: Database, hook: str, given: Any) -> None:
        """A function that was called has done its work too early; the hook would fail after the commit, in the log."""
        async with sqlite.transaction() as session:
            with pytest.raises(UsageError, match=rf"session\.{hook}\(send_mail, user\.email\)"):
                getattr(session, hook)(given())
