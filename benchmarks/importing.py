"""What importing all of sqlkeel costs a process that starts."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator

from .measure import Case

__all__ = ["cases"]


def cases() -> Iterator[Case]:
    """Yield the cases of this file."""

    async def limit() -> None:
        await _run("import sqlalchemy.ext.asyncio, sqlalchemy.orm")

    async def ours() -> None:
        await _run("from sqlkeel import *")

    yield Case("import", limit, {"sqlkeel": ours}, 1.10, is_rate=False)


async def _run(code: str) -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
    if await process.wait():
        raise RuntimeError(code)
