"""Models, and a behaviour that notes its calls, for the tests of behaviours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

from sqlkeel.sessions._behaviour import Behaviour


class Base(DeclarativeBase):
    """A project's own."""


class Marked:
    """What the behaviours of these tests are registered for."""


class Framed:
    """Another one."""


class Wall(Base):
    """Something without a behaviour, with pictures."""

    __tablename__ = "wall"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    pictures: Mapped[list[Picture]] = relationship(cascade="all, delete", back_populates="wall")


class Picture(Marked, Framed, Base):
    """Something with two."""

    __tablename__ = "picture"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    version: Mapped[int] = mapped_column()
    wall_id: Mapped[int | None] = mapped_column(ForeignKey("wall.id"))
    wall: Mapped[Wall | None] = relationship(back_populates="pictures")
    __mapper_args__ = {"version_id_col": version}


class Note(Marked, Base):
    """Something that leads to a picture, with methods whose names once meant something."""

    __tablename__ = "note"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    picture_id: Mapped[int | None] = mapped_column(ForeignKey("picture.id"))
    picture: Mapped[Picture | None] = relationship()
    __soft_delete__ = True

    def __delete_from__(self, session: Session) -> None:
        """Fail where a session calls it."""
        raise AssertionError

    def __version_conflict__(self, session: Session) -> None:
        """Fail where a session calls it."""
        raise AssertionError


class Noting(Behaviour):
    """Notes each call, and answers as it was told."""

    def __init__(self, *, deletes: bool = False, hides: bool = False, conflict: Exception | None = None) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.answers = deletes, hides, conflict

    def delete(self, session: Any, obj: Any) -> bool:
        """Note the object, and answer whether it is deleted."""
        self.calls.append(("delete", obj))
        return self.answers[0]

    def hides(self, session: Any, obj: Any, **options: Any) -> bool:
        """Note the object, and answer whether it is hidden."""
        self.calls.append(("hides", obj))
        return self.answers[1]

    def conflict(self, session: Any, obj: Any) -> Exception | None:
        """Note the object, and answer with the error."""
        self.calls.append(("conflict", obj))
        return self.answers[2]

    @contextmanager
    def around_flush(self, session: Any) -> Iterator[None]:
        """Note the flush, before and after it."""
        self.calls.append(("before the flush",))
        yield
        self.calls.append(("after the flush",))

    def at_savepoint(self, session: Any, savepoint: Any) -> None:
        """Note the savepoint."""
        self.calls.append(("savepoint", savepoint.nested))

    def at_load_inside(self, state: Any) -> None:
        """Note the relationship."""
        self.calls.append(("load", state.loader_strategy_path.prop.key))
