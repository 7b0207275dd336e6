"""Models whose rows are marked, and lists in memory that do what the database does."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import pytest
from hypothesis import event
from sqlalchemy import Column, ForeignKey, Integer, String, Table, select, update
from sqlalchemy.orm import Mapped, mapped_column, selectinload

import sqlkeel
from sqlkeel import (
    Database,
    IntKeyMixin,
    Repository,
    Session,
    SoftDeleteMixin,
    VersionMixin,
    association,
    children,
    include_deleted,
    parent,
    unique_live,
)
from sqlkeel.errors import ForeignKeyViolation, RestoreConflict, UsageError


class Base(sqlkeel.Base):
    pass


class Valued(IntKeyMixin):
    value: Mapped[int] = mapped_column(Integer(), default=0)


post_label = Table(
    "post_label",
    Base.metadata,
    Column("post_id", ForeignKey("post.id"), primary_key=True),
    Column("label_id", ForeignKey("label.id"), primary_key=True),
)


class Person(Valued, SoftDeleteMixin, VersionMixin, Base):
    __tablename__ = "person"
    __table_args__ = (unique_live("name"),)
    name: Mapped[str] = mapped_column(String(10))
    posts: Mapped[list[Post]] = children(back_populates="author")
    fans: Mapped[list[Fan]] = children(back_populates="idol", on_delete="set null")
    debts: Mapped[list[Debt]] = children(back_populates="person", on_delete="restrict")
    media: Mapped[list[Medium]] = children(back_populates="owner")


class Fan(Valued, SoftDeleteMixin, Base):
    """Stays when its idol goes, as the database would let it."""

    __tablename__ = "fan"
    idol_id: Mapped[int | None] = mapped_column(ForeignKey("person.id"), index=True)
    idol: Mapped[Person | None] = parent(back_populates="fans")


class Debt(Valued, SoftDeleteMixin, Base):
    """Keeps its person from being deleted."""

    __tablename__ = "debt"
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id"), index=True)
    person: Mapped[Person] = parent(back_populates="debts")


class Post(Valued, SoftDeleteMixin, VersionMixin, Base):
    """A tree in one table, below another one."""

    __tablename__ = "post"
    author_id: Mapped[int] = mapped_column(ForeignKey("person.id"), index=True)
    author: Mapped[Person] = parent(back_populates="posts")
    above_id: Mapped[int | None] = mapped_column(ForeignKey("post.id"), index=True)
    above: Mapped[Post | None] = parent(back_populates="replies", remote_side="Post.id")
    replies: Mapped[list[Post]] = children(back_populates="above")
    stars: Mapped[list[Star]] = children(back_populates="post")
    labels: Mapped[list[Label]] = association(post_label, back_populates="posts")


class Star(Valued, Base):
    """Is not marked, and so stays."""

    __tablename__ = "star"
    post_id: Mapped[int] = mapped_column(ForeignKey("post.id"), index=True)
    post: Mapped[Post] = parent(back_populates="stars")


class Label(Valued, Base):
    __tablename__ = "label"
    posts: Mapped[list[Post]] = association(post_label, back_populates="labels")


class Medium(Valued, SoftDeleteMixin, Base):
    """A model in two tables."""

    __tablename__ = "medium"
    kind: Mapped[str] = mapped_column(String(10))
    owner_id: Mapped[int] = mapped_column(ForeignKey("person.id"), index=True)
    owner: Mapped[Person] = parent(back_populates="media")
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "medium"}


class Film(Medium):
    __tablename__ = "film"
    __mapper_args__ = {"polymorphic_identity": "film"}
    id: Mapped[int] = mapped_column(ForeignKey("medium.id", ondelete="CASCADE"), primary_key=True)
    clips: Mapped[list[Clip]] = children(back_populates="film")


class Clip(Valued, SoftDeleteMixin, Base):
    __tablename__ = "clip"
    film_id: Mapped[int] = mapped_column(ForeignKey("film.id"), index=True)
    film: Mapped[Film] = parent(back_populates="clips")


Base.registry.configure()

MODELS: Final[dict[str, type[Any]]] = {
    model.__name__: model for model in (Person, Fan, Debt, Post, Star, Label, Medium, Film, Clip)
}
SOFT: Final = ("Person", "Fan", "Debt", "Post", "Medium", "Film", "Clip")


@dataclass(frozen=True)
class Edge:
    """A relation, with what the oracle has to know of it."""

    above: str
    name: str
    below: str
    key: str
    back: str
    goes_along: bool = True


EDGES: Final = (
    Edge("Person", "posts", "Post", "author_id", "author"),
    Edge("Person", "fans", "Fan", "idol_id", "idol", goes_along=False),
    Edge("Person", "debts", "Debt", "person_id", "person", goes_along=False),
    Edge("Person", "media", "Medium", "owner_id", "owner"),
    Edge("Post", "replies", "Post", "above_id", "above"),
    Edge("Post", "stars", "Star", "post_id", "post", goes_along=False),
    Edge("Film", "clips", "Clip", "film_id", "film"),
)


@dataclass
class Row:
    kind: str
    id: int
    values: dict[str, Any]
    deleted_at: datetime | None = None
    deletion: Any = None

    @property
    def is_live(self) -> bool:
        """Whether it is not deleted."""
        return self.deletion is None


@dataclass
class World:
    """The oracle: every row in a list, and the links between posts and labels."""

    rows: list[Row] = field(default_factory=list)
    links: set[tuple[int, int]] = field(default_factory=set)
    shown: bool = False

    def of(self, kind: str) -> list[Row]:
        """Return the rows of a kind, a film being a medium too; deleted ones only where they are shown."""
        kinds = {"Medium", "Film"} if kind == "Medium" else {kind}
        return [row for row in self.rows if row.kind in kinds and (self.shown or row.is_live)]

    def all_of(self, kind: str) -> list[Row]:
        """Return the rows of a kind, deleted or not."""
        return World(self.rows, shown=True).of(kind)

    def below(self, row: Row, edge: Edge) -> list[Row]:
        """Return the rows below one, along an edge."""
        return [one for one in self.of(edge.below) if one.values[edge.key] == row.id]

    def deletion_of(self, row: Row) -> list[Row]:
        """Return the rows that go with one, itself first."""
        live = World(self.rows)
        found = [row]
        for one in found:
            for edge in EDGES:
                if edge.goes_along and one in live.of(edge.above):
                    found.extend(other for other in live.below(one, edge) if other not in found)
        return found

    def is_below_deleted(self, row: Row) -> bool:
        """Return whether a row from which a deletion would reach this one is deleted."""
        edges = [edge for edge in EDGES if edge.goes_along and row in self.all_of(edge.below)]
        return any(
            not above.is_live for edge in edges for above in self.all_of(edge.above) if above.id == row.values[edge.key]
        )

    def kinds_below(self, kind: str) -> set[str]:
        """Return the kinds that a deletion of this kind reaches."""
        found = [kind, *(["Film"] if kind == "Medium" else [])]
        for one in found:
            for edge in EDGES:
                if edge.goes_along and edge.above == one:
                    found.extend({edge.below, *(["Film"] if edge.below == "Medium" else [])} - set(found))
        return set(found)


class Play:
    """Do the same to the database and to the oracle."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.world = World()

    async def step(self, name: str, a: int, b: int, c: int) -> None:
        """Do one thing, in a transaction; the numbers choose to what."""
        async with self.db.transaction() as session:
            await getattr(self, name)(session, a, b, c)
            event(name)

    def pick(self, kind: str, number: int, *, live: bool | None = None) -> Row | None:
        """Return a row of a kind."""
        rows = [row for row in self.world.all_of(kind) if live is None or row.is_live == live]
        return rows[number % len(rows)] if rows else None

    async def create(self, session: Session, a: int, b: int, c: int) -> None:
        """Insert a row below another, living or not."""
        kind = ("Fan", "Debt", "Post", "Star", "Label", "Medium", "Film", "Clip")[a % 8]
        values: dict[str, Any] = {"value": c % 3}
        for edge in EDGES:
            if edge.below == kind or (edge.below == "Medium" and kind == "Film"):
                above = self.pick(edge.above, b)
                if edge.key == "above_id":
                    above = above if c % 2 else None
                elif above is None:
                    return
                values[edge.key] = None if above is None else above.id
        made = MODELS[kind](**values)
        session.add(made)
        await session.flush()
        self.world.rows.append(Row(kind, made.id, values))

    async def upsert(self, session: Session, a: int, b: int, c: int) -> None:
        """Insert, update or revive a person."""
        name, revive = "abc"[a % 3], bool(b % 2)
        values = {"name": name, "value": c % 3}
        made, created = result = await Repository(session, Person).upsert(values, on=[Person.name], revive=revive)
        same = [row for row in self.world.all_of("Person") if row.values["name"] == name]
        live = [row for row in same if row.is_live]
        dead = sorted((row for row in same if not row.is_live), key=lambda row: (row.deleted_at, row.id))
        expected = live[0] if live else dead[-1] if revive and dead else None
        assert (created, result.revived) == (expected is None, expected is not None and not live)
        if expected is None:
            self.world.rows.append(Row("Person", made.id, values))
        else:
            assert made.id == expected.id
            expected.values.update(values)
            expected.deleted_at = expected.deletion = None

    async def link(self, session: Session, a: int, b: int, c: int) -> None:
        """Give a post a label."""
        post, label = self.pick("Post", a, live=True), self.pick("Label", b)
        if post is not None and label is not None and (post.id, label.id) not in self.world.links:
            found = await session.get_one(Post, post.id, options=[selectinload(Post.labels)])
            found.labels.append(await session.get_one(Label, label.id))
            self.world.links.add((post.id, label.id))

    async def delete(self, session: Session, a: int, b: int, c: int) -> None:
        """Delete a row, with other rows loaded."""
        row = self.pick((*SOFT, "Person", "Person", "Post")[a % 10], b, live=True)
        if row is None:
            return
        held = await load_everything(session) if c % 2 else []
        obj = await session.get_one(MODELS[row.kind], row.id)
        restricted = row.kind == "Person" and any(
            debt.is_live and debt.values["person_id"] == row.id for debt in self.world.all_of("Debt")
        )
        if restricted:
            with pytest.raises(ForeignKeyViolation):
                await session.delete(obj)
            return
        gone = self.world.deletion_of(row)
        await session.delete(obj)
        for one in gone:
            one.deleted_at, one.deletion = obj.deleted_at, obj.deletion_id
        assert not {id(one) for one in held if one in session and one.is_deleted}

    async def restore(self, session: Session, a: int, b: int, c: int) -> None:
        """Restore a row, or be told why not."""
        row = self.pick(SOFT[a % len(SOFT)], b, live=False)
        if row is None:
            return
        repository: Repository[Any] = Repository(session, MODELS[row.kind])
        obj = await repository.get_one(row.id, include_deleted=True)
        names = {one.values["name"] for one in self.world.all_of("Person") if one.is_live}
        if self.world.is_below_deleted(row):
            with pytest.raises(UsageError):
                await repository.restore(obj)
        elif row.kind == "Person" and row.values["name"] in names:
            with pytest.raises(RestoreConflict):
                await repository.restore(obj)
        else:
            await repository.restore(obj)
            kinds, deletion = self.world.kinds_below(row.kind), row.deletion
            for one in self.world.rows:
                if one.kind in kinds and one.deletion == deletion:
                    one.deleted_at = one.deletion = None

    async def move(self, session: Session, a: int, b: int, c: int) -> None:
        """Give a living row another one above."""
        edge = EDGES[a % len(EDGES)]
        row, above = self.pick(edge.below, b, live=True), self.pick(edge.above, c)
        if row is None or above is None or above is row:
            return
        obj = await session.get_one(MODELS[edge.below], row.id)
        setattr(obj, edge.key, above.id)
        row.values[edge.key] = above.id

    async def change(self, session: Session, a: int, b: int, c: int) -> None:
        """Change the rows with one value to another, by a statement; the deleted ones too where they are shown."""
        kind, model = (SOFT[a % len(SOFT)], MODELS[SOFT[a % len(SOFT)]])
        if model is Film:
            return
        shown = bool(c % 2)
        statement = update(model).where(model.value == b % 3).values(value=c % 3)
        if shown:
            with include_deleted(session):
                await session.execute(statement)
        else:
            await session.execute(statement)
        for row in World(self.world.rows, shown=shown).of(kind):
            if row.values["value"] == b % 3:
                row.values["value"] = c % 3


async def load_everything(session: Session) -> list[Any]:
    """Load the living rows with what is below them."""
    held: list[Any] = []
    for edge in EDGES:
        model = MODELS[edge.above]
        held.extend(await session.scalars(select(model).options(selectinload(getattr(model, edge.name)))))
    return [one for one in held if isinstance(one, SoftDeleteMixin)]
