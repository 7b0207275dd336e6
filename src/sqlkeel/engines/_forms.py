"""The forms in which MariaDB's driver writes values into a statement, and what has none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from math import isfinite
from numbers import Real
from typing import Any, Final
from uuid import UUID

__all__ = ["WITH_FORM", "bytes_of", "conversions"]

_BASES: Final = (float, Decimal, datetime, date, timedelta, time)
WITH_FORM: Final = (Real, UUID, IPv4Address, IPv6Address, IPv4Network, IPv6Network)
"""What the ``str()`` of is the one form that the server has for it; numbers are those of numpy."""


def conversions() -> dict[Any, Any]:
    """Return how the driver writes values, but for numbers without a value and for what has no form in SQL.

    It writes NaN as the name of a column, of a class that it does not know the ``str()``, and a tuple as a list.
    """
    from asyncmy.converters import conversions as usual
    from asyncmy.converters import escape_sequence

    numbers = {float: isfinite, Decimal: Decimal.is_finite}
    known = {**usual, **{kind: _finite(usual[kind], check) for kind, check in numbers.items()}}
    # Of all classes that have no entry; a text comes here only as a part of a tuple.
    inside = {**known, str: _of_its_base(known)}

    def write_list(values: Any, *rest: Any) -> str:
        # The server takes (1) for 1, which would be stored; a list of two is the same list, and no value.
        return escape_sequence(values * 2 if len(values) == 1 else values, "", inside)

    return {**inside, tuple: write_list}


def _of_its_base(known: Mapping[Any, Callable[..., str]]) -> Callable[..., str]:
    """Return what writes a value as one of the class that it inherits from, where the driver knows only that one."""
    bases = [kind for kind in _BASES if kind in known]

    def write(value: Any, *rest: Any) -> str:
        # A class of somebody else may have a str() of its own, as each enumeration has.
        if isinstance(value, int):
            return known[int](int(value), *rest)
        if isinstance(value, str):
            return known[str](str.__str__(value), *rest)
        for base in bases:
            if isinstance(value, base):
                return known[base](value, *rest)
        if not isinstance(value, WITH_FORM):
            raise TypeError(f"MariaDB has no form for a {type(value).__name__}.")
        return known[str](value, *rest)

    return write


def bytes_of(value: Any) -> bytes:
    """Return bytes as bytes: of a number Python makes as many zeros, and the driver asks nobody."""
    return bytes(memoryview(value))


def _finite(usual: Callable[..., str], is_finite: Callable[[Any], bool]) -> Callable[..., str]:
    def write(value: Any, *rest: Any) -> str:
        if not is_finite(value):
            raise ValueError("MariaDB has no NaN and no infinity.")
        return usual(value, *rest)

    return write
