"""The names of constraints and indexes, the same on every machine and for every import order."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Any, Final

from sqlalchemy import CheckConstraint, Column, ForeignKeyConstraint, Index, MetaData, PrimaryKeyConstraint, Table
from sqlalchemy import UniqueConstraint as Unique
from sqlalchemy.sql import visitors
from sqlalchemy.sql.elements import conv

from ..errors import ConfigurationError, NamingCollision

__all__ = ["MAX_BYTES", "NAMING_CONVENTION", "fitting_name", "metadata_with_names"]

MAX_BYTES: Final = 63
"""The longest identifier that PostgreSQL keeps; it truncates longer ones silently (manual, 4.1.1)."""

_REGISTRY: Final = "sqlkeel.names"
_SUFFIX: Final = {PrimaryKeyConstraint: "pkey", ForeignKeyConstraint: "fkey", Unique: "key", Index: "idx"}

Named = PrimaryKeyConstraint | ForeignKeyConstraint | Unique | Index | CheckConstraint


def metadata_with_names(**options: Any) -> MetaData:
    """Return a `MetaData` that names every constraint; for a project with its own base class.

    One column: ``user_email_key``, ``post_author_id_fkey``, ``user_pkey``, ``user_email_idx``,
    ``account_balance_check``. Several columns: all of them, ``user_playlist_user_id_song_id_key``. If two constraints
    would have the same name, the simpler one keeps it and the other gets a hash of its definition. Names longer than
    `MAX_BYTES` are cut and get a hash. Neither depends on the order in which modules are imported.

    Raises:
        NamingCollision: When two constraints are identical but for their type.
        ConfigurationError: For a CHECK given as text without a name.
    """
    return MetaData(naming_convention=NAMING_CONVENTION, **options)


def _name(constraint: Named, table: Table) -> str:
    columns = _columns(constraint)
    suffix = next(word for kind, word in _SUFFIX.items() if isinstance(constraint, kind))
    middle = () if isinstance(constraint, PrimaryKeyConstraint) else columns
    return _claim(constraint, table, "_".join((table.name, *middle)), suffix)


def _check_name(constraint: CheckConstraint, table: Table) -> str:
    given = str(constraint.name) if isinstance(constraint.name, str) else ""
    if given.startswith(f"{table.name}_") and given.endswith("_check"):
        return given  # Already a full name, as in migrations: the convention would be applied twice.
    about = given or "_".join(_expression_columns(constraint))
    if not about:
        raise ConfigurationError(
            f"A CHECK on {table.name} has no name and no columns to name it after: {constraint.sqltext}",
            hint='CheckConstraint("...", name="balance") becomes ' + f"{table.name}_balance_check.",
        )
    if given:
        # SQLAlchemy expects the convention to consume a given name. The CHECK of an unnamed Enum has a marker there
        # instead, and is named each time it is compiled.
        # Enum without a name has a marker there, by which it is named each time it is compiled.
        constraint.name = None
    return _claim(constraint, table, f"{table.name}_{about}", "check")


def _columns(constraint: Named) -> tuple[str, ...]:
    if isinstance(constraint, Index):
        return tuple(name for part in constraint.expressions for name in _names_in(part))
    return tuple(column.name for column in constraint.columns)


def _expression_columns(constraint: CheckConstraint) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_names_in(constraint.sqltext)))


def _names_in(expression: Any) -> Iterable[str]:
    if isinstance(expression, str):
        return (expression,)
    return (element.name for element in visitors.iterate(expression) if isinstance(element, Column))


def _claim(constraint: Named, table: Table, stem: str, suffix: str) -> str:
    """Return the name of *constraint*; if another one would have it, the simpler of the two keeps it."""
    holders: dict[tuple[str | None, str], tuple[Named, Table]] = table.metadata.info.setdefault(_REGISTRY, {})
    name = fitting_name(stem, suffix)
    key = table.schema, name
    other, its_table = holders.get(key, (constraint, table))
    if other is constraint or not _is_current(other, its_table):
        holders[key] = constraint, table
        return name
    ours, theirs = _rank(constraint, table), _rank(other, its_table)
    if ours == theirs:
        raise NamingCollision(f"{name} is the name of two constraints on {table.name}.")
    if ours > theirs:
        return fitting_name(stem, suffix, salt=repr(ours))
    other.name = conv(fitting_name(stem, suffix, salt=repr(theirs)))
    holders[key] = constraint, table
    return name


def _is_current(constraint: Named, table: Table) -> bool:
    """Return whether *table* is still in its metadata, and *constraint* still on it."""
    if table.metadata.tables.get(table.key) is not table:
        return False
    if constraint in table.constraints or constraint in table.indexes:
        return True
    return any(constraint in column.constraints for column in table.columns)


def _rank(constraint: Named, table: Table) -> tuple[Any, ...]:
    """Return a sort key from the simplest constraint to the most complex, independent of when they were created."""
    columns = _columns(constraint)
    detail = repr([str(part) for part in constraint.expressions]) if isinstance(constraint, Index) else ""
    options = sorted((key, str(value)) for key, value in constraint.dialect_kwargs.items())
    return len(columns), len(table.name), table.fullname, columns, len(options), detail, options


def fitting_name(stem: str, suffix: str, *, salt: str = "") -> str:
    """Return ``stem_suffix`` in at most `MAX_BYTES`; a longer name is cut and gets a hash, as does one with *salt*."""
    name = f"{stem}_{suffix}"
    if not salt and len(name.encode()) <= MAX_BYTES:
        return name
    digest = hashlib.sha256((salt or name).encode()).hexdigest()[:8]
    tail = f"_{digest}_{suffix}"
    head = stem.encode()[: MAX_BYTES - len(tail)].decode(errors="ignore")
    return f"{head.rstrip('_')}{tail}"


_Token = Callable[[Any, Table], str]
_TOKENS: dict[str, _Token] = {"keel_name": _name, "keel_constraint_name": _check_name}

NAMING_CONVENTION: Final[dict[str, Any]] = {
    "ix": "%(keel_name)s",
    "uq": "%(keel_name)s",
    "fk": "%(keel_name)s",
    "pk": "%(keel_name)s",
    "ck": "%(keel_constraint_name)s",
    **_TOKENS,
}
"""For ``MetaData(naming_convention=...)``; see `metadata_with_names`."""
