"""Canaries of what SQLAlchemy's tables and types do not promise: each says which feature breaks without the name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Enum,
    Index,
    Integer,
    MetaData,
    Sequence,
    String,
    Table,
    create_engine,
    select,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.schema import AddConstraint, DropIndex

from sqlkeel import _sqlalchemy_tables as private

houses = Table("house", MetaData(), Column("id", Integer, primary_key=True))


class TestList:
    def test_each_has_a_canary(self) -> None:
        """A name that is added comes with what breaks without it."""
        canaries = Path(__file__).read_text(encoding="utf-8")

        assert [name for name in private.__all__ if f"private.{name}" not in canaries] == []


class TestTables:
    def test_affinity_of(self) -> None:
        """A renamed column would not be told from one that is dropped; unknown types would differ at every check."""
        assert private.affinity_of(BigInteger()) is private.affinity_of(Integer()) is Integer

    def test_variants_of(self) -> None:
        """A revision would lose with_variant()."""
        assert [*private.variants_of(Integer().with_variant(BigInteger(), "mysql"))] == ["mysql"]

    def test_is_bound_to_type(self) -> None:
        """A revision would have the CHECK of an Enum twice."""
        table = Table("t", MetaData(), Column("e", Enum("a", native_enum=False, create_constraint=True)))
        checks = [one for one in table.constraints if isinstance(one, CheckConstraint)]

        assert [private.is_bound_to_type(one) for one in checks] == [True]
        assert not private.is_bound_to_type(CheckConstraint("1 = 1"))

    def test_ddl_condition_of(self) -> None:
        """An index for one database would be written into a revision for all."""
        index = Index("i", "a").ddl_if(dialect="postgresql")

        assert private.ddl_condition_of(index).dialect == "postgresql"
        assert private.ddl_condition_of(Index("j", "a")) is None

    def test_sequences_of(self) -> None:
        """A revision would not make a sequence that no column uses."""
        metadata = MetaData()
        sequence = Sequence("numbers", metadata=metadata)

        assert [*private.sequences_of(metadata).values()] == [sequence]

    def test_index_of(self) -> None:
        """Dropping a foreign key on MariaDB would leave the index that the server has made for it."""
        table = Table("t", MetaData(), Column("a", Integer))
        index = private.index_of(table, "i")

        assert index.table is table
        assert str(DropIndex(index).compile(dialect=mysql.dialect())) == "\nDROP INDEX i ON t"

    def test_is_made(self) -> None:
        """The same: a comparison on another database would find it missing."""
        engine = create_engine("sqlite://")
        check: Any = CheckConstraint("a > 1", name="c").ddl_if(dialect="sqlite")
        Table("t", MetaData(), Column("a", Integer), check)
        statement = AddConstraint(check, isolate_from_table=False)
        with engine.connect() as connection:
            made = private.is_made(private.ddl_condition_of(check), statement, check, connection)
            check.ddl_if(dialect="postgresql")
            other = private.is_made(private.ddl_condition_of(check), statement, check, connection)
        engine.dispose()

        assert (made, other) == (True, False)

    def test_is_made_in(self) -> None:
        """A comparison would find the CHECK of a Boolean where a database needs none."""
        table = Table("t", MetaData(), Column("e", Enum("a", name="e", create_constraint=True)))
        (check,) = (one for one in table.constraints if isinstance(one, CheckConstraint))
        made = [
            private.is_made_in(check, kind().ddl_compiler(kind(), None))
            for kind in (sqlite.dialect, postgresql.dialect)
        ]

        assert made == [True, False]

    def test_copy_of_column(self) -> None:
        """A column of a new table could not be written with the type that it was given."""
        column = Column("a", String(5), nullable=False)
        copy = private.copy_of_column(column)

        assert (copy is column, copy.name, copy.nullable, copy.table is None) == (False, "a", False, True)

    def test_remove_column(self) -> None:
        """Lint on MariaDB would see the mark of unique_live, which no model has."""
        table = Table("t", MetaData(), Column("a", Integer), Column("b", Integer))
        private.remove_column(table, table.c.a)

        assert [column.name for column in table.columns] == ["b"]

    def test_column_beside(self) -> None:
        """An upsert on unique_live would not find its index on MariaDB."""
        condition = private.column_beside(houses, "live", Integer()) == 1

        assert str(select(houses.c.id).where(condition)).endswith("WHERE house.live = :live_1")
        assert "live" not in houses.c


class TestDefaults:
    def test_asks_for_defaults(self) -> None:
        """An error of the caller's default would be taken for one of the database."""
        assert callable(getattr(DefaultDialect.execution_ctx_cls, private.ASKS_FOR_DEFAULTS))

    def test_plain_function(self) -> None:
        """Bulk would not tell a default without a parameter: it would be called row by row, with the row."""

        def plain() -> int:
            return 1

        def of_row(context: Any) -> int:
            return 2

        defaults: list[Any] = [Column(default=plain).default, Column(default=of_row).default]

        assert [private.plain_function(one.arg) for one in defaults] == [plain, None]
        assert private.plain_function(1) is None
