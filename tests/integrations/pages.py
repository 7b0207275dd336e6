"""A row that several people edit, for the tests of conditional requests."""

from __future__ import annotations

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

import sqlkeel
from sqlkeel import Database, IntKeyMixin, VersionMixin

__all__ = ["Base", "Page", "add", "title_of"]


class Base(sqlkeel.Base):
    """The base of the pages."""


class Page(IntKeyMixin, VersionMixin, Base):
    """A page with a version."""

    __tablename__ = "page"
    title: Mapped[str] = mapped_column(String(50))


async def add(db: Database) -> str:
    """Commit a page that was changed once, and return its path."""
    async with db.transaction() as session:
        page = Page(title="first")
        session.add(page)
        await session.flush()
        page.title = "old"
    return f"/pages/{page.id}"


async def title_of(db: Database, path: str) -> str:
    """Return the title of the page at *path*."""
    async with db.session() as session:
        return (await session.get_one(Page, int(path.rpartition("/")[2]))).title
