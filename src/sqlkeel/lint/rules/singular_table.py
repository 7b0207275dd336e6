"""A table is named after one row: ``post``, ``post_like``, ``user_playlist``.

One rule for all tables ends the guessing: the foreign key to ``user`` is ``user_id``, the class is ``User``, and no
plural has to be formed to get from one to the other.

Where most tables of a project that has no naming convention of sqlkeel's are plurals, that is its own convention.

Instead: the singular of the last word. A word that only looks like a plural goes into ``singular = ["news"]``.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from sqlalchemy import Table

from .._convention import has_our_convention
from .._finding import Problem, Rename, Schema
from .._singular import singular

__all__ = ["BAD", "GOOD", "check", "singular_name", "singular_of"]

BAD = """
class Like(Base):
    __tablename__ = "post_likes"
    id: Mapped[int] = mapped_column(primary_key=True)
"""

GOOD = """
class Like(Base):
    __tablename__ = "post_like"
    id: Mapped[int] = mapped_column(primary_key=True)
"""

# Read as one thing, whatever a dictionary says.
_SINGULAR: Final = frozenset({
    "agenda", "alias", "atlas", "bias", "canvas", "chaos", "corps", "cosmos", "data", "gas", "headquarters", "https",
    "kubernetes", "lens", "means", "media", "metadata", "news", "postgres", "series", "settings", "species",
})  # fmt: skip
# No plural of a thing ends so: address, status, analysis, statistics.
_SINGULAR_ENDINGS: Final = ("ss", "us", "is", "ics")
_SHORTEST: Final = 4
_ENOUGH: Final = 3
"""Plurals that make a convention."""
# Most words are no plural at first sight.
_PLURAL_ENDINGS: Final = ("s", "men", "people", "children", "mice", "geese", "feet", "teeth", "criteria", "phenomena")


def check(table: Table, schema: Schema) -> Iterator[Problem]:
    """Yield a table whose last word is a plural."""
    name = singular_name(table.name, schema)
    if name is not None and not _are_plurals(schema):
        rename = Rename("table", table.name, name)
        yield Problem(table.name, f'"{table.name}" is a plural.', f'Call it "{name}".', rename)


def singular_name(name: str, schema: Schema) -> str | None:
    """Return the name of one row: of ``post_likes`` it is ``post_like``, of a table between two it is ``role_user``."""
    head, underscore, word = name.rpartition("_")
    one = singular_of(word, schema)
    if one is None:
        return None
    other = singular_of(head, schema)
    tables = {table.name for table in schema.metadata.tables.values()}
    return f"{other if other is not None and tables & {head, other} else head}{underscore}{one}"


@lru_cache(maxsize=4)
def _are_plurals(schema: Schema) -> bool:
    """Return whether this is what the project calls its tables; one on `sqlkeel.Base` and a database are told."""
    if schema.database is not None or has_our_convention(schema.metadata):
        return False
    names = [table.name for table in schema.metadata.tables.values()]
    plurals = [name for name in names if singular_name(name, schema) is not None]
    return len(plurals) >= _ENOUGH and len(plurals) * 2 > len(names)


def singular_of(word: str, schema: Schema) -> str | None:
    """Return the singular of a word that is surely a plural, else ``None``."""
    known = word in _SINGULAR or word in schema.singular
    if known or len(word) < _SHORTEST or not word.isalpha() or word.endswith(_SINGULAR_ENDINGS):
        return None
    if not word.endswith(_PLURAL_ENDINGS):
        return None
    one = singular(word)
    return one if one != word else None
