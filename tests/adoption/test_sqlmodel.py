"""SQLModel: its models with our sessions and repositories, and its sessions with ours inside."""

from typing import Any

import pytest
import sqlmodel
from sqlalchemy import insert
from sqlalchemy.orm import selectinload
from sqlmodel.ext.asyncio import session as sessions

from sqlkeel.errors import NotSupported, ReadOnlySession, UniqueViolation, UnloadedAttribute
from sqlkeel.models import DualIDMixin, IntKeyMixin, UUIDKeyMixin
from sqlkeel.repository import Repository
from sqlkeel.sessions import Database, SyncSession
from sqlkeel.soft_delete import SoftDeleteMixin
from sqlkeel.timestamps import TimestampMixin
from sqlkeel.versions import TriggerVersionMixin, VersionMixin


class Team(sqlmodel.SQLModel, table=True):  # type: ignore[name-defined,misc]
    """A team with heroes."""

    id: int | None = sqlmodel.Field(default=None, primary_key=True)
    name: str = sqlmodel.Field(max_length=20, unique=True)
    heroes: list["Hero"] = sqlmodel.Relationship(back_populates="team")


class Hero(sqlmodel.SQLModel, table=True):  # type: ignore[name-defined,misc]
    """Somebody in a team."""

    id: int | None = sqlmodel.Field(default=None, primary_key=True)
    name: str = sqlmodel.Field(max_length=20)
    team_id: int | None = sqlmodel.Field(default=None, foreign_key="team.id", index=True)
    team: Team | None = sqlmodel.Relationship(back_populates="heroes")


pytestmark = pytest.mark.tables(sqlmodel.SQLModel.metadata)


class TestModels:
    async def test_the_verbs_of_a_repository(self, db: Database) -> None:
        """What needs no column of ours works with a model of SQLModel as with any other."""
        async with db.transaction() as session:
            teams = Repository(session, Team)
            first = await teams.create(name="one")
            await teams.insert_many([{"name": "two"}, {"name": "three"}])
            again, created = await teams.upsert({"name": "two"}, on=[Team.name])
            await teams.update(first, {"name": "first"})
            page = await teams.page(order_by=Team.id, size=2)
            await teams.delete(again)

            assert not created
            assert [team.name for team in page.items] == ["first", "two"]
            assert await teams.count() == 2

    async def test_errors_are_ours(self, db: Database) -> None:
        """A name that is taken is a UniqueViolation."""
        async with db.transaction() as session:
            session.add(Team(name="one"))

        with pytest.raises(UniqueViolation):
            async with db.transaction() as session:
                session.add(Team(name="one"))

    async def test_relations_are_loaded_with_the_query(self, db: Database) -> None:
        """One that is not loaded says so, and is loaded by the query."""
        async with db.transaction() as session:
            session.add(Team(name="one", heroes=[Hero(name="a"), Hero(name="b")]))

        async with db.read() as session:
            team = (await Repository(session, Team).get_all())[0]
            with pytest.raises(UnloadedAttribute):
                _ = team.heroes
            team = (await Repository(session, Team).get_all(load=[Team.heroes]))[0]

            assert sorted(hero.name for hero in team.heroes) == ["a", "b"]

    @pytest.mark.parametrize(
        "mixin",
        [IntKeyMixin, UUIDKeyMixin, DualIDMixin, TimestampMixin, SoftDeleteMixin, VersionMixin, TriggerVersionMixin],
    )
    def test_a_mixin_is_refused(self, mixin: type[Any]) -> None:
        """As the class is made, with what to do instead, and not by pydantic, which advises what does not help."""
        with pytest.raises(NotSupported, match=r"Refused cannot have the \w+Mixin") as caught:

            class Refused(mixin, sqlmodel.SQLModel, table=True):  # type: ignore[name-defined,misc,call-arg]
                number: int | None = sqlmodel.Field(default=None, primary_key=True)

        assert "Declare the columns as fields" in caught.value.hint


class TestSessions:
    async def test_the_asynchronous_one_with_ours_inside(self, db: Database) -> None:
        """`exec` gives objects for one entity and rows for several columns; what is refused is refused."""
        async with sessions.AsyncSession(db.engine, sync_session_class=SyncSession) as session:
            session.add(Team(name="one", heroes=[Hero(name="a")]))
            await session.commit()
            team = (await session.exec(sqlmodel.select(Team).options(selectinload(Team.heroes)))).one()
            rows = (await session.exec(sqlmodel.select(Team.name, Hero.name).join(Hero))).all()
            assert [hero.name for hero in team.heroes] == ["a"]
            assert rows == [("one", "a")]

            session.sync_session.info["sqlkeel_read_only"] = True
            with pytest.raises(ReadOnlySession):
                await session.exec(insert(Team).values(name="two"))

    async def test_the_synchronous_one_above_ours(self, db: Database) -> None:
        """``class Session(SyncSession, sqlmodel.Session)`` has the methods of both."""

        class Both(SyncSession, sqlmodel.Session):  # type: ignore[name-defined,misc]
            """The session of a synchronous worker."""

        def work(connection: Any) -> list[str]:
            with Both(connection) as session:
                session.add(Team(name="one"))
                session.flush()
                return [team.name for team in session.exec(sqlmodel.select(Team))]

        async with db.engine.connect() as connection:
            assert await connection.run_sync(work) == ["one"]
