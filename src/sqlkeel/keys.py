"""Primary keys: a plain integer, a UUID, or an integer inside with a UUID outside."""

from __future__ import annotations

import sys
import uuid

from sqlalchemy import BigInteger, Identity, Integer, Uuid
from sqlalchemy.orm import Mapped, mapped_column

__all__ = ["DualIDMixin", "IntKeyMixin", "UUIDKeyMixin", "uuid7"]

if sys.version_info >= (3, 14):
    from uuid import uuid7
else:
    from uuid_utils.compat import uuid7


class IntKeyMixin:
    """A 64-bit integer that the database counts up: the smallest key and the fastest join.

    Do not show it to the outside: it tells how many rows there are and invites guessing. `DualIDMixin` is for that.
    """

    # SQLite counts only a column of exactly the type INTEGER.
    id: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer(), "sqlite"), Identity(), primary_key=True, sort_order=-100
    )


class UUIDKeyMixin:
    """A UUIDv7 made by the client: known before the insert, unique over machines, ordered by time.

    Version 7 (RFC 9562, 5.7) keeps new rows together in the index, where random version 4 keys spread over all of it.
    It shows the row's creation time to whoever sees it.
    """

    id: Mapped[uuid.UUID] = mapped_column(Uuid(), primary_key=True, default=uuid7, sort_order=-100)


class DualIDMixin(IntKeyMixin):
    """An integer ``id`` for joins and foreign keys, a UUIDv7 ``public_id`` for everything outside.

    The small key stays in the indexes; addresses, responses and logs carry one that cannot be counted or guessed.
    """

    public_id: Mapped[uuid.UUID] = mapped_column(Uuid(), unique=True, default=uuid7, sort_order=-99)
