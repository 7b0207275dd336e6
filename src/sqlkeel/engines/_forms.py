"""How MariaDB's driver writes values into a statement, and which values it must refuse."""

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
"""Types whose ``str()`` is the form that the server accepts; ``Real`` includes numpy's numbers."""


def conversions() -> dict[Any, Any]:
    """Return the driver's conversions, but refuse NaN and infinity, and values that have no form in SQL.

    The driver would write NaN as a column name, an unknown class as its ``str()``, and a tuple as a list.
    """
    from asyncmy.converters import conversions as usual
    from asyncmy.converters import escape_sequence

    numbers = {float: isfinite, Decimal: Decimal.is_finite}
    known = {**usual, **{kind: _finite(usual[kind], check) for kind, check in numbers.items()}}
    # Used for all classes without an entry; a string reaches it only inside a tuple.
    inside = {**known, str: _of_its_base(known)}

    def write_list(values: Any, *rest: Any) -> str:
        # The server would store (1) as 1; repeating the value makes a list that equals it in IN, but is not a scalar.
        return escape_sequence(values * 2 if len(values) == 1 else values, "", inside)

    return {**inside, tuple: write_list}


def _of_its_base(known: Mapping[Any, Callable[..., str]]) -> Callable[..., str]:
    """Return a function that converts a value to its base class, because the driver does not know the subclass."""
    bases = [kind for kind in _BASES if kind in known]

    def write(value: Any, *rest: Any) -> str:
        # A subclass may override str(), as enumerations do.
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
    """Return bytes; ``bytes()`` of an integer would be that many zero bytes, and the driver does not check."""
    return bytes(memoryview(value))


def _finite(usual: Callable[..., str], is_finite: Callable[[Any], bool]) -> Callable[..., str]:
    def write(value: Any, *rest: Any) -> str:
        if not is_finite(value):
            raise ValueError("MariaDB has no NaN and no infinity.")
        return usual(value, *rest)

    return write
