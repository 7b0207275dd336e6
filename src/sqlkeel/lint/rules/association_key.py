"""An association table holds each pair once.

Without a key the same two rows can be linked twice. Then the collection shows one link, a join counts two, and removing
the link from the collection fails, because the DELETE matches two rows. A surrogate ``id`` does not help: each of the
two links gets its own.

Instead: make the two foreign keys the primary key, or make them unique together and keep the ``id``.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import ForeignKey, PrimaryKeyConstraint, Table, UniqueConstraint

from .._finding import Problem, Schema

__all__ = ["BAD", "GOOD", "check", "pair_without_key"]

BAD = """
class Post(Base):
    __tablename__ = "post"
    id: Mapped[int] = mapped_column(primary_key=True)
    tags: Mapped[list["Tag"]] = relationship(secondary="post_tag")

class Tag(Base):
    __tablename__ = "tag"
    id: Mapped[int] = mapped_column(primary_key=True)

Table(
    "post_tag",
    Base.metadata,
    Column("post_id", ForeignKey("post.id"), index=True),
    Column("tag_id", ForeignKey("tag.id"), index=True),
)
"""

GOOD = """
class Post(Base):
    __tablename__ = "post"
    id: Mapped[int] = mapped_column(primary_key=True)
    tags: Mapped[list["Tag"]] = association("post_tag")

class Tag(Base):
    __tablename__ = "tag"
    id: Mapped[int] = mapped_column(primary_key=True)

Table(
    "post_tag",
    Base.metadata,
    Column("post_id", ForeignKey("post.id"), primary_key=True),
    Column("tag_id", ForeignKey("tag.id"), primary_key=True, index=True),
)
"""


def check(table: Table, schema: Schema) -> Iterator[Problem]:
    """Yield the association table if it can hold a pair twice."""
    columns = pair_without_key(table, schema)
    if columns:
        kind = "UniqueConstraint" if len(table.primary_key) else "PrimaryKeyConstraint"
        listing = ", ".join(f'"{name}"' for name in columns)
        yield Problem(table.name, f"A pair of ({', '.join(columns)}) can occur twice.", f"{kind}({listing})")


def pair_without_key(table: Table, schema: Schema) -> list[str]:
    """Return the columns of a pair that no key keeps unique, in table order; empty if there is one."""
    pair = _pair(table, schema) if len(table.foreign_key_constraints) > 1 else set()
    if any(unique <= pair or pair <= unique for unique in _unique_sets(table)):
        return []
    return [column.name for column in table.columns if column.name in pair]


def _pair(table: Table, schema: Schema) -> set[str]:
    """Return the columns of the pair; empty if the table is not just an association."""
    for mapper in (mapper for mappers in schema.mappers.values() for mapper in mappers):
        for relation in mapper.relationships:
            if relation.secondary is table and not relation.viewonly:
                pairs = [*relation.synchronize_pairs, *(relation.secondary_synchronize_pairs or ())]
                return {referring.name for _, referring in pairs}
    linking = {column.name for column in table.columns if column.foreign_keys}
    return linking if _is_only_links(table, schema) else set()


def _is_only_links(table: Table, schema: Schema) -> bool:
    """Return whether a table has only foreign keys, or a surrogate key and one foreign key to each of two tables."""
    own = [column for column in table.columns if not column.foreign_keys]
    if not own:
        return True
    targets = [_target(key) for key in table.foreign_keys]
    pointed_to = any(
        _target(key) == table.fullname for one in schema.metadata.tables.values() for key in one.foreign_keys
    )
    numbered = own == list(table.primary_key) and len(own) == 1 and not any(one.nullable for one in table.columns)
    return numbered and len(targets) == len(set(targets)) == 2 and not pointed_to


def _target(key: ForeignKey) -> str:
    return key.target_fullname.rpartition(".")[0]


def _unique_sets(table: Table) -> Iterator[set[str]]:
    """Yield the unique sets of columns, including partial ones, because an association may be soft-deletable."""
    for constraint in table.constraints:
        if isinstance(constraint, (PrimaryKeyConstraint, UniqueConstraint)) and len(constraint.columns):
            yield {column.name for column in constraint.columns}
    for index in table.indexes:
        if index.unique and len(index.columns):
            yield {column.name for column in index.columns}
