"""Models without a live row under a deleted one."""

from __future__ import annotations

from sqlalchemy import ForeignKey, ForeignKeyConstraint, String
from sqlalchemy.orm import Mapped, mapped_column

import sqlkeel
from sqlkeel import DualIDMixin, IntKeyMixin, SoftDeleteMixin, VersionMixin, live_parent
from sqlkeel.models import children, parent


class Base(sqlkeel.Base):
    pass


class Article(IntKeyMixin, SoftDeleteMixin, VersionMixin, Base):
    """Declared before its parents, and points to two of them."""

    __tablename__ = "live_article"
    __table_args__ = (live_parent("author_id"), live_parent("journal_id"))
    title: Mapped[str | None] = mapped_column(String(50), unique=True)
    author_id: Mapped[int] = mapped_column(ForeignKey("live_author.id"), index=True)
    author: Mapped[Author] = parent(back_populates="articles")
    journal_id: Mapped[int | None] = mapped_column(ForeignKey("live_journal.id"), index=True)
    journal: Mapped[Journal | None] = parent(back_populates="articles")


class Author(DualIDMixin, SoftDeleteMixin, Base):
    __tablename__ = "live_author"
    articles: Mapped[list[Article]] = children(back_populates="author", order_by="Article.id")
    notes: Mapped[list[Note]] = children()


class Journal(IntKeyMixin, SoftDeleteMixin, Base):
    __tablename__ = "live_journal"
    articles: Mapped[list[Article]] = children(back_populates="journal", on_delete="set null")


class Note(IntKeyMixin, SoftDeleteMixin, Base):
    """A child without the second key: what this file is about can happen to it."""

    __tablename__ = "live_note"
    author_id: Mapped[int] = mapped_column(ForeignKey("live_author.id"), index=True)


class Node(IntKeyMixin, SoftDeleteMixin, Base):
    """A tree in one table."""

    __tablename__ = "live_node"
    __table_args__ = (live_parent("parent_id"),)
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("live_node.id"), index=True)
    below: Mapped[list[Node]] = children(back_populates="above")
    above: Mapped[Node | None] = parent(back_populates="below", remote_side="Node.id")


class Cell(SoftDeleteMixin, Base):
    __tablename__ = "live_cell"
    row: Mapped[int] = mapped_column("row_no", primary_key=True, autoincrement=False)
    column: Mapped[int] = mapped_column("column_no", primary_key=True, autoincrement=False)


class Mark(IntKeyMixin, SoftDeleteMixin, Base):
    """A key of two columns; the foreign key stands behind `live_parent`."""

    __tablename__ = "live_mark"
    __table_args__ = (
        live_parent("row_no", "column_no"),
        ForeignKeyConstraint(["row_no", "column_no"], ["live_cell.row_no", "live_cell.column_no"]),
    )
    row: Mapped[int] = mapped_column("row_no")
    column: Mapped[int] = mapped_column("column_no")
