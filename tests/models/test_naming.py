"""Tests of sqlkeel.models._naming: one name for every constraint, wherever and in whatever order it is defined."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlalchemy import (
    CheckConstraint,
    Column,
    Connection,
    Enum,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    String,
    Table,
    UniqueConstraint,
    func,
    inspect,
    text,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.schema import AddConstraint, CreateTable

import sqlkeel
from sqlkeel.errors import ConfigurationError, NamingCollision
from sqlkeel.models import NAMING_CONVENTION, metadata_with_names
from sqlkeel.models._naming import MAX_BYTES
from sqlkeel.sessions import Database

DIALECTS = [sqlite.dialect(), postgresql.dialect(), mysql.dialect()]


def names(metadata: MetaData) -> list[str]:
    """Return the names of all constraints and indexes, sorted."""
    tables = metadata.tables.values()
    on_columns = [one.name for table in tables for column in table.columns for one in column.constraints]
    found = [one.name for table in tables for one in (*table.constraints, *table.indexes)]
    return sorted(map(str, found + on_columns))


def of_table(*parts: Any, name: str = "user") -> list[str]:
    """Return the names on one table, without that of its primary key."""
    metadata = metadata_with_names()
    Table(name, metadata, *parts)
    return [one for one in names(metadata) if not one.endswith("_pkey")]


class Base(sqlkeel.Base):
    pass


class User(Base):
    __tablename__ = "user"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(100), unique=True)
    name: Mapped[str] = mapped_column(String(100), index=True)


class Post(Base):
    __tablename__ = "post"
    id: Mapped[int] = mapped_column(primary_key=True)
    author_id: Mapped[int] = mapped_column(ForeignKey("user.id"))


class Account(Base):
    __tablename__ = "account"
    __table_args__ = (CheckConstraint("balance >= 0", name="balance"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    balance: Mapped[int]


class TestSeedNames:
    def test_as_written_down(self) -> None:
        """The names are those of the convention that the project started from."""
        assert names(Base.metadata) == [
            "account_balance_check",
            "account_pkey",
            "post_author_id_fkey",
            "post_pkey",
            "user_email_key",
            "user_name_idx",
            "user_pkey",
        ]

    def test_plain_metadata(self) -> None:
        """The convention works in a MetaData of SQLAlchemy's own."""
        metadata = MetaData(naming_convention=NAMING_CONVENTION)

        Table("user", metadata, Column("id", Integer, primary_key=True), Column("email", Integer, unique=True))

        assert names(metadata) == ["user_email_key", "user_pkey"]

    def test_options_reach_the_metadata(self) -> None:
        """metadata_with_names() takes what MetaData takes."""
        assert metadata_with_names(schema="shop").schema == "shop"


class TestComposites:
    def test_unique_carries_all_columns(self) -> None:
        """Every column is in the name, in order."""
        assert of_table(Column("a", Integer), Column("b", Integer), UniqueConstraint("b", "a")) == ["user_b_a_key"]

    def test_two_with_the_same_first_column(self) -> None:
        """Two constraints that start alike have different names."""
        parts = [Column(one, Integer) for one in "abc"]

        found = of_table(*parts, UniqueConstraint("a", "b"), UniqueConstraint("a", "c"))

        assert found == ["user_a_b_key", "user_a_c_key"]

    def test_foreign_key_and_index(self) -> None:
        """So it is with foreign keys and indexes."""
        metadata = metadata_with_names()
        Table("team", metadata, Column("x", Integer, primary_key=True), Column("y", Integer, primary_key=True))

        key = ForeignKeyConstraint(["a", "b"], ["team.x", "team.y"])
        Table("user", metadata, Column("a", Integer), Column("b", Integer), key, Index(None, "a", "b"))

        assert {"user_a_b_fkey", "user_a_b_idx"} <= set(names(metadata))

    def test_primary_key_has_the_table_only(self) -> None:
        """A primary key of two columns is named after its table: there is one."""
        metadata = metadata_with_names()

        Table("user", metadata, Column("a", Integer), Column("b", Integer), PrimaryKeyConstraint("a", "b"))

        assert names(metadata) == ["user_pkey"]

    def test_columns_by_their_names_in_the_database(self) -> None:
        """The database's name of a column counts, not its key in the program."""
        metadata = metadata_with_names()
        Table("team", metadata, Column("id", Integer, primary_key=True))

        Table("user", metadata, Column("team_id", ForeignKey("team.id"), key="team", index=True))

        assert {"user_team_id_fkey", "user_team_id_idx"} <= set(names(metadata))

    def test_expression_index(self) -> None:
        """An index over an expression is named after the columns in it."""
        metadata = metadata_with_names()
        table = Table("user", metadata, Column("email", String))

        Index(None, func.lower(table.c.email))

        assert "user_email_idx" in names(metadata)


class TestLength:
    def test_the_longest_that_fits(self) -> None:
        """A name of exactly 63 bytes is kept."""
        column = "c" * (MAX_BYTES - len("user__key"))

        (name,) = of_table(Column(column, Integer, unique=True))

        assert name == f"user_{column}_key"
        assert len(name) == MAX_BYTES

    def test_one_byte_more(self) -> None:
        """One byte more is cut to 63, ends as before, and carries a hash."""
        column = "c" * (MAX_BYTES - len("user__key") + 1)

        (name,) = of_table(Column(column, Integer, unique=True))

        assert len(name) == MAX_BYTES
        assert name.startswith("user_ccc")
        assert name.endswith("_key")

    def test_long_names_that_differ_at_the_end(self) -> None:
        """What differs only behind the cut still has different names."""
        found = of_table(Column("c" * 60 + "a", Integer, unique=True), Column("c" * 60 + "b", Integer, unique=True))

        assert len(set(found)) == 2

    @pytest.mark.parametrize("letter", ["é", "字", "🦭"])
    def test_bytes_count(self, letter: str) -> None:
        """PostgreSQL counts bytes; a letter of several is never cut in two."""
        (name,) = of_table(Column(letter * 15, Integer, unique=True), Column("x", Integer), name="n" * 20)
        (short,) = of_table(Column(letter, Integer, unique=True))

        assert len(name.encode()) <= MAX_BYTES
        assert name.replace(letter, "").isascii()
        assert short == f"user_{letter}_key"

    def test_on_the_byte_bound(self) -> None:
        """Sixty-three bytes of two-byte letters are kept, sixty-four are cut."""
        (kept,) = of_table(Column("é" * 27, Integer, unique=True))
        (cut,) = of_table(Column("é" * 27 + "x", Integer, unique=True))

        assert len(kept.encode()) == MAX_BYTES
        assert "é" * 27 not in cut


class TestChecks:
    def test_text_without_a_name(self) -> None:
        """A CHECK given as text names no column, and is refused with the way out."""
        with pytest.raises(ConfigurationError, match="balance >= 0") as caught:
            of_table(Column("balance", Integer), CheckConstraint("balance >= 0"))

        assert 'name="balance"' in caught.value.hint

    def test_expression_without_a_name(self) -> None:
        """A CHECK given as an expression is named after its columns."""
        low, high = Column("low", Integer), Column("high", Integer)

        assert of_table(low, high, CheckConstraint(low < high)) == ["user_low_high_check"]

    def test_full_name_is_not_named_again(self) -> None:
        """A name that is already whole, as in a migration, is not doubled."""
        check = CheckConstraint("balance >= 0", name="account_balance_check")

        assert of_table(Column("balance", Integer), check, name="account") == ["account_balance_check"]

    def test_on_a_column(self) -> None:
        """A CHECK on a column is named as one on the table."""
        column = Column("balance", Integer, CheckConstraint("balance >= 0", name="positive"))

        assert of_table(column) == ["user_positive_check"]

    @pytest.mark.parametrize("dialect", DIALECTS)
    def test_enum_with_a_name(self, dialect: Any) -> None:
        """The CHECK of an Enum is named after it, the same each time it is asked."""
        metadata = metadata_with_names()
        kind = Enum(enum.Enum("State", "open closed"), create_constraint=True, native_enum=False)
        table = Table("account", metadata, Column("state", kind))

        first, second = (str(CreateTable(table).compile(dialect=dialect)) for _ in range(2))

        assert "CONSTRAINT account_state_check CHECK" in first
        assert first == second

    @pytest.mark.parametrize("dialect", DIALECTS)
    def test_enum_without_a_name(self, dialect: Any) -> None:
        """Without a name of its own the column gives it one, the same each time it is asked."""
        metadata = metadata_with_names()
        kind = Enum("open", "closed", create_constraint=True, native_enum=False)
        table = Table("account", metadata, Column("state", kind))

        first, second = (str(CreateTable(table).compile(dialect=dialect)) for _ in range(2))

        assert "CONSTRAINT account_state_check CHECK" in first
        assert first == second

    def test_two_on_the_same_columns(self) -> None:
        """Two that nothing tells apart are refused in either order."""
        column = Column("balance", Integer)

        with pytest.raises(NamingCollision, match="user_balance_check"):
            of_table(column, CheckConstraint(column > 0), CheckConstraint(column < 9))


class TestKeptNames:
    @pytest.mark.parametrize(
        "constraint",
        [
            UniqueConstraint("a", name="mine"),
            Index("mine", "a"),
            PrimaryKeyConstraint("a", name="mine"),
            ForeignKeyConstraint(["a"], ["other.id"], name="mine"),
        ],
    )
    def test_a_given_name_is_kept(self, constraint: Any) -> None:
        """What the program names keeps its name."""
        metadata = metadata_with_names()

        Table("user", metadata, Column("a", Integer), constraint)

        assert "mine" in names(metadata)

    def test_copy_to_another_metadata(self) -> None:
        """A copied table has the names of the original."""
        metadata = metadata_with_names()
        table = Table("user", metadata, Column("id", Integer, primary_key=True), Column("a", Integer, unique=True))
        table.append_constraint(CheckConstraint(table.c.a > 0))
        Index(None, table.c.a)
        copy = metadata_with_names()

        table.to_metadata(copy)

        assert names(copy) == names(metadata)
        assert names(metadata) == ["user_a_check", "user_a_idx", "user_a_key", "user_pkey"]

    def test_table_defined_again(self) -> None:
        """A table that is removed and defined again gets the same names."""
        metadata = metadata_with_names()
        table = Table("user", metadata, Column("a", Integer, unique=True))
        metadata.remove(table)

        Table("user", metadata, Column("a", Integer, unique=True))

        assert names(metadata) == ["user_a_key", "user_pkey"]


class TestCollisions:
    def test_across_tables(self) -> None:
        """user.group_id and user_group.id both want user_group_id_key; the one shorter table keeps it."""
        metadata = metadata_with_names()
        Table("user", metadata, Column("group_id", Integer, unique=True))
        other = Table("user_group", metadata, Column("id", Integer, unique=True))

        (name,) = [str(one.name) for one in other.constraints if isinstance(one, UniqueConstraint)]

        assert "user_group_id_key" in names(metadata)
        assert name != "user_group_id_key"
        assert name.startswith("user_group_id_")
        assert name.endswith("_key")

    def test_partial_index_beside_a_full_one(self) -> None:
        """Two indexes on the same columns have different names; the plain one has the plain name."""
        metadata = metadata_with_names()
        table = Table("user", metadata, Column("a", Integer))

        partial = Index(None, table.c.a, postgresql_where=text("a > 0"))
        plain = Index(None, table.c.a)

        assert plain.name == "user_a_idx"
        assert partial.name != plain.name

    def test_schemas_are_namespaces(self) -> None:
        """Tables of the same name in two schemas do not disturb each other."""
        metadata = metadata_with_names()

        Table("user", metadata, Column("a", Integer, unique=True), schema="x")
        Table("user", metadata, Column("a", Integer, unique=True), schema="y")

        assert names(metadata) == ["user_a_key", "user_a_key", "user_pkey", "user_pkey"]


class Spec(NamedTuple):
    """A constraint of a random schema."""

    table: str
    kind: str
    columns: tuple[str, ...]


WORDS = ["a", "b", "a_b", "b_a", "a_a", "key", "idx", "c" * 58, "c" * 59, "é" * 31]


def column_lists() -> st.SearchStrategy[tuple[str, ...]]:
    """Draw one to three columns."""
    return st.lists(st.sampled_from(WORDS), min_size=1, max_size=3, unique=True).map(tuple)


SPECS = st.lists(
    st.builds(Spec, st.sampled_from(WORDS), st.sampled_from(["uq", "ix", "partial", "fk", "ck"]), column_lists()),
    max_size=12,
    unique_by=lambda spec: (spec.table, spec.kind, spec.columns if spec.kind != "ck" else frozenset(spec.columns)),
)


def add(table: Table, spec: Spec) -> Any:
    """Put a constraint on its table and return it."""
    columns = [table.c[one] for one in spec.columns]
    match spec.kind:
        case "uq":
            table.append_constraint(made := UniqueConstraint(*columns))
        case "ix":
            return Index(None, *columns)
        case "partial":
            return Index(None, *columns, postgresql_where=columns[0] > 0)
        case "fk":
            table.append_constraint(made := ForeignKeyConstraint(columns, [f"target.{one}" for one in spec.columns]))
        case _:
            table.append_constraint(made := CheckConstraint(sum(columns[1:], columns[0]) > 0))
    return made


def build(specs: Sequence[Spec]) -> dict[Spec, str]:
    """Define the schema in this order and return the name of each constraint."""
    metadata = metadata_with_names()
    Table("target", metadata, *(Column(word, Integer) for word in WORDS))
    made = {}
    for spec in specs:
        table = metadata.tables.get(spec.table)
        if table is None:
            table = Table(spec.table, metadata, *(Column(word, Integer) for word in WORDS))
        made[spec] = add(table, spec)
    return {spec: str(constraint.name) for spec, constraint in made.items()}


class TestAnyOrder:
    @given(specs=SPECS, data=st.data())
    @settings(max_examples=300, deadline=None, derandomize=True)
    def test_names_do_not_depend_on_order(self, specs: list[Spec], data: st.DataObject) -> None:
        """In whatever order a schema is defined, each constraint gets the same name."""
        shuffled = data.draw(st.permutations(specs))

        assert build(specs) == build(shuffled)

    @given(specs=SPECS)
    @example(specs=[Spec("a", "uq", ("a_b",)), Spec("a_a", "uq", ("b",)), Spec("a", "uq", ("a", "b"))])
    @settings(max_examples=300, deadline=None, derandomize=True)
    def test_names_are_unique_and_fit(self, specs: list[Spec]) -> None:
        """No two constraints have one name, and none is longer than the database keeps."""
        found = list(build(specs).values())

        assert len(found) == len(set(found))
        assert max((len(name.encode()) for name in found), default=0) <= MAX_BYTES


HOSTILE = metadata_with_names()
Table(
    "t" * 60,
    HOSTILE,
    Column("i" * 60, Integer, primary_key=True),
    Column("é" * 30, Integer, unique=True),
    Column("order", Integer, index=True),
    Column("Amount %", Numeric(9, 2), unique=True),
    Column("state", Enum("x", "y", create_constraint=True, native_enum=False, length=5)),
)
Table(
    "é" * 30,
    HOSTILE,
    Column("id", Integer, primary_key=True),
    Column("f" * 60, ForeignKey(f"{'t' * 60}.{'i' * 60}", ondelete="CASCADE"), index=True),
    Column("low", Integer),
    Column("high", Integer),
    CheckConstraint("low < high", name="n" * 70),
    UniqueConstraint("low", "high"),
)


ENUM_CHECK = "t" * 48 + "_58aa99fb_check"


def stored_names(connection: Connection) -> set[str]:
    """Return the names that the database has."""
    found = inspect(connection)
    parts = [
        part
        for table in found.get_table_names()
        for read in (
            found.get_unique_constraints,
            found.get_indexes,
            found.get_foreign_keys,
            found.get_check_constraints,
        )
        for part in read(table)
    ]
    return {str(part["name"]) for part in parts}


class TestRealDatabases:
    async def test_hostile_names_are_stored_as_they_are(self, db: Database) -> None:
        """Long, multibyte and reserved names are made, and the database has exactly the names of the models."""
        # The CHECK of an Enum without a name is named when it is compiled.
        wanted = {name for name in names(HOSTILE) if not name.endswith(("_pkey", "NONE_NAME"))} | {ENUM_CHECK}

        async with db.engine.begin() as connection:
            await connection.run_sync(HOSTILE.create_all)
            stored = await connection.run_sync(stored_names)

        assert stored == wanted

    async def test_a_constraint_is_added_and_dropped_by_its_name(self, postgres: Database) -> None:
        """ALTER TABLE uses the same name as CREATE TABLE."""
        metadata = metadata_with_names()
        table = Table("user", metadata, Column("a", Integer))

        async with postgres.engine.begin() as connection:
            await connection.run_sync(metadata.create_all)
            unique = UniqueConstraint(table.c.a)
            await connection.execute(AddConstraint(unique))
            stored = await connection.run_sync(stored_names)

        assert stored == {"user_a_key"}
