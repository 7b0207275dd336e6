"""The ORM and the database do the same when a row with children is deleted.

``cascade="all, delete"`` without ON DELETE CASCADE deletes the children only when the ORM deletes the parent; the
database refuses every other DELETE. With ON DELETE CASCADE and no ``delete`` cascade, the database deletes the
children, but the ORM sets their foreign key to NULL first. And without ``passive_deletes=True`` the ORM loads every
child and sends one DELETE for each, although the database deletes them all with the parent.

Instead: use ``sqlkeel.children(on_delete=...)``, which sets all three together, or write all three yourself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from sqlalchemy import ForeignKeyConstraint, Table
from sqlalchemy.orm import RelationshipDirection, RelationshipProperty

from ...models._constraints import is_live_key
from .._finding import Problem, Schema
from .._locating import source_of_class

__all__ = ["BAD", "GOOD", "check"]

BAD = """
class User(Base):
    __tablename__ = "user"
    id: Mapped[int] = mapped_column(primary_key=True)
    posts: Mapped[list["Post"]] = relationship(cascade="all, delete")
    votes: Mapped[list["Vote"]] = relationship(cascade="all, delete")

class Post(Base):
    __tablename__ = "post"
    id: Mapped[int] = mapped_column(primary_key=True)
    author_id: Mapped[int] = mapped_column(ForeignKey("user.id"), index=True)

class Vote(Base):
    __tablename__ = "vote"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"), index=True)
"""

GOOD = """
class User(Base):
    __tablename__ = "user"
    id: Mapped[int] = mapped_column(primary_key=True)
    posts: Mapped[list["Post"]] = children()
    votes: Mapped[list["Vote"]] = relationship(cascade="all, delete", passive_deletes=True)

class Post(Base):
    __tablename__ = "post"
    id: Mapped[int] = mapped_column(primary_key=True)
    author_id: Mapped[int] = mapped_column(ForeignKey("user.id"), index=True)

class Vote(Base):
    __tablename__ = "vote"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"), index=True)
"""

_REFUSING: Final = frozenset({"NO ACTION", "RESTRICT"})


def check(table: Table, schema: Schema) -> Iterator[Problem]:
    """Yield the foreign keys that a relationship disagrees with."""
    for relation in _relations(schema):
        compare = _COMPARE[relation.direction]
        for key in _keys(relation.synchronize_pairs):
            found = compare(relation, key, (key.ondelete or "").upper()) if key.table is table else None
            if found is not None:
                source = source_of_class(relation.parent.class_, relation.key)
                yield Problem(f"{table.name}.{key.column_keys[0]}", *found, source=source)


def _relations(schema: Schema) -> Iterator[RelationshipProperty[Any]]:
    """Yield each writable relationship once: subclasses inherit those of their base."""
    mappers = (mapper for mappers in schema.mappers.values() for mapper in mappers)
    found = dict.fromkeys(relation for mapper in mappers for relation in mapper.relationships)
    return (relation for relation in found if not relation.viewonly)


def _children(relation: RelationshipProperty[Any], key: ForeignKeyConstraint, rule: str) -> tuple[str, str] | None:
    deletes, passive = relation.cascade.delete, relation.passive_deletes
    word = "children" if relation.uselist else "child"
    if deletes and rule in _REFUSING:
        message = f"{relation} deletes children, but the foreign key has {_describe(rule)}."
        return message, 'Write ondelete="CASCADE" and passive_deletes=True, or take "delete" out of cascade=.'
    if deletes and rule != "CASCADE":
        message = f"{relation} deletes children, and the foreign key has {_describe(rule)}."
        return message, f'Write ondelete="CASCADE" and passive_deletes=True, or {word}().'
    if deletes and not passive and relation.uselist:
        return f"{relation} loads every child to delete it.", "Write passive_deletes=True, or children()."
    if not deletes and rule == "CASCADE" and passive != "all":
        message = f"The database deletes the children of {relation}, and the ORM sets their key to NULL."
        return message, f'Write cascade="all" and passive_deletes=True, or {word}().'
    if rule == "SET NULL" and not passive and relation.uselist:
        message = f"{relation} loads every child to set its key to NULL."
        return message, 'Write passive_deletes=True, or children(on_delete="set null").'
    if rule in _REFUSING and passive != "all":
        message = f"The database refuses to delete a row with {relation}, and the ORM sets their key to NULL."
        return message, f'Write passive_deletes="all", or {word}(on_delete="restrict", back_populates=...).'
    return None


def _links(relation: RelationshipProperty[Any], key: ForeignKeyConstraint, rule: str) -> tuple[str, str] | None:
    if rule == "CASCADE" and not relation.passive_deletes:
        message = f"{relation} loads everything on the other side to delete the association rows."
        return message, f'Write passive_deletes=True, or association("{key.table.name}").'
    if rule != "CASCADE" and relation.passive_deletes:
        message = f"{relation} leaves the association rows to a foreign key that has {_describe(rule)}."
        return message, f'Write ondelete="CASCADE", or association("{key.table.name}").'
    return None


def _parent(relation: RelationshipProperty[Any], key: ForeignKeyConstraint, rule: str) -> tuple[str, str] | None:
    if relation.cascade.delete and not relation.single_parent:
        return f"{relation} deletes the parent together with any child.", 'Drop "delete" from cascade=.'
    return None


_COMPARE: Final = {
    RelationshipDirection.ONETOMANY: _children,
    RelationshipDirection.MANYTOMANY: _links,
    RelationshipDirection.MANYTOONE: _parent,
}


def _describe(rule: str) -> str:
    return f"ON DELETE {rule}" if rule else "no ON DELETE"


def _keys(pairs: Iterable[Any]) -> list[ForeignKeyConstraint]:
    """Return the foreign keys that a relationship follows; empty if it joins by another condition."""
    found = {key.constraint: None for above, below in pairs for key in below.foreign_keys if key.column is above}
    return [key for key in found if key is not None and not is_live_key(key)]
