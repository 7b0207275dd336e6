"""Tests of sqlkeel.models._relations: the ORM and the database do the same on a delete."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import (
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    UniqueConstraint,
    delete,
    func,
    insert,
    inspect,
    select,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.exc import InvalidRequestError, OperationalError
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    WriteOnlyMapped,
    configure_mappers,
    joinedload,
    mapped_column,
    relationship,
    selectinload,
)
from sqlalchemy.schema import CreateTable

import sqlkeel
from sqlkeel.errors import CascadeMismatch, ForeignKeyViolation
from sqlkeel.models import association, children, parent
from sqlkeel.observe import queries
from sqlkeel.sessions import Database, Session


class Base(sqlkeel.Base):
    pass


user_role = Table(
    "user_role",
    Base.metadata,
    Column("user_id", ForeignKey("user.id"), primary_key=True),
    Column("role_id", ForeignKey("role.id"), primary_key=True),
)


class User(Base):
    __tablename__ = "user"
    id: Mapped[int] = mapped_column(primary_key=True)
    articles: Mapped[list[Article]] = children(back_populates="author", order_by="Article.id")
    comments: Mapped[list[Comment]] = children(back_populates="author", on_delete="set null")
    invoices: Mapped[list[Invoice]] = children(back_populates="user", on_delete="restrict")
    devices: Mapped[list[Device]] = children(back_populates="owner", delete_orphan=True)
    visits: WriteOnlyMapped[Visit] = children(lazy="write_only")
    roles: Mapped[list[Role]] = association(user_role, back_populates="users")


class Article(Base):
    __tablename__ = "article"
    id: Mapped[int] = mapped_column(primary_key=True)
    author_id: Mapped[int] = mapped_column(ForeignKey("user.id"), index=True)
    author: Mapped[User] = parent(back_populates="articles")


class Comment(Base):
    __tablename__ = "comment"
    id: Mapped[int] = mapped_column(primary_key=True)
    author_id: Mapped[int | None] = mapped_column(ForeignKey("user.id"), index=True)
    author: Mapped[User | None] = parent(back_populates="comments")


class Invoice(Base):
    __tablename__ = "invoice"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int | None] = mapped_column(ForeignKey("user.id"), index=True)
    user: Mapped[User | None] = parent(back_populates="invoices")


class Device(Base):
    __tablename__ = "device"
    id: Mapped[int] = mapped_column(primary_key=True)
    owner_id: Mapped[int] = mapped_column(ForeignKey("user.id"), index=True)
    owner: Mapped[User] = parent(back_populates="devices")


class Visit(Base):
    __tablename__ = "visit"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id"), index=True)


class Role(Base):
    __tablename__ = "role"
    id: Mapped[int] = mapped_column(primary_key=True)
    users: Mapped[list[User]] = association("user_role", back_populates="roles")


class Node(Base):
    __tablename__ = "node"
    id: Mapped[int] = mapped_column(primary_key=True)
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("node.id"), index=True)
    above: Mapped[Node | None] = parent(back_populates="below", remote_side="Node.id")
    below: Mapped[list[Node]] = children(back_populates="above")
    notes: Mapped[list[Note]] = children(back_populates="node", on_delete="set null")


class Note(Base):
    __tablename__ = "note"
    id: Mapped[int] = mapped_column(primary_key=True)
    node_id: Mapped[int | None] = mapped_column(ForeignKey("node.id"), index=True)
    node: Mapped[Node | None] = parent(back_populates="notes")


class Animal(Base):
    __tablename__ = "animal"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(10))
    zoo_id: Mapped[int] = mapped_column(ForeignKey("zoo.id"), index=True)
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "animal"}


class Lion(Animal):
    __tablename__ = "lion"
    id: Mapped[int] = mapped_column(ForeignKey("animal.id"), primary_key=True)
    __mapper_args__ = {"polymorphic_identity": "lion"}


class Zoo(Base):
    __tablename__ = "zoo"
    id: Mapped[int] = mapped_column(primary_key=True)
    animals: Mapped[list[Animal]] = children()


pytestmark = pytest.mark.tables(Base.metadata)


@pytest.fixture(scope="module", autouse=True)
def forgotten() -> Iterator[None]:
    """Let go of the models that were refused: later tests of the process would configure them, too."""
    yield
    gc.collect()


def on_delete(model: Any, column: str) -> str | None:
    """Return the ON DELETE of a column's foreign key."""
    configure_mappers()
    (key,) = model.__table__.c[column].foreign_keys
    assert key.constraint.ondelete == key.ondelete
    return key.ondelete


async def chain(db: Database, depth: int) -> None:
    """Store a tree of one branch."""
    async with db.transaction() as session:
        rows = [{"id": n, "parent_id": n - 1 or None} for n in range(1, depth + 1)]
        await session.execute(insert(Base.metadata.tables["node"]), rows)


async def fell(db: Database) -> None:
    """Delete the root of the tree."""
    async with db.transaction() as session:
        await session.delete(await session.get_one(Node, 1))


async def uproot(db: Database) -> int:
    """Return how many nodes there are, and take them apart: the database cannot delete them otherwise."""
    async with db.transaction() as session:
        result = await session.execute(Base.metadata.tables["node"].update().values(parent_id=None))
        return int(result.rowcount)  # type: ignore[attr-defined]  # a cursor result


async def ids(session: Session, model: Any) -> list[int]:
    """Return all keys of a table, past the ORM."""
    table = model.__table__
    return list((await session.execute(select(table.c.id).order_by(table.c.id))).scalars())


class TestDDL:
    def test_children_cascade(self) -> None:
        """The foreign key of children() gets ON DELETE CASCADE."""
        assert on_delete(Article, "author_id") == "CASCADE"

    def test_children_set_null(self) -> None:
        """With on_delete="set null" it gets ON DELETE SET NULL."""
        assert on_delete(Comment, "author_id") == "SET NULL"

    def test_children_restrict(self) -> None:
        """With on_delete="restrict" it gets ON DELETE RESTRICT."""
        assert on_delete(Invoice, "user_id") == "RESTRICT"

    def test_association_cascades_on_both_sides(self) -> None:
        """Both foreign keys of the table between get ON DELETE CASCADE."""
        configure_mappers()

        assert {key.ondelete for key in user_role.foreign_keys} == {"CASCADE"}

    def test_inheritance_cascades(self) -> None:
        """Where a child is spread over two tables, the row of the second goes with that of the first."""
        assert on_delete(Lion, "id") == "CASCADE"

    @pytest.mark.parametrize("dialect", [sqlite.dialect(), postgresql.dialect(), mysql.dialect()])
    def test_text_of_the_table(self, dialect: Any) -> None:
        """CREATE TABLE says it on every database."""
        configure_mappers()

        ddl = str(CreateTable(Article.__table__).compile(dialect=dialect))

        assert "ON DELETE CASCADE" in ddl

    def test_copies_say_it_too(self) -> None:
        """A copy of the table in another metadata has the same ON DELETE."""
        configure_mappers()

        copy = Article.__table__.to_metadata(MetaData())

        assert [key.ondelete for key in copy.foreign_key_constraints] == ["CASCADE"]

    async def test_plain_declarative_base_before_it_is_configured(self, db: Database) -> None:
        """Tables of SQLAlchemy's own base that are made before anything else have it too."""
        base = pair(key=ForeignKey("team.id"), down=children(argument="Player"), base=DeclarativeBase)

        async with db.engine.begin() as connection:
            await connection.run_sync(base.metadata.create_all)
            found = await connection.run_sync(lambda sync: inspect(sync).get_foreign_keys("player"))

        assert [key["options"].get("ondelete") for key in found] == ["CASCADE"]

    def test_other_metadata_is_not_listened_to(self) -> None:
        """A base whose models have no relation of ours has no listener of ours."""
        base = pair(key=ForeignKey("team.id"), down=relationship("Player"), base=DeclarativeBase)

        base.registry.configure()

        assert not base.metadata.dispatch.before_create

    def test_plain_declarative_base(self) -> None:
        """A model on SQLAlchemy's own base gets it as well."""
        base = pair(key=ForeignKey("team.id"), down=children(argument="Player"), base=DeclarativeBase)

        base.registry.configure()

        assert "ON DELETE CASCADE" in str(CreateTable(base.metadata.tables["player"]))


class TestDelete:
    async def test_a_thousand_children_go_with_one_statement(self, db: Database) -> None:
        """Deleting a row with 1,000 children sends one DELETE and loads none of them."""
        async with db.transaction() as session:
            session.add(User(id=1))
            await session.flush()
            await session.execute(insert(Article), [{"id": n, "author_id": 1} for n in range(1, 1001)])

        async with db.transaction() as session:
            user = await session.get_one(User, 1)
            async with queries(db, exactly=1) as seen:
                await session.delete(user)
                await session.flush()

        async with db.read() as session:
            assert await ids(session, Article) == []
        assert seen.statements[0].startswith("DELETE FROM")

    async def test_a_hundred_thousand_children_go_with_one_statement(self, db: Database) -> None:
        """Deleting a row with 131,072 children sends one DELETE, and the server does the rest."""
        table = Base.metadata.tables["article"]
        async with db.transaction() as session:
            session.add(User(id=1, articles=[Article(id=1)]))
            await session.flush()
            for power in range(17):
                more = select(table.c.id + 2**power, table.c.author_id)
                await session.execute(insert(table).from_select(["id", "author_id"], more))

        async with db.transaction() as session:
            before = await session.scalar(select(func.count()).select_from(table))
            user = await session.get_one(User, 1)
            async with queries(db, exactly=1):
                await session.delete(user)
                await session.flush()
            after = await session.scalar(select(func.count()).select_from(table))

        assert (before, after) == (131_072, 0)

    async def test_set_null_keeps_the_children(self, db: Database) -> None:
        """Children of a deleted row stay, without a parent, in one statement."""
        async with db.transaction() as session:
            session.add(User(id=1, comments=[Comment(id=n) for n in range(1, 21)]))

        async with db.transaction() as session:
            user = await session.get_one(User, 1)
            async with queries(db, exactly=1):
                await session.delete(user)
                await session.flush()

        async with db.read() as session:
            assert (await session.scalars(select(Comment.author_id))).all() == [None] * 20

    async def test_set_null_with_loaded_children(self, db: Database) -> None:
        """Children that the session has loaded lose their parent in memory too."""
        async with db.transaction() as session:
            session.add(User(id=1, comments=[Comment(id=1)]))

        async with db.transaction() as session:
            user = await session.get_one(User, 1)
            (comment,) = await user.awaitable_attrs.comments
            await session.delete(user)
            await session.flush()

            assert comment.author_id is None

    @pytest.mark.parametrize("loaded", [False, True])
    async def test_restrict_refuses(self, db: Database, loaded: bool) -> None:
        """A row with restricting children is not deleted, whether they are loaded or not."""
        async with db.transaction() as session:
            session.add(User(id=1, invoices=[Invoice(id=1)]))
        async with db.session() as session:
            options = [joinedload(User.invoices)] if loaded else []
            await session.delete(await session.get_one(User, 1, options=options))

            with pytest.raises(ForeignKeyViolation):
                await session.flush()

        async with db.read() as session:
            assert (await session.scalars(select(Invoice.user_id))).all() == [1]

    async def test_restrict_lets_a_childless_row_go(self, db: Database) -> None:
        """Without children the same row is deleted."""
        async with db.transaction() as session:
            session.add(User(id=1))

        async with db.transaction() as session:
            await session.delete(await session.get_one(User, 1))

        async with db.read() as session:
            assert await ids(session, User) == []

    async def test_restrict_saves_a_removal(self, db: Database) -> None:
        """A child taken out of a restricting collection has no parent afterwards."""
        async with db.transaction() as session:
            session.add(User(id=1, invoices=[Invoice(id=1)]))

        async with db.transaction() as session:
            user = await session.get_one(User, 1)
            (await user.awaitable_attrs.invoices).clear()

        async with db.read() as session:
            assert (await session.scalars(select(Invoice.user_id))).all() == [None]

    async def test_orphans_are_deleted(self, db: Database) -> None:
        """With delete_orphan=True a child taken out of the collection is deleted."""
        async with db.transaction() as session:
            session.add(User(id=1, devices=[Device(id=1), Device(id=2)]))

        async with db.transaction() as session:
            user = await session.get_one(User, 1)
            (await user.awaitable_attrs.devices).pop(0)

        async with db.read() as session:
            assert len(await ids(session, Device)) == 1

    async def test_write_only_children(self, db: Database) -> None:
        """A collection too large to load is deleted by the database as well."""
        async with db.transaction() as session:
            user = User(id=1)
            user.visits.add_all([Visit(id=1), Visit(id=2)])
            session.add(user)

        async with db.transaction() as session:
            await session.delete(await session.get_one(User, 1))

        async with db.read() as session:
            assert await ids(session, Visit) == []

    @pytest.mark.parametrize("model", [User, Role])
    async def test_association_rows_vanish(self, db: Database, model: Any) -> None:
        """Deleting either side of a many-to-many removes the rows between and keeps the other side."""
        other = {User: Role, Role: User}[model]
        async with db.transaction() as session:
            session.add(User(id=1, roles=[Role(id=1), Role(id=2)]))
            await session.flush()
            session.add(User(id=2, roles=[await session.get_one(Role, 1)]))

        async with db.transaction() as session, queries(db, exactly=2):
            await session.delete(await session.get_one(model, 1))
            await session.flush()

        async with db.read() as session:
            assert await ids(session, other) == [1, 2]
            assert len((await session.execute(select(user_role))).all()) == 1

    async def test_a_tree_five_deep(self, db: Database) -> None:
        """The root of a tree takes five levels along with one DELETE."""
        async with db.transaction() as session:
            rows = [{"id": n, "parent_id": n - 1 or None} for n in range(1, 7)]
            await session.execute(insert(Node), rows)

        async with db.transaction() as session:
            root = await session.get_one(Node, 1)
            async with queries(db, exactly=1):
                await session.delete(root)
                await session.flush()

        async with db.read() as session:
            assert await ids(session, Node) == []

    async def test_a_tree_a_thousand_deep(self, postgres: Database) -> None:
        """PostgreSQL takes a thousand levels along with one DELETE."""
        await chain(postgres, 1000)

        async with queries(postgres, exactly=2):
            await fell(postgres)

        async with postgres.read() as session:
            assert await ids(session, Node) == []

    async def test_a_tree_nine_hundred_deep(self, sqlite: Database) -> None:
        """SQLite takes nine hundred; its limit is a thousand triggers."""
        await chain(sqlite, 900)

        await fell(sqlite)

        async with sqlite.read() as session:
            assert await ids(session, Node) == []

    async def test_a_tree_fifteen_deep(self, mariadb: Database) -> None:
        """MariaDB takes fifteen."""
        await chain(mariadb, 15)

        await fell(mariadb)

        async with mariadb.read() as session:
            assert await ids(session, Node) == []

    async def test_a_tree_too_deep_for_sqlite(self, sqlite: Database) -> None:
        """SQLite refuses what is deeper, and the tree stays whole."""
        await chain(sqlite, 1100)

        with pytest.raises(OperationalError, match="trigger recursion"):
            await fell(sqlite)

        assert await uproot(sqlite) == 1100

    async def test_a_tree_too_deep_for_mariadb(self, mariadb: Database) -> None:
        """MariaDB refuses what is deeper, and the tree stays whole."""
        await chain(mariadb, 16)

        with pytest.raises(OperationalError, match="ON DELETE CASCADE"):
            await fell(mariadb)

        assert await uproot(mariadb) == 16

    async def test_joined_inheritance_leaves_no_half(self, db: Database) -> None:
        """A child in two tables loses both of its rows."""
        async with db.transaction() as session:
            session.add(Zoo(id=1, animals=[Lion(id=1), Animal(id=2)]))

        async with db.transaction() as session:
            await session.delete(await session.get_one(Zoo, 1))

        async with db.read() as session:
            assert await ids(session, Animal) == []
            assert await ids(session, Lion) == []


LOADED = selectinload(Node.below), selectinload(Node.notes)
Forest = tuple[list[dict[str, Any]], list[dict[str, Any]], int, list[int]]


@st.composite
def forests(draw: st.DrawFn) -> Forest:
    """Draw nodes with parents, notes on them, the node to delete, and the nodes that the session has loaded."""
    size = draw(st.integers(1, 8))
    node = st.integers(1, size)
    parents = [draw(st.sampled_from([None, *range(1, n)])) for n in range(1, size + 1)]
    nodes = [{"id": n, "parent_id": above} for n, above in enumerate(parents, 1)]
    noted = draw(st.lists(st.none() | node, max_size=5))
    notes = [{"id": n, "node_id": on} for n, on in enumerate(noted, 1)]
    return nodes, notes, draw(node), draw(st.lists(node, max_size=4))


async def plant(session: Session, forest: Forest) -> None:
    """Store the forest in place of all there is."""
    nodes, notes, _, _ = forest
    await session.execute(delete(Note))
    await session.execute(delete(Node))
    await session.execute(insert(Node), nodes)
    if notes:
        await session.execute(insert(Note), notes)


async def state(session: Session) -> tuple[Sequence[Any], Sequence[Any]]:
    """Return all rows, past the ORM."""
    nodes = await session.execute(select(Node.__table__).order_by(Node.__table__.c.id))
    notes = await session.execute(select(Note.__table__).order_by(Note.__table__.c.id))
    return nodes.all(), notes.all()


class TestSameState:
    @given(forest=forests())
    @settings(
        max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
    )
    async def test_orm_and_sql_agree(self, db: Database, forest: Forest) -> None:
        """session.delete() leaves what DELETE leaves, whatever tree it is and whatever is loaded."""
        _, _, doomed, loaded = forest
        async with db.transaction() as session:
            await plant(session, forest)
            # Held: a session forgets what nobody refers to.
            held = [await session.get_one(Node, key, options=LOADED) for key in loaded]
            await session.delete(await session.get_one(Node, doomed))
            await session.flush()
            by_orm = await state(session)
            del held

        async with db.transaction() as session:
            await plant(session, forest)
            await session.execute(delete(Node.__table__).where(Node.__table__.c.id == doomed))
            by_sql = await state(session)

        assert by_orm == by_sql


def pair(
    *,
    key: ForeignKey,
    down: Any = None,
    up: Any = None,
    base: Any = sqlkeel.Base,
    nullable: bool = True,
    soft: bool = False,
) -> Any:
    """Return a base with a team and its players, related as told; nothing is configured yet."""

    class Base(base):
        pass

    team: dict[str, Any] = {"__tablename__": "team", "id": mapped_column(Integer, primary_key=True)}
    player: dict[str, Any] = {
        "__tablename__": "player",
        "__soft_delete__": soft,
        "id": mapped_column(Integer, primary_key=True),
        "team_id": mapped_column(key, nullable=nullable),
    }
    # The registry holds its classes weakly.
    Base.models = (
        type("Team", (Base,), team | ({"players": down} if down is not None else {})),
        type("Player", (Base,), player | ({"team": up} if up is not None else {})),
    )
    return Base


def refusal(base: Any) -> CascadeMismatch:
    """Configure the mappers and return the error that this raises."""
    with pytest.raises(CascadeMismatch) as caught:
        base.registry.configure()
    return caught.value


class TestRefusedAtTheCall:
    @pytest.mark.parametrize("option", ["cascade", "passive_deletes", "secondary", "viewonly"])
    def test_children_sets_its_options_itself(self, option: str) -> None:
        """children() takes no option that would contradict its rule."""
        with pytest.raises(CascadeMismatch, match=option):
            children(**{option: "all"})

    @pytest.mark.parametrize("option", ["cascade", "passive_deletes", "secondary", "viewonly"])
    def test_parent_sets_its_options_itself(self, option: str) -> None:
        """Nor does parent()."""
        with pytest.raises(CascadeMismatch, match=option):
            parent(**{option: "all"})

    @pytest.mark.parametrize("option", ["cascade", "passive_deletes", "viewonly"])
    def test_association_sets_its_options_itself(self, option: str) -> None:
        """Nor does association()."""
        with pytest.raises(CascadeMismatch, match=option):
            association("user_role", **{option: "all"})

    def test_unknown_rule(self) -> None:
        """A rule that does not exist is named, with those that do."""
        with pytest.raises(CascadeMismatch, match="'set null'"):
            children(on_delete="nullify")  # type: ignore[arg-type]

    def test_parent_with_unknown_rule(self) -> None:
        """parent() checks its rule at the call too."""
        with pytest.raises(CascadeMismatch, match="'SET NULL'"):
            parent(on_delete="SET NULL")  # type: ignore[arg-type]

    def test_orphans_need_cascade(self) -> None:
        """Orphans are not deleted where the children of a deleted row are kept."""
        with pytest.raises(CascadeMismatch, match="delete_orphan"):
            children(on_delete="set null", delete_orphan=True)

    def test_restrict_needs_the_other_side(self) -> None:
        """Without the other side, taking a child out of a restricting collection would not be saved."""
        with pytest.raises(CascadeMismatch, match="back_populates"):
            children(on_delete="restrict")

    def test_other_options_pass(self) -> None:
        """Other options reach relationship(), and the caller's info is kept."""
        made = children(lazy="raise", info={"mine": 1})

        assert made.lazy == "raise"
        assert made.info["mine"] == 1


class TestRefusedAtConfiguration:
    def test_explicit_on_delete_differs(self) -> None:
        """A foreign key that says something else is refused with the text to write."""
        error = refusal(pair(key=ForeignKey("team.id", ondelete="SET NULL"), down=children(argument="Player")))

        assert "Team.players" in error.message
        assert "player(team_id) is ON DELETE SET NULL" in error.message
        assert 'ondelete="CASCADE"' in error.hint

    def test_explicit_on_delete_agrees(self) -> None:
        """A foreign key that says the same, in any case, is left as it is."""
        base = pair(key=ForeignKey("team.id", ondelete="cascade"), down=children(argument="Player"))

        base.registry.configure()

        assert [key.ondelete for key in base.metadata.tables["player"].foreign_keys] == ["cascade"]

    def test_no_action_restricts(self) -> None:
        """NO ACTION, which can be deferred, agrees with "restrict"."""
        base = pair(
            key=ForeignKey("team.id", ondelete="NO ACTION"),
            down=children(argument="Player", on_delete="restrict", back_populates="team"),
            up=parent(argument="Team", back_populates="players"),
        )

        base.registry.configure()

        assert [key.ondelete for key in base.metadata.tables["player"].foreign_keys] == ["NO ACTION"]

    def test_set_null_on_a_required_column(self) -> None:
        """A NOT NULL column cannot be set to NULL."""
        down = children(argument="Player", on_delete="set null")

        error = refusal(pair(key=ForeignKey("team.id"), down=down, nullable=False))

        assert "player.team_id is NOT NULL" in error.message

    def test_two_sides_that_disagree(self) -> None:
        """A rule on the side of the parent must be that of the children."""
        base = pair(
            key=ForeignKey("team.id"),
            down=children(argument="Player", back_populates="team"),
            up=parent(argument="Team", back_populates="players", on_delete="set null"),
        )

        error = refusal(base)

        assert 'Player.team says "set null" and Team.players says "cascade"' in error.message

    def test_two_sides_that_agree(self) -> None:
        """Saying the same on both sides is allowed."""
        base = pair(
            key=ForeignKey("team.id"),
            down=children(argument="Player", back_populates="team"),
            up=parent(argument="Team", back_populates="players", on_delete="cascade"),
        )

        base.registry.configure()

        assert [key.ondelete for key in base.metadata.tables["player"].foreign_keys] == ["CASCADE"]

    def test_two_collections_on_one_key_that_disagree(self) -> None:
        """A second collection over the same foreign key must have the same rule; the error names the first."""
        base = pair(key=ForeignKey("team.id"), down=children(argument="Player"))
        base.models[0].others = children(argument="Player", on_delete="set null", overlaps="players")

        error = refusal(base)

        assert "set by Team.players" in error.message

    def test_reverse_that_deletes_the_parent(self) -> None:
        """A many-to-one with a delete cascade would delete the parent with its first child."""
        base = pair(
            key=ForeignKey("team.id"),
            down=children(argument="Player", back_populates="team"),
            up=relationship("Team", back_populates="players", cascade="all"),
        )

        assert "Player.team = parent" in refusal(base).hint

    def test_orphans_of_a_soft_deleted_model(self) -> None:
        """Orphans are removed past the soft delete, so that they may not be deleted at all."""
        base = pair(key=ForeignKey("team.id"), down=children(argument="Player", delete_orphan=True), soft=True)

        assert "rows of Player for good" in refusal(base).message

    def test_soft_deletable_children_of_a_row_that_is_removed(self) -> None:
        """A parent without the mixin would take its soft-deletable children along for good."""
        base = pair(key=ForeignKey("team.id"), down=children(argument="Player"), soft=True)

        error = refusal(base)

        assert "Team.players would remove the rows of Player for good" in error.message
        assert "SoftDeleteMixin" in error.hint

    def test_soft_deletable_children_of_a_key_that_cascades(self) -> None:
        """That the key says CASCADE already changes nothing."""
        base = pair(key=ForeignKey("team.id", ondelete="CASCADE"), down=children(argument="Player"), soft=True)

        assert "rows of Player for good" in refusal(base).message

    def test_soft_deletable_children_that_are_meant_to_go(self) -> None:
        """Who writes the rule has said that they go for good."""
        base = pair(key=ForeignKey("team.id"), down=children(argument="Player", on_delete="cascade"), soft=True)

        base.registry.configure()

        assert [key.ondelete for key in base.metadata.tables["player"].foreign_keys] == ["CASCADE"]

    def test_parent_alone_of_soft_deletable_rows(self) -> None:
        """The same from below: a key that cascades takes the soft-deletable row along."""
        key = ForeignKey("team.id", ondelete="CASCADE")

        assert "rows of Player for good" in refusal(pair(key=key, up=parent(argument="Team"), soft=True)).message

    def test_parent_alone_of_soft_deletable_rows_that_restrict(self) -> None:
        """A parent that stays while it has such rows is fine."""
        base = pair(key=ForeignKey("team.id", ondelete="RESTRICT"), up=parent(argument="Team"), soft=True)

        base.registry.configure()

        assert [key.ondelete for key in base.metadata.tables["player"].foreign_keys] == ["RESTRICT"]

    def test_parent_alone_must_decide(self) -> None:
        """A foreign key that nobody gave an ON DELETE is refused."""
        error = refusal(pair(key=ForeignKey("team.id"), up=parent(argument="Team")))

        assert 'parent(on_delete="restrict")' in error.hint

    def test_parent_alone_with_a_key_set_elsewhere(self) -> None:
        """Another relation's rule does not count: which is configured first would decide."""
        error = refusal(
            pair(
                key=ForeignKey("team.id"),
                up=parent(argument="Team", overlaps="players"),
                down=children(argument="Player"),
            )
        )

        assert "Player.team says nothing" in error.message

    def test_parent_alone_decides_in_the_call(self) -> None:
        """on_delete= of parent() sets the foreign key."""
        base = pair(key=ForeignKey("team.id"), up=parent(argument="Team", on_delete="restrict"))

        base.registry.configure()

        assert [key.ondelete for key in base.metadata.tables["player"].foreign_keys] == ["RESTRICT"]

    def test_parent_alone_decides_in_the_key(self) -> None:
        """So does the foreign key itself, with any action."""
        base = pair(key=ForeignKey("team.id", ondelete="SET DEFAULT"), up=parent(argument="Team"))

        base.registry.configure()

        assert [key.ondelete for key in base.metadata.tables["player"].foreign_keys] == ["SET DEFAULT"]

    def test_plain_collection_that_disagrees(self) -> None:
        """A plain relationship() that would set NULL where the database cascades is refused."""
        base = pair(
            key=ForeignKey("team.id", ondelete="CASCADE"),
            up=parent(argument="Team", back_populates="players"),
            down=relationship("Player", back_populates="team"),
        )

        assert 'Team.players = children(on_delete="cascade"' in refusal(base).hint

    def test_plain_collection_that_agrees(self) -> None:
        """A plain relationship() with the right options is fine."""
        base = pair(
            key=ForeignKey("team.id", ondelete="CASCADE"),
            up=parent(argument="Team", back_populates="players"),
            down=relationship("Player", back_populates="team", cascade="all", passive_deletes=True),
        )

        base.registry.configure()

        assert [key.ondelete for key in base.metadata.tables["player"].foreign_keys] == ["CASCADE"]

    def test_children_on_the_wrong_side(self) -> None:
        """children() on the side of the foreign key says to use parent()."""
        error = refusal(pair(key=ForeignKey("team.id"), up=children(argument="Team")))

        assert "parent()" in error.hint

    def test_parent_on_the_wrong_side(self) -> None:
        """parent() on the other side is refused, and mentions trees."""
        error = refusal(pair(key=ForeignKey("team.id"), down=parent(argument="Player")))

        assert "remote_side" in error.hint

    def test_no_foreign_key(self) -> None:
        """A join without a foreign key gives the database nothing to act on."""

        class Base(sqlkeel.Base):
            pass

        class Team(Base):
            __tablename__ = "team"
            id: Mapped[int] = mapped_column(primary_key=True)
            players: Mapped[list["Player"]] = children(  # noqa: UP037
                primaryjoin="Team.id == foreign(Player.team_id)"
            )

        class Player(Base):
            __tablename__ = "player"
            id: Mapped[int] = mapped_column(primary_key=True)
            team_id: Mapped[int]

        assert "no foreign key" in refusal(Base).message

    def test_foreign_key_in_a_subclass_table(self) -> None:
        """A cascade into the second table of a model would leave its row in the first."""

        class Base(sqlkeel.Base):
            pass

        class Animal(Base):
            __tablename__ = "animal"
            id: Mapped[int] = mapped_column(primary_key=True)

        class Lion(Animal):
            __tablename__ = "lion"
            id: Mapped[int] = mapped_column(ForeignKey("animal.id"), primary_key=True)
            zoo_id: Mapped[int] = mapped_column(ForeignKey("zoo.id"))

        class Zoo(Base):
            __tablename__ = "zoo"
            id: Mapped[int] = mapped_column(primary_key=True)
            lions: Mapped[list["Lion"]] = children()  # noqa: UP037

        assert "leave its row in animal" in refusal(Base).message

    def test_composite_foreign_key(self) -> None:
        """A foreign key of two columns gets its ON DELETE too."""

        class Base(sqlkeel.Base):
            pass

        class Player(Base):
            __tablename__ = "player"
            id: Mapped[int] = mapped_column(primary_key=True)
            league: Mapped[int]
            number: Mapped[int]
            __table_args__ = (ForeignKeyConstraint(["league", "number"], ["team.league", "team.number"]),)

        class Team(Base):
            __tablename__ = "team"
            league: Mapped[int] = mapped_column(primary_key=True)
            number: Mapped[int] = mapped_column(primary_key=True)
            players: Mapped[list["Player"]] = children()  # noqa: UP037

        Base.registry.configure()

        (key,) = Base.metadata.tables["player"].foreign_key_constraints
        assert key.ondelete == "CASCADE"

    def test_a_failure_is_not_forgotten(self) -> None:
        """Models that were refused cannot be used afterwards."""
        base = pair(key=ForeignKey("team.id"), up=parent(argument="Team"))
        refusal(base)

        with pytest.raises(InvalidRequestError, match="says nothing about ON DELETE"):
            base.registry.configure()
        with pytest.raises(CascadeMismatch):
            base.registry.configure()


def linked(*constraints: Any, ondelete: str | None = None) -> Any:
    """Return a base with books, tags, and a table between them with the given constraints."""

    class Base(sqlkeel.Base):
        pass

    between = Table(
        "book_tag",
        Base.metadata,
        Column("book_id", ForeignKey("book.id", ondelete=ondelete)),
        Column("tag_id", ForeignKey("tag.id")),
        Column("place", Integer),
        *constraints,
    )

    class Book(Base):
        __tablename__ = "book"
        id: Mapped[int] = mapped_column(primary_key=True)
        tags: Mapped[list["Tag"]] = association(between)  # noqa: UP037

    class Tag(Base):
        __tablename__ = "tag"
        id: Mapped[int] = mapped_column(primary_key=True)

    return Base


class TestAssociation:
    @pytest.mark.parametrize(
        "constraint",
        [
            PrimaryKeyConstraint("tag_id", "book_id"),
            UniqueConstraint("book_id", "tag_id"),
            Index(None, "book_id", "tag_id", unique=True),
        ],
    )
    def test_a_pair_stands_once(self, constraint: Any) -> None:
        """A primary key, unique constraint or unique index over the pair is enough."""
        base = linked(constraint)

        base.registry.configure()

        assert {key.ondelete for key in base.metadata.tables["book_tag"].foreign_keys} == {"CASCADE"}

    @pytest.mark.parametrize(
        "constraints",
        [
            (),
            (UniqueConstraint("book_id", "tag_id", "place"),),
            (Index(None, "book_id", "tag_id"),),
            (Index(None, "book_id", "tag_id", unique=True, postgresql_where=Column("place") > 0),),
        ],
    )
    def test_a_pair_could_stand_twice(self, constraints: tuple[Any, ...]) -> None:
        """Anything weaker is refused with the constraint to write."""
        error = refusal(linked(*constraints))

        assert "PrimaryKeyConstraint('book_id', 'tag_id')" in error.hint

    def test_explicit_on_delete_differs(self) -> None:
        """A foreign key of the table between that does not cascade is refused."""
        error = refusal(linked(PrimaryKeyConstraint("book_id", "tag_id"), ondelete="RESTRICT"))

        assert "book_tag(book_id) is ON DELETE RESTRICT" in error.message

    def test_mapped_class_between(self) -> None:
        """The table between may be given as a mapped class."""
        assert association(user_role).info == association(type("Link", (), {"__table__": user_role})).info


class TestSQLAlchemy:
    def test_a_relation_is_given_its_mapper(self) -> None:
        """Canary of `set_parent`: a relation is configured, and its ON DELETE written, because SQLAlchemy calls it."""
        relation: Any = relationship("Player")
        given: list[Any] = []
        attach = relation.set_parent
        relation.set_parent = lambda parent, init: (given.append(parent), attach(parent, init))

        base = pair(key=ForeignKey("team.id"), down=relation)
        base.registry.configure()

        assert given == [inspect(base.models[0])]

    def test_a_refused_relation_is_refused_again(self) -> None:
        """Canary of `_configure_failed`: the second use of refused models says what the first did, in our own class."""
        base = pair(key=ForeignKey("team.id", ondelete="RESTRICT"), down=children(argument="Player"))

        first, second = refusal(base), refusal(base)

        assert (type(second), second.message) == (CascadeMismatch, first.message)
        assert not inspect(base.models[0]).configured
