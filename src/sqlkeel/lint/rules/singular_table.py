"""A table is named after one row: ``post``, ``post_like``, ``user_playlist``.

One rule for all tables ends the guessing: the foreign key to ``user`` is ``user_id``, the class is ``User``, and you
never have to form a plural.

The rule accepts plurals if most tables have plural names and the project does not use sqlkeel's naming convention.

Instead: the singular of the last word. If a word only looks like a plural, add it to ``singular = ["news"]``.
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

# Singular for us, whatever a dictionary says.
_SINGULAR: Final = frozenset({
    "agenda", "alias", "atlas", "bias", "canvas", "chaos", "corps", "cosmos", "data", "gas", "headquarters", "https",
    "kubernetes", "lens", "means", "media", "metadata", "news", "postgres", "series", "settings", "species",
})  # fmt: skip
# Endings that no plural has: address, status, analysis, statistics.
_SINGULAR_ENDINGS: Final = ("ss", "us", "is", "ics")
_SHORTEST: Final = 4
_ENOUGH: Final = 3
"""How many plurals make it a convention."""
# A cheap first test: most words are not plural.
_PLURAL_ENDINGS: Final = ("s", "men", "people", "children", "mice", "geese", "feet", "teeth", "criteria", "phenomena")


def check(table: Table, schema: Schema) -> Iterator[Problem]:
    """Yield a table whose last word is a plural."""
    name = singular_name(table.name, schema)
    if name is not None and not _are_plurals(schema):
        rename = Rename("table", table.name, name)
        yield Problem(table.name, f'"{table.name}" is a plural.', f'Call it "{name}".', rename)


def singular_name(name: str, schema: Schema) -> str | None:
    """Return the singular table name: ``post_like`` for ``post_likes``, ``role_user`` for an association table."""
    head, underscore, word = name.rpartition("_")
    one = singular_of(word, schema)
    if one is None:
        return None
    other = singular_of(head, schema)
    tables = {table.name for table in schema.metadata.tables.values()}
    return f"{other if other is not None and tables & {head, other} else head}{underscore}{one}"


@lru_cache(maxsize=4)
def _are_plurals(schema: Schema) -> bool:
    """Return whether plurals are the project's convention; never on `sqlkeel.Base` or in a live database."""
    if schema.database is not None or has_our_convention(schema.metadata):
        return False
    names = [table.name for table in schema.metadata.tables.values()]
    plurals = [name for name in names if singular_name(name, schema) is not None]
    return len(plurals) >= _ENOUGH and len(plurals) * 2 > len(names)


def singular_of(word: str, schema: Schema) -> str | None:
    """Return the singular of a word that is surely a plural; ``None`` for any other word."""
    known = word in _SINGULAR or word in schema.singular
    if known or len(word) < _SHORTEST or not word.isalpha() or word.endswith(_SINGULAR_ENDINGS):
        return None
    if not word.endswith(_PLURAL_ENDINGS):
        return None
    one = singular(word)
    return one if one != word else None
