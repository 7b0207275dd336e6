"""Every foreign key to one table has the same name: ``user_id``, or ``<role>_id``.

If one table has ``usr`` and another ``user_id``, you have to remember which, and a query copied from one table to the
other breaks. A foreign key called ``author`` also takes the name that its relationship needs.

The rule reports a key to an ``id`` whose name does not end in ``_id``, except a role that ends in a preposition
(``created_by``). It also reports a short or plural form of the table's name if another key to that table uses another
form. If most keys of the project are written ``userid``, that is its convention.

Instead: the name of the table and ``_id``, or the role and ``_id``: ``author_id``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import Column, Table

from .._finding import Problem, Rename, Schema
from .same_type import targets_of
from .singular_table import singular_of

__all__ = ["BAD", "GOOD", "check"]

BAD = """
class User(Base):
    __tablename__ = "user"
    id: Mapped[int] = mapped_column(primary_key=True)

class Post(Base):
    __tablename__ = "post"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id"), index=True)
    editor: Mapped[int] = mapped_column(ForeignKey("user.id"), index=True)

class Vote(Base):
    __tablename__ = "vote"
    id: Mapped[int] = mapped_column(primary_key=True)
    usr_id: Mapped[int] = mapped_column(ForeignKey("user.id"), index=True)
"""

GOOD = """
class User(Base):
    __tablename__ = "user"
    id: Mapped[int] = mapped_column(primary_key=True)

class Post(Base):
    __tablename__ = "post"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id"), index=True)
    editor_id: Mapped[int] = mapped_column(ForeignKey("user.id"), index=True)
    approved_by: Mapped[int] = mapped_column(ForeignKey("user.id"), index=True)

class Vote(Base):
    __tablename__ = "vote"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id"), index=True)
"""

_PREPOSITIONS: Final = frozenset({"by", "for", "from", "in", "of", "on", "to", "with"})
_BEFORE: Final = frozenset({"fk", "id"})
_ENOUGH: Final = 4
"""How many keys of another form make it a convention."""

_BEHIND: Final = frozenset({"fk", "id", "uuid"})


def check(table: Table, schema: Schema) -> Iterator[Problem]:
    """Yield foreign keys whose name differs from other keys to the same target, or does not look like a key."""
    for column in table.columns:
        for target in targets_of(column):
            wanted = _wanted(column.name, target, schema)
            if wanted is not None and wanted not in table.columns:
                where = f"{table.name}.{column.name}"
                message = f'"{column.name}" is a key to {target.table.name}.{target.name}.'
                yield Problem(where, message, f'Call it "{wanted}".', Rename("column", column.name, wanted))
                break


def _wanted(name: str, target: Column[Any], schema: Schema) -> str | None:
    """Return the name to use; ``None`` if this one is right."""
    if name == target.name or not name.islower() or not f"_{target.name}".endswith("_id"):
        return None
    forms = _forms(target.table.name, schema)
    stem = _stem(name, forms)
    if stem not in forms and any(_is_short(stem, form, schema) for form in forms):
        others = _names_for(target, schema) - {name}
        full = sorted(other for other in others if other.endswith("_id") and _stem(other, forms) in forms)
        plain = full or any(_is_short(_stem(other, forms), form, schema) for other in others for form in forms)
        if plain or not name.endswith("_id"):
            return full[0] if full else f"{forms[0]}_id"
    if name.endswith("_id") or (name.endswith("id") and _joins_id(schema)):
        return None
    role = name.rpartition("_")[2] in _PREPOSITIONS and f"{name}_id" not in _names_for(target, schema)
    return None if role else f"{stem}_id"


def _stem(name: str, forms: Collection[str]) -> str:
    """Return the words for the row in ``user_id``, ``id_user``, ``user_fk`` or ``userid``."""
    joined = name.removesuffix("id")
    for form in forms if joined != name else ():
        for written in (form, form.replace("_", "")):
            if f"_{joined}".endswith(f"_{written}"):
                return f"{joined.removesuffix(written)}{form}"
    first, _, rest = name.partition("_")
    name = rest if first in _BEFORE and rest else name
    rest, _, last = name.rpartition("_")
    return rest if last in _BEHIND and rest else name


@lru_cache(maxsize=4)
def _joins_id(schema: Schema) -> bool:
    """Return whether the project writes the names of its key columns without an underscore, ``userid``."""
    columns = (column for table in schema.metadata.tables.values() for column in table.columns)
    names = [column.name for column in columns if column.foreign_keys]
    joined = [name for name in names if name.endswith("id") and not name.endswith("_id")]
    return len(joined) >= _ENOUGH and len(joined) * 2 > len(names)


def _forms(table: str, schema: Schema) -> list[str]:
    """Return the full names that a key may use for a table: ``payment_account``, or without the module ``account``."""
    head, underscore, word = table.rpartition("_")
    words = f"{head}{underscore}{singular_of(word, schema) or word}".split("_")
    return ["_".join(words[start:]) for start in range(len(words))]


def _is_short(stem: str, form: str, schema: Schema) -> bool:
    """Return whether the stem abbreviates the form, or is its plural: ``usr`` or ``users`` for ``user``."""
    words, full = stem.split("_"), form.split("_")
    if len(words) != len(full):
        return False
    plural = words[:-1] == full[:-1] and singular_of(words[-1], schema) == full[-1]
    return plural or all(map(_abbreviates, words, full))


def _abbreviates(short: str, word: str) -> bool:
    letters = iter(word)
    return short[:1] == word[:1] and all(letter in letters for letter in short)


def _names_for(target: Column[Any], schema: Schema) -> set[str]:
    """Return the names of all foreign keys to this column."""
    columns = (column for table in schema.metadata.tables.values() for column in table.columns)
    return {column.name for column in columns if column.foreign_keys and target in set(targets_of(column))}
