"""Find the writer for a database."""

from __future__ import annotations

from sqlalchemy import Dialect

from .._databases import KNOWN, class_for
from ..errors import NotSupported
from ._writer import Writer

__all__ = ["writer_for"]


def writer_for(dialect: Dialect) -> Writer:
    """Return the writer for a dialect.

    Raises:
        NotSupported: When there is none.
    """
    kind: type[Writer] | None = class_for("bulk", dialect.name)
    if kind is None:
        raise NotSupported(f"Bulk functions support {', '.join(KNOWN)}, not {dialect.name}.")
    return kind()
