"""Tests of sqlkeel.models._relations: the ORM and the database do the same on a delete."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import ForeignKey, MetaData, delete, func, insert, inspect, select
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import DeclarativeBase, configure_mappers, joinedload, relationship, selectinload
from sqlalchemy.schema import CreateTable

from sqlkeel.errors import CascadeMismatch, ForeignKeyViolation
from sqlkeel.models import children
from sqlkeel.observe import queries
from sqlkeel.sessions import Database, Session
from tests.models.relation_models import (
    Animal,
    Article,
    Base,
    Comment,
    Device,
    Invoice,
    Lion,
    Node,
    Note,
    Role,
    User,
    Visit,
    Zoo,
    pair,
    refusal,
    user_role,
)

pytestmark = [pytest.mark.tables(Base.metadata), pytest.mark.usefixtures("forgotten")]


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
