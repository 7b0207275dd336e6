"""Column types that store a value exactly or refuse it."""

from typing import TYPE_CHECKING

from .._lazy import door

if TYPE_CHECKING:
    from ._choice import Choice
    from ._exact import ExactNumeric, Money, UTCDateTime, utc_now
    from ._times import Duration, PlainDate, PlainTime

__all__ = [
    "Choice",
    "Duration",
    "ExactNumeric",
    "Money",
    "PlainDate",
    "PlainTime",
    "UTCDateTime",
    "utc_now",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = door(
        __name__,
        {
            "_choice": ["Choice"],
            "_exact": ["ExactNumeric", "Money", "UTCDateTime", "utc_now"],
            "_times": ["Duration", "PlainDate", "PlainTime"],
        },
    )
