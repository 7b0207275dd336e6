"""Choices: an enumeration is stored as a plain value that Python and the database check."""

from __future__ import annotations

import enum
import pickle
import sys
from types import ModuleType
from typing import Annotated, Any, Literal

import pytest
from sqlalchemy import CheckConstraint, Column, ForeignKey, String, Table, func, insert, select, text, update
from sqlalchemy import Enum as NativeEnum
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.orm.exc import FlushError

import sqlkeel
from sqlkeel.bulk import insert_many, upsert_many
from sqlkeel.errors import (
    CheckViolation,
    ConfigurationError,
    DatabaseFault,
    InvalidValue,
    NotSupported,
    UnexpectedValue,
)
from sqlkeel.models import metadata_with_names
from sqlkeel.repository import Repository
from sqlkeel.sessions import Database
from sqlkeel.types import Choice


class Status(enum.StrEnum):
    """Texts that are shown."""

    DRAFT = "draft"
    LIVE = "live"
    ASIDE = "it's 100% aside: \\o/"


class Colour(enum.Enum):
    """Numbers that say nothing."""

    RED = enum.auto()
    BLUE = enum.auto()
    CRIMSON = RED


class Priority(enum.IntEnum):
    """Numbers that are an order."""

    LOW = 1
    HIGH = 20


Indexed = Annotated[Status, mapped_column(index=True)]


class Base(sqlkeel.Base):
    """The tables of these tests."""


class Task(Base):
    """Has a choice of each kind."""

    __tablename__ = "task"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    status: Mapped[Status | None]
    colour: Mapped[Colour | None]
    priority: Mapped[Priority | None]
    size: Mapped[Literal["small", "large"] | None]
    stars: Mapped[Literal[1, 2, 3] | None]


class Day(Base):
    """Has a choice in its key."""

    __tablename__ = "day"
    colour: Mapped[Colour] = mapped_column(primary_key=True)
    task_id: Mapped[int] = mapped_column(ForeignKey("task.id"), primary_key=True)


pytestmark = pytest.mark.tables(Base.metadata)

KINDS = {
    "status": Status.ASIDE,
    "colour": Colour.RED,
    "priority": Priority.HIGH,
    "size": "large",
    "stars": 3,
}
STRANGERS = {
    "status": ["live", "LIVE", Colour.RED, 1],
    "colour": ["RED", 1, Status.LIVE],
    "priority": [1, True, "LOW", Colour.RED],
    "size": ["Small", "", 1, Status.DRAFT, None.__class__],
    "stars": [4, True, "1", 1.0],
}


def checks(table: Any) -> dict[str, str]:
    """Return the CHECKs of a table by name."""
    return {str(one.name): str(one.sqltext) for one in table.constraints if isinstance(one, CheckConstraint)}


class Rule(Base):
    """Has the number of an enumeration for its key."""

    __tablename__ = "rule"
    key: Mapped[Priority] = mapped_column(primary_key=True)
    note: Mapped[str]


class Band(Base):
    """Has one of some numbers for its key."""

    __tablename__ = "band"
    key: Mapped[Literal[10, 20]] = mapped_column(primary_key=True)
    note: Mapped[str]


KEYS: dict[Any, Any] = {Rule: Priority.HIGH, Band: 20}


class TestValues:
    @pytest.mark.parametrize("column", KINDS)
    async def test_a_member_comes_back(self, every_driver: Database, column: str) -> None:
        """What is read is the member itself, through the ORM."""
        async with every_driver.transaction() as session:
            session.add(Task(id=1, **{column: KINDS[column]}))

        async with every_driver.read() as session:
            found = getattr(await session.get_one(Task, 1), column)

        assert found == KINDS[column]
        assert type(found) is type(KINDS[column])

    async def test_nothing_stays_nothing(self, every_driver: Database) -> None:
        """NULL is None, and passes the CHECK."""
        async with every_driver.transaction() as session:
            session.add(Task(id=1))

        async with every_driver.read() as session:
            assert (await session.get_one(Task, 1)).status is None

    async def test_bulk_writes_the_same(self, every_driver: Database) -> None:
        """COPY and the other ways in, and an upsert over them, store what the ORM stores."""
        async with every_driver.transaction() as session:
            await insert_many(session, Task, [{"id": 1, **KINDS}])
            await upsert_many(session, Task, [{"id": 1, **KINDS, "status": Status.LIVE}], on=[Task.id])

        async with every_driver.read() as session:
            task = await session.get_one(Task, 1)

        assert {name: getattr(task, name) for name in KINDS} == {**KINDS, "status": Status.LIVE}

    async def test_what_is_stored(self, every_driver: Database) -> None:
        """Texts by their value, numbers of an IntEnum as numbers, other members by their name."""
        async with every_driver.transaction() as session:
            session.add(Task(id=1, **KINDS))

        async with every_driver.read() as session:
            row = (await session.execute(text("SELECT status, colour, priority, size, stars FROM task"))).one()

        assert tuple(row) == ("it's 100% aside: \\o/", "RED", 20, "large", 3)

    @pytest.mark.parametrize(("column", "value"), [(name, one) for name, many in STRANGERS.items() for one in many])
    async def test_what_is_no_member_is_refused(self, sqlite: Database, column: str, value: object) -> None:
        """The text of a member is not the member; True is not 1."""
        with pytest.raises(InvalidValue, match="is not a member of "):
            async with sqlite.transaction() as session:
                session.add(Task(id=1, **{column: value}))

    async def test_the_error_names_the_members(self, sqlite: Database) -> None:
        """The hint lists what may be written."""
        with pytest.raises(InvalidValue) as caught:
            async with sqlite.transaction() as session:
                session.add(Task(id=1, size="tiny"))

        assert caught.value.hint == "One of 'small', 'large'."

    @pytest.mark.parametrize("text", ["live", "LIVE"])
    async def test_the_error_names_the_member(self, sqlite: Database, text: str) -> None:
        """A text that a member has for its value or name is not taken for it, and the hint says how to write it."""
        with pytest.raises(InvalidValue) as caught:
            async with sqlite.transaction() as session:
                session.add(Task(id=1, status=text))

        assert caught.value.hint == "Status.LIVE, or Status('live')."

    async def test_an_unknown_value_in_the_database(self, sqlite: Database) -> None:
        """Reading it is an error of ours that names it: a LookupError would look like a row that is not there."""
        async with sqlite.transaction() as session:
            await session.execute(text("PRAGMA ignore_check_constraints = 1"))
            await session.execute(text("INSERT INTO task (id, status) VALUES (1, 'gone')"))
            await session.execute(text("PRAGMA ignore_check_constraints = 0"))

        with pytest.raises(UnexpectedValue, match="'gone', which is not a member of Status") as caught:
            async with sqlite.read() as session:
                await session.get(Task, 1)
        assert not isinstance(caught.value, LookupError | ValueError)


class TestQueries:
    async def test_members_compare(self, every_driver: Database) -> None:
        """Equality, IN and IS DISTINCT FROM take members, and numbers have their order."""
        async with every_driver.transaction() as session:
            session.add_all(
                [
                    Task(id=1, status=Status.LIVE, colour=Colour.RED, priority=Priority.LOW),
                    Task(id=2, status=Status.ASIDE, colour=Colour.BLUE, priority=Priority.HIGH),
                ]
            )

        async with every_driver.read() as session:
            answers = [
                (await session.scalars(select(Task.id).where(condition).order_by(Task.id))).all()
                for condition in (
                    Task.status == Status.LIVE,
                    Task.colour.in_([Colour.RED, Colour.BLUE]),
                    Task.colour.is_distinct_from(Colour.RED),
                    Task.priority > Priority.LOW,
                    Task.status.like("it%"),
                )
            ]

        assert answers == [[1], [1, 2], [2], [2], [2]]

    async def test_a_text_in_a_query_is_refused(self, sqlite: Database) -> None:
        """It would find nothing where it is misspelt."""
        with pytest.raises(InvalidValue):
            async with sqlite.read() as session:
                await session.execute(select(Task).where(Task.status == "liv"))

    async def test_a_statement_takes_members(self, every_driver: Database) -> None:
        """insert() and update() of Core store the same."""
        async with every_driver.transaction() as session:
            await session.execute(insert(Task), [{"id": 1, "colour": Colour.RED}])
            await session.execute(update(Task).values(colour=Colour.BLUE))
            assert await session.scalar(select(Task.colour)) is Colour.BLUE

    async def test_members_sort_in_a_key(self, every_driver: Database) -> None:
        """Rows whose key has a member of an Enum, which Python cannot sort, are written in one flush."""
        async with every_driver.transaction() as session:
            session.add(Task(id=1))
            await session.flush()
            session.add_all([Day(colour=Colour.RED, task_id=1), Day(colour=Colour.BLUE, task_id=1)])
            await session.flush()
            for day in await session.scalars(select(Day)):
                await session.delete(day)

        async with every_driver.read() as session:
            assert await session.scalar(select(func.count()).select_from(Day)) == 0


class TestKeys:
    @pytest.mark.parametrize("model", [Rule, Band])
    async def test_a_number_may_be_the_key(self, every_driver: Database, model: Any) -> None:
        """The table can be made, and the key is the one that was given."""
        async with every_driver.transaction() as session:
            await Repository(session, model).create(key=KEYS[model], note="a")

        async with every_driver.session() as session:
            assert (await session.get_one(model, KEYS[model])).note == "a"

    @pytest.mark.filterwarnings("ignore:Column .* is marked as a member of the primary key")
    @pytest.mark.parametrize("model", [Rule, Band])
    async def test_no_server_counts_it_up(self, every_driver: Database, model: Any) -> None:
        """A row without a key is refused, where a counted one would be no member."""
        async with every_driver.session() as session:
            with pytest.raises((DatabaseFault, FlushError)):
                await Repository(session, model).create(note="a")

    @pytest.mark.parametrize("kind", [Priority, Literal[1, 2]])
    def test_a_plain_table_does_not_count_either(self, kind: Any) -> None:
        """Without the ORM it is the same column, and a choice of autoincrement is kept."""
        plain = Table("plain", metadata_with_names(), Column("key", Choice(kind), primary_key=True))

        assert plain.autoincrement_column is None


class TestCheck:
    @pytest.mark.parametrize(
        ("column", "stored"), [("status", "'gone'"), ("colour", "'CRIMSON'"), ("priority", "2"), ("stars", "4")]
    )
    async def test_the_database_refuses_others(self, every_driver: Database, column: str, stored: str) -> None:
        """Another program cannot write what is no member; the CHECK carries the name of the convention."""
        with pytest.raises(CheckViolation) as caught:
            async with every_driver.transaction() as session:
                await session.execute(text(f"INSERT INTO task (id, {column}) VALUES (1, {stored})"))

        assert caught.value.constraint == f"task_{column}_check"

    @pytest.mark.parametrize("stored", ["'LIVE'", "'live '"])
    async def test_it_compares_byte_by_byte(self, every_driver: Database, stored: str) -> None:
        """MariaDB's usual collations would let another case and trailing spaces pass."""
        with pytest.raises(CheckViolation):
            async with every_driver.transaction() as session:
                await session.execute(text(f"INSERT INTO task (id, status) VALUES (1, {stored})"))

    def test_a_copy_of_the_table_has_it_once(self) -> None:
        """to_metadata() neither loses nor doubles a CHECK."""
        copy = Task.__table__.to_metadata(metadata_with_names())  # type: ignore[attr-defined]

        assert checks(copy) == checks(Task.__table__)
        assert len([one for one in copy.constraints if isinstance(one, CheckConstraint)]) == 5

    def test_a_plain_table_has_it(self) -> None:
        """It belongs to the type, and needs no Base."""
        table = Table("plain", metadata_with_names(), Column("status", Choice(Status)))

        assert [*checks(table)] == ["plain_status_check"]

    def test_metadata_travels(self) -> None:
        """Tables pickle, as SQLAlchemy's own types do."""
        metadata = pickle.loads(pickle.dumps(Base.metadata))

        assert checks(metadata.tables["task"]).keys() == checks(Task.__table__).keys()

    def test_two_columns_of_one_kind(self) -> None:
        """Each column has a CHECK of its own."""
        kind = Choice(Status)
        table = Table("two", metadata_with_names(), Column("a", kind), Column("b", kind))

        assert {*checks(table)} == {"two_a_check", "two_b_check"}


class TestKinds:
    @pytest.mark.parametrize(
        "kind",
        [
            enum.Flag("Right", ["READ", "WRITE"]),
            Literal["a", 1],
            Literal[True, False],
            Literal["a", None],  # noqa: PYI061
            enum.IntEnum("Far", {"AWAY": 2**31}),
        ],
        ids=str,
    )
    def test_what_cannot_be_stored_is_refused(self, kind: Any) -> None:
        """Flags are combined, mixed literals have no type, and an INTEGER has 32 bits."""
        with pytest.raises(NotSupported):
            Choice(kind)

    def test_the_largest_number_fits(self) -> None:
        """The bound itself passes."""
        ends = Choice(Literal[2147483647, -2147483648])

        assert len(ends.stored) == 2

    @pytest.mark.parametrize(("length", "fits"), [(64, True), (65, False)])
    def test_a_member_has_64_characters(self, length: int, fits: bool) -> None:
        """One more is refused as the class is made, and not by the first row."""
        kind: Any = Literal["x" * length]

        assert _accepts(lambda: Choice(kind)) is fits
        assert Choice(kind, length=65).length == 65

    def test_an_empty_one_is_refused(self) -> None:
        """There is nothing that could be stored."""
        with pytest.raises(ConfigurationError, match="no members"):
            Choice(enum.Enum("Empty", []))

    def test_there_is_room_for_longer_members(self) -> None:
        """A longer member next year needs no change of the column's type."""
        kind: Any = Task.__table__.c.status.type

        assert kind.length == 64


class TestTypeMap:
    def test_annotated(self) -> None:
        """An enumeration inside of Annotated is found, and its mapped_column() holds."""

        class Own(sqlkeel.Base):
            pass

        class Row(Own):
            __tablename__ = "row"
            id: Mapped[int] = mapped_column(primary_key=True)
            status: Mapped[Indexed]

        assert isinstance(Row.__table__.c.status.type, Choice)
        assert {index.name for index in Row.__table__.indexes} == {"row_status_idx"}  # type: ignore[attr-defined]

    @pytest.mark.parametrize("own", [{enum.Enum: NativeEnum(enum.Enum)}, {Status: String(9)}], ids=["above", "exact"])
    def test_a_map_of_your_own_wins(self, own: dict[Any, Any]) -> None:
        """An entry for the class, or for one above it, is used instead."""

        class Own(sqlkeel.Base):
            type_annotation_map = {**own, Literal["a"]: String(1)}

        class Row(Own):
            __tablename__ = "row"
            id: Mapped[int] = mapped_column(primary_key=True)
            status: Mapped[Status] = mapped_column()
            size: Mapped[Literal["a"]]

        assert not isinstance(Row.__table__.c.status.type, Choice)
        assert not isinstance(Row.__table__.c.size.type, Choice)


def _accepts(call: Any) -> bool:
    try:
        call()
    except ConfigurationError:
        return False
    return True


Sizes = Literal["s", "m"]
Digits = Literal[1, 2]
WRITTEN: dict[str, list[Any]] = {
    "Literal[10, 20]": [10, 20],
    "Literal[7]": [7],
    "Literal[-1, 0x10]": [-1, 16],
    "Literal[Literal[1], 2]": [1, 2],
    "Literal[10, 20] | None": [10, 20],
    "Optional[Literal[10, 20]]": [10, 20],
    "typing.Optional[typing.Literal[10, 20]]": [10, 20],
    "Chosen[10, 20]": [10, 20],
    "Literal['10', '20']": ["10", "20"],
    "Literal['a, b', r'c']": ["a, b", "c"],
    "Sizes": ["s", "m"],
    "Optional[Sizes]": ["s", "m"],
    "Optional[Digits]": [1, 2],
    "'Literal[10, 20]'": [10, 20],
}
REFUSED = [
    "Literal[10, 'a']",
    "Literal[10, None]",
    "Literal[Status.DRAFT]",
    "Literal[Priority.LOW, 1]",
    "Literal[True]",
]
every_mode = pytest.mark.parametrize("mode", ["", "from __future__ import annotations\n"], ids=["objects", "texts"])


def declare(annotation: str, *, mode: str, dataclass: bool = False, mixed: bool = False) -> Choice:
    """Run the source of a module with a class that has one annotation, and return the type of its column."""
    bases = "MappedAsDataclass, Base" if dataclass else "Base"
    column = f"    value: Mapped[{annotation}]\n"
    source = (
        f"{mode}"
        "import typing\n"
        "from typing import Literal, Literal as Chosen, Optional\n"
        "from sqlalchemy.orm import Mapped, MappedAsDataclass, mapped_column\n"
        "import sqlkeel\n"
        "from tests.types.test_choice import Digits, Priority, Sizes, Status\n"
        "class Base(sqlkeel.Base): ...\n"
        f"class Mixin:\n{column if mixed else '    ...'}\n"
        f"class Model({'Mixin, ' if mixed else ''}{bases}):\n"
        "    __tablename__ = 'model'\n"
        "    id: Mapped[int] = mapped_column(primary_key=True)\n"
        f"{'' if mixed else column}"
    )
    module = ModuleType("written_as_text")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, module.__name__, module)
        exec(compile(source, "<model>", "exec", dont_inherit=True), vars(module))
    kind: Choice = module.Model.__table__.c.value.type
    return kind


@every_mode
class TestWrittenAnnotations:
    """What stands in the source, whether the class gets it as an object or as a text."""

    @pytest.mark.parametrize("annotation", WRITTEN)
    def test_the_values_are_those_of_the_source(self, annotation: str, mode: str) -> None:
        """SQLAlchemy makes texts of numbers in an annotation that is a text."""
        assert list(declare(annotation, mode=mode).stored) == WRITTEN[annotation]

    @pytest.mark.parametrize("annotation", REFUSED)
    def test_other_values_are_refused(self, annotation: str, mode: str) -> None:
        """When the class is declared, as everywhere else."""
        with pytest.raises(NotSupported, match="neither of strings nor of integers"):
            declare(annotation, mode=mode)

    def test_a_dataclass_has_them_too(self, mode: str) -> None:
        """Its annotations are looked at by the standard library as well."""
        assert list(declare("Literal[10, 20]", mode=mode, dataclass=True).stored) == [10, 20]

    def test_a_mixin_has_them_too(self, mode: str) -> None:
        """The annotation stands in another class than the one that is mapped."""
        assert list(declare("Literal[10, 20]", mode=mode, mixed=True).stored) == [10, 20]
