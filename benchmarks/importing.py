"""What importing sqlkeel costs a process that starts, in CPU time: the two everyday names, and all of them."""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from collections.abc import Iterator

from .measure import Case

__all__ = ["cases"]


def cases() -> Iterator[Case]:
    """Yield the cases of this file."""

    async def limit() -> None:
        await _run("import sqlalchemy.ext.asyncio, sqlalchemy.orm")

    async def ours() -> None:
        await _run("from sqlkeel import Database, Repository")

    async def everything() -> None:
        await _run("from sqlkeel import *")

    contenders = {"sqlkeel": ours, "sqlkeel, all names": everything}
    yield Case("import", limit, contenders, 1.10, is_rate=False, clock=_seconds_of_children)


def _seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


async def _run(code: str) -> None:
    """Run it without the collector, whose first full round falls to whoever is imported after SQLAlchemy."""
    # What is compiled is kept, as on a machine where the program has run before.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", f"import gc; gc.disable(); {code}", env=environment
    )
    if await process.wait():
        raise RuntimeError(code)
