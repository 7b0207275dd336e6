"""Tests of sqlkeel.soft_delete._living: a condition that counts only where deleted rows are hidden."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, create_engine, func, inspect, outerjoin, select
from sqlalchemy.orm import Session

from sqlkeel.sessions._session import SyncSession
from sqlkeel.soft_delete._living import HIDING, Living, living
from tests.soft_delete.library import DEAD, Author, Base, Book

SHOWN = {"include_deleted": True}


@pytest.fixture
def engine() -> Iterator[Engine]:
    """Ann has a book, and one that is deleted."""
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(Author(name="Ann", books=[Book(title="live"), Book(title="dead", **DEAD)]))
        session.commit()
    yield engine
    engine.dispose()


class TestLiving:
    def test_it_is_one_of_our_statements_alone(self, engine: Engine) -> None:
        """A SELECT that has run in a session of ours runs as before in another, as a part of it too."""
        books = select(func.count(Book.id)).select_from(outerjoin(Author, Book)).scalar_subquery()
        with SyncSession(engine) as ours, Session(engine) as other:
            assert ours.scalar(select(books)) == 1
            assert other.scalar(select(books)) == 2
            assert ours.scalar(select(books), execution_options=SHOWN) == 2
            assert ours.scalar(select(books)) == 1

    def test_it_brings_no_table(self) -> None:
        """It would be one beside those that are joined."""
        condition = living(inspect(Book))

        assert list(condition.get_children()) == []
        assert "FROM" not in str(select(1).where(condition))

    def test_what_sqlalchemy_shares_between_selects(self) -> None:
        """The condition is written by a note in what the compiler keeps, whose name is private (canary)."""
        condition = living(inspect(Book))
        compiler = select(1).where(condition).compile()
        compiler._global_attributes[HIDING] = True

        assert isinstance(condition, Living)
        assert compiler.process(condition) == "(book.deleted_at IS NULL)"
