"""Every shape of query leaves deleted rows out, and shows them when it is asked to; those that do not are named."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import selectinload

from sqlkeel.sessions import Database, Session
from sqlkeel.soft_delete import include_deleted
from tests.soft_delete import shapes_of_queries, shapes_of_sessions, shapes_uncovered
from tests.soft_delete.library import Author, Base, Book, fill
from tests.soft_delete.shapes import ALL, LIVE, SHAPES, UNCOVERED, titles

pytestmark = pytest.mark.tables(Base.metadata)
CHAPTERS = (shapes_of_queries, shapes_of_sessions, shapes_uncovered)
"""Each adds its functions to SHAPES or UNCOVERED when it is imported, and in this order."""

PAGE = Path(__file__).parents[2] / "docs" / "patterns" / "soft-delete.md"


def render_coverage() -> str:
    """Return the tables of the documentation."""
    covered = [f"| {name.replace('_', ' ')} | left out |" for name in SHAPES]
    rest = [f"| {name.replace('_', ' ')} | {then} | {instead} |" for name, (_, _, then, instead) in UNCOVERED.items()]
    return "\n".join(
        [
            "| query | deleted rows |",
            "|---|---|",
            *covered,
            "",
            "| not covered | what happens | instead |",
            "|---|---|---|",
            *rest,
            "",
        ]
    )


@pytest.mark.parametrize("name", SHAPES)
class TestShapes:
    async def test_deleted_rows_are_left_out(self, db: Database, name: str) -> None:
        """No shape of query finds a deleted row."""
        query, expected, _ = SHAPES[name]
        await fill(db)

        async with db.session() as session:
            found = await query(session)

        assert found == expected

    async def test_deleted_rows_are_shown_on_request(self, db: Database, name: str) -> None:
        """include_deleted, here for a whole session, shows them in every shape of query."""
        query, _, expected = SHAPES[name]
        await fill(db)

        async with Session(db.engine, execution_options={"include_deleted": True}) as session:
            found = await query(session)

        assert found == expected

    async def test_deleted_rows_are_shown_in_a_block(self, db: Database, name: str) -> None:
        """So does include_deleted(session), in its block."""
        query, _, expected = SHAPES[name]
        await fill(db)

        async with db.session() as session:
            with include_deleted(session):
                found = await query(session)

        assert found == expected


class TestUncovered:
    @pytest.mark.parametrize("name", UNCOVERED)
    async def test_what_happens(self, db: Database, name: str) -> None:
        """What cannot be filtered does what the documentation says."""
        query, expected, _, _ = UNCOVERED[name]
        await fill(db)

        async with db.session() as session:
            found = await query(session)

        assert found == expected

    def test_the_documentation_says_so(self) -> None:
        """The tables in docs/patterns/soft-delete.md are those of this file."""
        assert render_coverage() in PAGE.read_text()


class TestOnRequest:
    async def test_for_one_statement(self, db: Database) -> None:
        """The option of one statement holds for that statement."""
        await fill(db)

        async with db.session() as session:
            shown = await session.scalars(select(Book).execution_options(include_deleted=True))
            hidden = await session.scalars(select(Book))

            assert titles(shown) == ALL
            assert titles(hidden) == LIVE

    async def test_eager_loads_follow_their_statement(self, db: Database) -> None:
        """What is loaded with a statement shows what the statement shows."""
        await fill(db)
        statement = select(Author).where(Author.id == 1).options(selectinload(Author.books))

        async with db.session() as session:
            author = (await session.scalars(statement, execution_options={"include_deleted": True})).one()

        assert titles(author.books) == ["dead", "live 1", "live 2"]

    async def test_lazy_loads_follow_their_statement(self, db: Database) -> None:
        """What is loaded later, from an object found with include_deleted, shows deleted rows too."""
        await fill(db)

        async with db.session() as session:
            author = await session.get_one(Author, 1, execution_options={"include_deleted": True})
            books = await author.awaitable_attrs.books

        assert titles(books) == ["dead", "live 1", "live 2"]

    async def test_false_asks_for_nothing(self, db: Database) -> None:
        """include_deleted=False is the same as nothing."""
        await fill(db)

        async with db.session() as session:
            found = await session.scalars(select(Book), execution_options={"include_deleted": False})

        assert titles(found) == LIVE
