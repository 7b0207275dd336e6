"""Find the file of a database that writes many rows."""

from __future__ import annotations

from sqlalchemy import Dialect

from ..errors import NotSupported
from ._writer import Writer

__all__ = ["writer_for"]


def writer_for(dialect: Dialect) -> Writer:
    """Return the file of a dialect.

    Raises:
        NotSupported: When there is none.
    """
    # Not at import: they load the dialects, which `import sqlkeel` is to do without.
    from ._databases.mariadb import MariaDB
    from ._databases.postgresql import PostgreSQL
    from ._databases.sqlite import SQLite

    known: dict[str, type[Writer]] = {
        "mariadb": MariaDB,
        "mysql": MariaDB,
        "postgresql": PostgreSQL,
        "sqlite": SQLite,
    }
    if dialect.name not in known:
        raise NotSupported(f"Bulk functions know {', '.join(known)}, not {dialect.name}.")
    return known[dialect.name]()
