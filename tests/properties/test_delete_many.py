"""Random graphs: `delete_many` leaves what deleting the rows one by one leaves, and refuses what that refuses."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st
from sqlalchemy import select

from sqlkeel import Database, Repository, Session
from sqlkeel.errors import ForeignKeyViolation
from tests.properties.examples import tried
from tests.properties.soft_delete_world import Base, Clip, Debt, Fan, Film, Medium, Person, Post

pytestmark = pytest.mark.tables(Base.metadata)

SHOWN = {"include_deleted": True}
MODELS = (Person, Fan, Debt, Post, Medium, Film, Clip)
PLACES = st.integers(0, 40)


class _Undone(Exception):
    """Ends a savepoint, so that the rows are as they were."""


async def plant(session: Session, rows: list[tuple[int, int]]) -> None:
    """Make two people and *rows*: each of a kind, below one of the rows that there are."""
    people = [Person(id=n + 1, name=str(n)) for n in range(2)]
    session.add_all(people)
    made: dict[type[Any], list[Any]] = {Person: people, Post: [], Film: []}
    for place, (kind, above) in enumerate(rows, start=10):
        person = people[above % 2].id
        match kind % 6:
            case 0:
                other = made[Post][above % len(made[Post])].id if made[Post] and above % 3 else None
                one: Any = Post(id=place, author_id=person, above_id=other)
            case 1:
                one = Film(id=place, owner_id=person)
            case 2 if made[Film]:
                one = Clip(id=place, film_id=made[Film][above % len(made[Film])].id)
            case 3:
                one = Fan(id=place, idol_id=person)
            case 4 if above % 5 == 0:
                one = Debt(id=place, person_id=person)
            case _:
                one = Medium(id=place, owner_id=person)
        session.add(one)
        made.setdefault(type(one), []).append(one)
        await session.flush()
    session.expunge_all()


async def rows_of(session: Session) -> dict[str, list[Any]]:
    """Return of each row its key, whether it is deleted, and its version."""
    found: dict[str, list[Any]] = {}
    for model in MODELS:
        columns = [model.id, model.is_deleted, *([model.version] if hasattr(model, "version") else [])]
        rows = await session.execute(select(*columns).order_by(model.id), execution_options=SHOWN)
        found[model.__name__] = [tuple(row) for row in rows]
    return found


async def one_by_one(session: Session, model: type[Any], keys: list[int]) -> int:
    """Delete the rows of *keys* that there are, those below others of the same tree first."""
    repository, deleted = Repository(session, model), 0
    for key in sorted(set(keys), reverse=True):
        if (obj := await repository.get(key)) is not None:
            await repository.delete(obj)
            deleted += 1
    return deleted


async def attempt(session: Session, way: Any) -> tuple[Any, dict[str, list[Any]]]:
    """Return what *way* returns or refuses, and the rows that it leaves; all is taken back."""
    result: Any = None
    left: dict[str, list[Any]] = {}
    try:
        async with session.begin_nested():
            try:
                async with session.begin_nested():
                    result = await way()
            except ForeignKeyViolation as error:
                result = type(error)
            left = await rows_of(session)
            raise _Undone
    except _Undone:
        return result, left


@given(
    rows=st.lists(st.tuples(PLACES, PLACES), min_size=3, max_size=25),
    model=st.sampled_from([Person, Post, Medium, Film, Person, Post, Clip, Fan, Debt]),
    places=st.lists(PLACES, min_size=1, max_size=8),
    deleted_before=st.lists(st.sampled_from(range(10, 36)), max_size=3),
)
@tried(40)
async def test_they_leave_the_same(
    db: Database, rows: list[tuple[int, int]], model: type[Any], places: list[int], deleted_before: list[int]
) -> None:
    """Rows, versions, the count and the refusal are those of deleting one by one, whatever the graph and the keys."""
    async with db.transaction() as session:
        for table in reversed(Base.metadata.sorted_tables):
            await session.execute(table.delete())
        await plant(session, rows)
        await one_by_one(session, Post, deleted_before)
        session.expunge_all()
        known = [404, *await session.scalars(select(model.id).order_by(model.id), execution_options=SHOWN)]
        keys = [known[place % len(known)] for place in places]

        expected = await attempt(session, lambda: one_by_one(session, model, keys))
        session.expunge_all()
        found = await attempt(session, lambda: Repository(session, model).delete_many(keys))

    event(f"{model.__name__}: {'refused' if expected[0] is ForeignKeyViolation else min(expected[0], 3)}")
    assert found == expected
