"""Tests of soft_delete._named_beside: what an ``update()`` or ``delete()`` names beside the class that it writes.

The shapes that every database knows stand in `test_soft_delete_coverage`.
"""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import ForeignKey, String, bindparam, delete, insert, join, or_, orm, select, update
from sqlalchemy.orm import Mapped, aliased, mapped_column, with_polymorphic

import sqlkeel
from sqlkeel.errors import NotSupported
from sqlkeel.models import IntKeyMixin
from sqlkeel.sessions import Database
from sqlkeel.soft_delete import SoftDeleteMixin, include_deleted
from tests.soft_delete.library import DEAD, SHOWN


class Base(sqlkeel.Base):
    pass


pytestmark = pytest.mark.tables(Base.metadata)


class Plant(IntKeyMixin, Base):
    """Has no mark, but classes below it have."""

    __tablename__ = "plant"
    kind: Mapped[str] = mapped_column(String(10))
    name: Mapped[str] = mapped_column(String(10), default="x")
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "plant"}


class Tree(SoftDeleteMixin, Plant):
    """Has its mark in a table of its own."""

    __tablename__ = "tree"
    id: Mapped[int] = mapped_column(ForeignKey("plant.id"), primary_key=True)
    __mapper_args__ = {"polymorphic_identity": "tree"}


class Herb(SoftDeleteMixin, Plant):
    """Has its mark in the table of all."""

    __mapper_args__ = {"polymorphic_identity": "herb"}


class Stone(IntKeyMixin, SoftDeleteMixin, Base):
    __tablename__ = "stone"
    kind: Mapped[str] = mapped_column(String(10), default="stone")
    weight: Mapped[int] = mapped_column(default=0)
    below_id: Mapped[int | None] = mapped_column(ForeignKey("stone.id"), index=True)
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "stone"}


class Gem(Stone):
    """Has its mark in the table of its base."""

    __tablename__ = "gem"
    id: Mapped[int] = mapped_column(ForeignKey("stone.id"), primary_key=True)
    cut: Mapped[str] = mapped_column(String(10), default="round")
    __mapper_args__ = {"polymorphic_identity": "gem"}


class Sign(IntKeyMixin, Base):
    """Points to the others by numbers, and has no mark."""

    __tablename__ = "sign"
    at: Mapped[int]
    text: Mapped[str] = mapped_column(String(10), default="old")


async def fill(db: Database) -> None:
    """Commit six signs: at 1 a plain row, at 2 and 3 one with a table of its own, at 4 and 5 without; 3 and 5 are dead.

    Stone 2 lies on stone 1, and stone 5 on stone 3.
    """
    rows: list[tuple[Any, dict[str, Any]]] = [
        *((Plant, {"id": at, "kind": "plant"}) for at in (1,)),
        *((Plant, {"id": at, "kind": "tree"}) for at in (2, 3)),
        (Plant, {"id": 4, "kind": "herb"}),
        (Plant, {"id": 5, "kind": "herb", **DEAD}),
        (Tree, {"id": 2}),
        (Tree, {"id": 3, **DEAD}),
        (Stone, {"id": 1, "kind": "stone"}),
        (Stone, {"id": 2, "kind": "gem", "below_id": 1, "weight": 5}),
        (Stone, {"id": 3, "kind": "gem", **DEAD}),
        (Stone, {"id": 4, "kind": "stone"}),
        (Stone, {"id": 5, "kind": "stone", "below_id": 3}),
        (Gem, {"id": 2}),
        (Gem, {"id": 3}),
        *((Sign, {"id": at, "at": at, "text": "old"}) for at in range(1, 7)),
    ]
    async with db.transaction() as session:
        for model, values in rows:
            await session.execute(insert(model.__table__).values(**values))


async def turned(db: Database, *conditions: Any, **options: Any) -> list[int]:
    """Change the signs on some conditions, and return where they are."""
    await fill(db)
    async with db.session() as session:
        await session.execute(update(Sign).where(*conditions).values(text="new"), execution_options=options)
        return sorted(await session.scalars(select(Sign.at).where(Sign.text == "new")))


class TestUpdate:
    async def test_a_base_without_the_mark(self, db: Database) -> None:
        """Of a class that has no mark, deleted rows of those below it do not count."""
        assert await turned(db, Sign.at == Plant.id) == [1, 2, 4]

    async def test_an_alias_of_a_base_without_the_mark(self, db: Database) -> None:
        """Nor do they under another name."""
        assert await turned(db, Sign.at == aliased(Plant).id) == [1, 2, 4]

    async def test_a_table_below_a_base_without_the_mark(self, db: Database) -> None:
        """A class whose own table has the mark is asked there."""
        assert await turned(db, Sign.at == Tree.id) == [2]

    async def test_a_mark_in_the_table_of_the_base(self, db: Database) -> None:
        """A class whose base has the mark is asked by its key, however the objects are brought up to date."""
        assert await turned(db, Sign.at == Gem.id) == [2]

    async def test_it_stays_so_when_the_rows_are_read_first(self, db: Database) -> None:
        """The SELECT with which MariaDB reads the keys before changes nothing in the UPDATE."""
        assert await turned(db, Sign.at == Gem.id, synchronize_session="fetch") == [2]

    async def test_an_alias_of_several_tables(self, db: Database) -> None:
        """An alias of a class in two tables is a subquery, and is asked for its mark."""
        assert await turned(db, Sign.at == aliased(Gem).id) == [2]

    async def test_columns_of_both_tables(self, db: Database) -> None:
        """Columns of two tables of a class are those of one row, as in a SELECT."""
        assert await turned(db, Sign.at == Gem.id, Gem.weight == 0) == []

    async def test_columns_of_the_upper_table_alone(self, db: Database) -> None:
        """A column of the base stands for a row of the class, as in a SELECT."""
        assert await turned(db, Sign.at == Gem.weight + 1, Gem.weight == 0) == []

    async def test_behind_or(self, db: Database) -> None:
        """A class that is named behind or_() only is asked, too."""
        assert await turned(db, Sign.at > 1, or_(Sign.at == Gem.id, Sign.id == Gem.id)) == [2]

    async def test_rows_of_the_same_class(self, db: Database) -> None:
        """Another row of the written class counts while it is alive."""
        await fill(db)
        below = aliased(Stone)

        async with db.session() as session:
            await session.execute(update(Stone).where(Stone.below_id == below.id).values(weight=9))
            found = sorted(await session.scalars(select(Stone.id).where(Stone.weight == 9)))

        assert found == [2]

    async def test_the_row_itself(self, db: Database) -> None:
        """Another table of the row that is written is asked for that row."""
        await fill(db)

        async with db.session() as session:
            await session.execute(update(Gem).where(Stone.weight == 5).values(cut="square"))
            found = (await session.scalars(select(Gem.id).where(Gem.cut == "square"), execution_options=SHOWN)).all()

        assert found == [2]

    async def test_a_subquery_is_none_of_it(self, db: Database) -> None:
        """A subquery has its conditions inside."""
        stones = select(Gem.id).subquery()

        assert await turned(db, Sign.at == stones.c.id) == [2]

    async def test_an_alias_of_a_subquery_without_the_mark(self, db: Database) -> None:
        """An alias of a subquery that does not read the mark has the conditions inside, too."""
        stones = aliased(Stone, select(Stone.id).subquery())

        assert await turned(db, Sign.at == stones.id) == [1, 2, 4, 5]

    async def test_the_table_of_the_class(self, db: Database) -> None:
        """A statement on the table finds all rows of it, with a condition on the class as well."""
        await fill(db)
        stones: Any = Stone.__table__

        async with db.session() as session:
            await session.execute(update(stones).where(Stone.id == 3).values(weight=9))
            found = (await session.scalars(select(Stone.id).where(Stone.weight == 9), execution_options=SHOWN)).all()

        assert found == [3]

    async def test_a_class_beside_a_table(self, db: Database) -> None:
        """Beside a table, a class leaves its deleted rows out."""
        await fill(db)
        signs: Any = Sign.__table__

        async with db.session() as session:
            await session.execute(update(signs).where(signs.c.at == Gem.id).values(text="new"))
            found = sorted(await session.scalars(select(Sign.at).where(Sign.text == "new")))

        assert found == [2]

    async def test_a_block(self, db: Database) -> None:
        """In a block they count, and the statement that was executed there does so behind it no more."""
        await fill(db)
        statement = update(Sign).where(Sign.at == Gem.id).values(text="new")

        async with db.session() as session:
            with include_deleted(session):
                await session.execute(statement)
            shown = sorted(await session.scalars(select(Sign.at).where(Sign.text == "new")))
            await session.execute(update(Sign).values(text="old"))
            await session.execute(statement)
            hidden = sorted(await session.scalars(select(Sign.at).where(Sign.text == "new")))

        assert (shown, hidden) == ([2, 3], [2])

    @pytest.mark.parametrize("how", ["auto", "fetch"])
    async def test_loaded_objects_follow(self, db: Database, how: Any) -> None:
        """Of the loaded objects those change whose rows have changed."""
        await fill(db)

        async with db.session() as session:
            signs = (await session.scalars(select(Sign).where(Sign.at.in_([2, 3])).order_by(Sign.at))).all()
            statement = update(Sign).where(Sign.at == Gem.id).values(text="new")
            await session.execute(statement, execution_options={"synchronize_session": how})

        assert [sign.text for sign in signs] == ["new", "old"]

    async def test_what_returns_objects(self, postgres: Database) -> None:
        """An UPDATE that objects are loaded from is one like any other."""
        await fill(postgres)
        statement = update(Sign).where(Sign.at == Gem.id).values(text="new").returning(Sign)

        async with postgres.session() as session:
            found = (await session.scalars(select(Sign).from_statement(statement))).all()

        assert [sign.at for sign in found] == [2]

    async def test_what_sets_both(self, mariadb: Database) -> None:
        """An UPDATE that sets columns of two classes sets none of a deleted row."""
        await fill(mariadb)
        values: dict[Any, Any] = {Sign.text: "new", Stone.weight: 9}

        async with mariadb.session() as session:
            statement = update(Sign).where(Sign.at == Stone.id).values(values)
            await session.execute(statement, execution_options={"synchronize_session": False})
            found = (await session.scalars(select(Stone.id).where(Stone.weight == 9), execution_options=SHOWN)).all()

        assert sorted(found) == [1, 2, 4, 5]


@pytest.fixture(params=["postgres", "mariadb"])
def deletes_by_join(request: pytest.FixtureRequest) -> Database:
    """Each database that has a DELETE over two tables."""
    database: Database = request.getfixturevalue(request.param)
    return database


class TestDelete:
    @pytest.mark.parametrize(("options", "left"), [({}, [1, 3, 4, 5, 6]), (SHOWN, [1, 4, 5, 6])])
    async def test_another_class(self, deletes_by_join: Database, options: Any, left: list[int]) -> None:
        """A deleted row of another class deletes nothing, unless it is asked for."""
        await fill(deletes_by_join)
        options = {"is_delete_using": True, **options}

        async with deletes_by_join.session() as session:
            await session.execute(delete(Sign).where(Sign.at == Gem.id), execution_options=options)
            found = sorted(await session.scalars(select(Sign.at)))

        assert found == left

    async def test_two_with_the_mark(self, deletes_by_join: Database) -> None:
        """Both rows have to be alive."""
        await fill(deletes_by_join)
        below = aliased(Stone)
        options = {"synchronize_session": False}

        async with deletes_by_join.session() as session:
            await session.execute(delete(Gem).where(Gem.id == 3), execution_options=options)
            await session.execute(
                delete(Stone).where(Stone.below_id == below.id, Stone.id == 5), execution_options=options
            )
            found = sorted(await session.scalars(select(Stone.id)))

        assert found == [1, 2, 4, 5]


CORE = {"dml_strategy": "core_only"}


class TestCoreOnly:
    """SQLAlchemy's ``dml_strategy="core_only"`` asks no option of a statement."""

    async def test_update(self, db: Database) -> None:
        """An UPDATE leaves deleted rows alone, of the class and of another one."""
        await fill(db)

        async with db.session() as session:
            await session.execute(update(Sign).where(Sign.at == Gem.id).values(text="new"), execution_options=CORE)
            await session.execute(update(Stone).values(weight=9), execution_options=CORE)
            signs = sorted(await session.scalars(select(Sign.at).where(Sign.text == "new")))
            found = await session.scalars(select(Stone.id).where(Stone.weight == 9), execution_options=SHOWN)

            assert signs == [2]
            assert sorted(found) == [1, 2, 4, 5]

    async def test_a_list_of_parameters(self, db: Database) -> None:
        """With a list of parameters, too, as conditions may stand in such a statement."""
        await fill(db)
        statement = update(Gem).where(Gem.id == bindparam("at")).values(cut=bindparam("new"))
        rows = [{"at": 2, "new": "oval"}, {"at": 3, "new": "oval"}]

        async with db.session() as session:
            await session.execute(statement, rows, execution_options=CORE)
            found = await session.scalars(select(Gem.id).where(Gem.cut == "oval"), execution_options=SHOWN)

            assert found.all() == [2]

    async def test_delete(self, db: Database) -> None:
        """A DELETE leaves them, unless they are asked for."""
        await fill(db)

        async with db.session() as session:
            await session.execute(delete(Gem), execution_options=CORE)
            left = (await session.scalars(select(Gem.__table__.c.id))).all()
            await session.execute(delete(Gem), execution_options={**CORE, **SHOWN})
            none = (await session.scalars(select(Gem.__table__.c.id))).all()

        assert (left, none) == ([3], [])


class TestRefused:
    @pytest.mark.parametrize(
        ("statement", "message"),
        [
            (update(aliased(Stone)).values(weight=1), "alias of Stone would write"),
            (delete(aliased(Stone)), "alias of Stone would write"),
            (update(orm.join(Sign, Stone, Sign.at == Stone.id)).values({Sign.text: "new"}), "of a join"),
            (update(join(Sign, Stone, Sign.at == Stone.id)).values({Sign.text: "new"}), "of a join"),
            (update(Sign).where(Sign.at == aliased(Gem, flat=True).id), "alias of Gem"),
            (update(Sign).where(Sign.at == with_polymorphic(Stone, [Gem]).id), "alias of Stone"),
        ],
    )
    async def test_what_has_no_place_for_the_condition(self, db: Database, statement: Any, message: str) -> None:
        """A statement in which the condition would stand on other rows, or nowhere, is refused."""
        async with db.session() as session:
            with pytest.raises(NotSupported, match=message):
                await session.execute(statement)

    async def test_an_alias_of_a_class_without_the_mark(self, mariadb: Database) -> None:
        """What has no mark is no matter of ours."""
        await fill(mariadb)
        sign = aliased(Sign)

        async with mariadb.session() as session:
            statement = update(sign).where(sign.at == 1).values(text="new")
            await session.execute(statement, execution_options={"synchronize_session": False})
            found = (await session.scalars(select(Sign.at).where(Sign.text == "new"))).all()

        assert found == [1]

    @pytest.mark.parametrize(
        "inner",
        [
            update(Sign).where(Sign.at == Stone.id).values(text="new").returning(Sign.id),
            delete(Gem).returning(Gem.id),
            update(Plant).values(name="new").returning(Plant.id),
        ],
    )
    async def test_in_another_statement(self, postgres: Database, inner: Any) -> None:
        """An UPDATE or DELETE in a CTE takes only conditions on its own table; more is refused, in each statement."""
        written = inner.cte()
        copied = insert(Sign).from_select(["at"], select(written.c.id))

        async with postgres.session() as session:
            for statement in (select(written.c.id), copied, update(Sign).where(Sign.at.in_(select(written.c.id)))):
                with pytest.raises(NotSupported, match="inside another statement"):
                    await session.execute(statement)

    async def test_in_another_statement_on_request(self, postgres: Database) -> None:
        """With include_deleted it is as it is written."""
        await fill(postgres)
        written = update(Sign).where(Sign.at == Gem.id).values(text="new").returning(Sign.at).cte()

        async with postgres.session() as session:
            found = await session.scalars(select(written.c.at), execution_options=SHOWN)

        assert sorted(found) == [2, 3]

    async def test_in_another_statement_alone(self, postgres: Database) -> None:
        """One on a table that has the mark leaves deleted rows alone there, too."""
        await fill(postgres)
        written = update(Stone).values(weight=9).returning(Stone.id).cte()

        async with postgres.session() as session:
            found = await session.scalars(select(written.c.id))

        assert sorted(found) == [1, 2, 4, 5]
