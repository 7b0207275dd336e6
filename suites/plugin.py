"""Put the sessions of sqlkeel where a suite looks for SQLAlchemy's, and note what became of each test.

pytest loads it with ``-p``, in each worker; it is told by the environment what to do.
"""

from __future__ import annotations

import json
import os
import re
import site
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import orm
from sqlalchemy.orm import events

__all__ = ["ASYNC", "NEEDS", "REPORT", "STOCK", "name_of"]

ASYNC: Final = "SQLKEEL_SUITE_ASYNC"
"""Whether the asynchronous session is ours too; else SQLAlchemy's is used, with our `SyncSession` inside."""
STOCK: Final = "SQLKEEL_SUITE_STOCK"
"""Whether SQLAlchemy's own sessions are left where they are, to see what fails with those."""
NEEDS: Final = "SQLKEEL_SUITE_NEEDS"
"""A folder with packages, which count after those of the environment."""
REPORT: Final = "SQLKEEL_SUITE_REPORT"
"""The file that is written: the outcome of each test."""

_BACKEND: Final = re.compile(r"_[a-z]+\+[a-z0-9]+(_async)?_\d+(_\d+)*(?=::)")
_CLEARED: Final = (events.MapperEvents, events.InstanceEvents, events.SessionEvents, events.QueryEvents)
_outcomes: dict[str, str] = {}

if needs := os.environ.get(NEEDS):
    site.addsitedir(needs)


def name_of(node: str) -> str:
    """Return the name of a test without the version of the database, which SQLAlchemy writes into it."""
    return _BACKEND.sub("", node)


@pytest.hookimpl(trylast=True)
def pytest_sessionstart() -> None:
    """Take their places when SQLAlchemy's own plugin is ready, and before a test is imported."""
    if STOCK in os.environ:
        return
    before = dict(_listeners())
    from sqlalchemy.ext import asyncio

    # Each has listeners of its own; they are those that were not there before.
    from sqlkeel import Session, SoftDeleteMixin, SyncSession, TimestampMixin, VersionMixin  # noqa: F401

    _keep({where: [one for one in now if one not in before.get(where, ())] for where, now in _listeners()})
    ours: Any = SyncSession
    orm.Session = ours  # type: ignore[misc]
    orm.sessionmaker.__init__.__kwdefaults__["class_"] = ours
    asyncio.AsyncSession.sync_session_class = ours
    if ASYNC in os.environ:
        asyncio.async_sessionmaker.__init__.__kwdefaults__["class_"] = Session
        asyncio.AsyncSession = Session  # type: ignore[misc]


def _listeners() -> Iterator[tuple[Any, list[Any]]]:
    """Yield what listens to the events of all objects of a class."""
    for kind in _CLEARED:
        for descriptor in kind.dispatch._event_descriptors:
            for target, functions in getattr(descriptor, "_clslevel", {}).items():
                yield (kind, descriptor, target), list(functions)


def _keep(ours: dict[Any, list[Any]]) -> None:
    """Register our listeners again when a test of SQLAlchemy's has cleared everybody's."""

    def clearing(kind: Any) -> Any:
        clear = kind._clear

        def clear_theirs(_: Any) -> None:
            clear()
            for (of, descriptor, target), functions in ours.items():
                if of is kind:
                    descriptor._clslevel[target].extend(functions)

        return classmethod(clear_theirs)

    for kind in _CLEARED:
        kind._clear = clearing(kind)  # type: ignore[method-assign]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note how a test ended: the last line of its error, or nothing where it passed."""
    name = name_of(report.nodeid)
    if report.failed:
        _outcomes[name] = _last_line(report.longrepr)
    elif report.when == "call" and report.passed:
        _outcomes.setdefault(name, "")


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Note a file that could not be imported."""
    if report.failed:
        _outcomes[name_of(report.nodeid)] = _last_line(report.longrepr)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the outcomes; a worker tells them to the process that started it."""
    if not hasattr(session.config, "workerinput") and REPORT in os.environ:
        Path(os.environ[REPORT]).write_text(json.dumps(_outcomes))


def _last_line(error: Any) -> str:
    crash = getattr(error, "reprcrash", None)
    text = str(crash.message if crash is not None else error).strip()
    return " ".join((text or "failed").splitlines()[:2])[:300]
