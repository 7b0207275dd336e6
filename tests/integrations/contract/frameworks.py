"""Each framework; a new one has its line here."""

from __future__ import annotations

from tests.integrations.contract.framework import Framework, Injecting
from tests.integrations.contract.on_fastapi import OnFastAPI
from tests.integrations.contract.on_litestar import OnLitestar
from tests.integrations.contract.on_starlette import OnStarlette

__all__ = ["FRAMEWORKS", "INJECTING"]

FRAMEWORKS: dict[str, Framework] = {"starlette": OnStarlette(), "fastapi": OnFastAPI(), "litestar": OnLitestar()}
INJECTING: dict[str, Injecting] = {name: one for name, one in FRAMEWORKS.items() if isinstance(one, Injecting)}
