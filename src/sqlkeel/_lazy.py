"""Packages whose names are imported on first use, so that an application does not load what it does not use."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["door"]


def door(
    package: str, homes: Mapping[str, Iterable[str]], *, beside: Mapping[str, str] | None = None
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` of a package (PEP 562).

    Args:
        package: Its name.
        homes: The names that it offers, by the module below it that has them; those of `""` are modules themselves.
        beside: The module that is loaded with each of these modules, for the listeners in it.
    """
    home_of = {name: home for home, names in homes.items() for name in names}

    def load(name: str) -> Any:
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        home = home_of[name]
        if beside is not None and home in beside:
            import_module(f".{beside[home]}", package)
        value = getattr(import_module(f".{home}", package), name) if home else import_module(f".{name}", package)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return [*home_of]

    return load, names
