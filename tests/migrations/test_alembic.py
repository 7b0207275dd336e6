"""Canaries of what Alembic does not promise: each says which feature breaks with a release that changes the name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate.api import AutogenContext
from alembic.config import CommandLine, Config
from alembic.ddl.postgresql import PostgresqlImpl
from alembic.operations import ops
from alembic.operations.batch import ApplyBatchImpl
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory, write_hooks
from alembic.util.messaging import status
from sqlalchemy import CheckConstraint, Column, Index, Integer, MetaData, String, Table, create_engine, func
from sqlalchemy.dialects import postgresql

from sqlkeel.migrations import _alembic as unpromised

MAKO = """
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
"""

REVISION = """
revision = {0!r}
down_revision = {1!r}
def upgrade(): ...
def downgrade(): ...
"""


@pytest.fixture
def scripts(tmp_path: Path) -> ScriptDirectory:
    """A directory with two revisions, one after the other."""
    (tmp_path / "versions").mkdir()
    (tmp_path / "script.py.mako").write_text(MAKO)
    for name, before in (("one", None), ("two", "one")):
        (tmp_path / "versions" / f"{name}.py").write_text(REVISION.format(name, before))
    return ScriptDirectory(str(tmp_path))


@pytest.fixture
def context() -> Any:
    """What the parts of a revision are written with."""
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        options = {"sqlalchemy_module_prefix": "sa.", "alembic_module_prefix": "op.", "user_module_prefix": None}
        yield AutogenContext(MigrationContext.configure(connection), MetaData(), options | {"render_item": None})
    engine.dispose()


@pytest.fixture
def implementation() -> PostgresqlImpl:
    """Alembic's part for PostgreSQL."""
    return PostgresqlImpl(postgresql.dialect(), None, True, None, None, {})


class TestList:
    def test_each_has_a_canary(self) -> None:
        """A name that is added comes with what breaks without it."""
        canaries = Path(__file__).read_text(encoding="utf-8")

        assert [name for name in unpromised.__all__ if f"unpromised.{name}" not in canaries] == []


class TestRevisions:
    def test_steps_up(self, scripts: ScriptDirectory) -> None:
        """`sqlkeel migrate up` would not know what to run."""
        assert [step.revision.revision for step in unpromised.steps_up(scripts, "head", ())] == ["one", "two"]
        assert [step.revision.revision for step in unpromised.steps_up(scripts, "head", ("one",))] == ["two"]

    def test_steps_down(self, scripts: ScriptDirectory) -> None:
        """`sqlkeel migrate down` would not know what to take back."""
        assert [step.revision.revision for step in unpromised.steps_down(scripts, "-1", ("two",))] == ["two"]

    def test_file_of(self, scripts: ScriptDirectory) -> None:
        """A new revision would not have the name that the project's ``file_template`` gives it."""
        folder = Path(scripts.dir) / "versions"
        scripts.file_template = "%(rev)s_%(slug)s"

        made = unpromised.file_of(scripts, folder, revision="three", message="Add a house")

        assert made == folder / "three_add_a_house.py"

    def test_name_next_file(self, scripts: ScriptDirectory) -> None:
        """A new revision would be written to a file of Alembic's naming, beside the one that was opened for it."""
        unpromised.name_next_file(scripts, "100%_of_it")

        made = scripts.generate_revision("three", "any", head="head")

        assert made is not None
        assert Path(made.path).name == "100%_of_it.py"

    def test_take_hooks(self, tmp_path: Path, scripts: ScriptDirectory) -> None:
        """The project's own formatter would run before ours, and on an unfinished file."""
        given = [{"_hook_name": "ours", "type": "sqlkeel_unknown"}]
        scripts.hooks = given

        taken = unpromised.take_hooks(scripts)
        scripts.generate_revision("three", "any", head="head")

        assert taken == given

    def test_run_hooks(self, tmp_path: Path) -> None:
        """The project's own formatter would not run on a new revision."""
        path = tmp_path / "one.py"
        path.write_text("before")
        write_hooks.register("sqlkeel_canary")(lambda name, options: Path(name).write_text("after"))

        unpromised.run_hooks(path, [{"_hook_name": "ours", "type": "sqlkeel_canary"}])

        assert path.read_text() == "after"


class TestRendering:
    def test_render_type(self, context: AutogenContext) -> None:
        """A revision would lose what a type is on other databases."""
        assert unpromised.render_type(String(5), context) == "sa.String(length=5)"

    def test_render_column(self, context: AutogenContext) -> None:
        """A revision would lose the sequence of a column."""
        column = Column("a", Integer(), nullable=False)

        assert unpromised.render_column(column, context) == "sa.Column('a', sa.Integer(), nullable=False)"

    def test_render_constraint(self, context: AutogenContext) -> None:
        """A revision would lose the ddl_if() of a constraint."""
        check = CheckConstraint("a > 1", name="c")
        Table("t", MetaData(), Column("a", Integer), check)

        assert unpromised.render_constraint(check, context) == "sa.CheckConstraint('a > 1', name='c')"


class TestIndexes:
    def test_difference_in_uniqueness(self, implementation: PostgresqlImpl) -> None:
        """A comparison would not see that an index has become unique."""
        table = Table("t", MetaData(), Column("a", Integer))
        plain, unique = Index("i", table.c.a), Index("i", table.c.a, unique=True)

        assert unpromised.difference_in_uniqueness(implementation, plain, plain) is None
        assert unpromised.difference_in_uniqueness(implementation, plain, unique)

    def test_sql_of(self, implementation: PostgresqlImpl) -> None:
        """A comparison would not see that the expression of an index has changed."""
        table = Table("t", MetaData(), Column("a", String))

        assert unpromised.sql_of(implementation, func.lower(table.c.a)) == "lower(a)"


class TestCopies:
    def test_table_of_copy(self) -> None:
        """A copy that a migration on SQLite has left behind would not be found."""
        assert ApplyBatchImpl._calc_temp_name("house") == f"{unpromised.TABLE_OF_COPY}house"


class TestCommands:
    def test_quiet(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Alembic would print a line for each file that sqlkeel writes."""
        config = Config(cmd_opts=unpromised.quiet())

        with status("Generating", newline=True, **config.messaging_opts):
            pass

        assert capsys.readouterr().out == ""

    def test_is_command(self) -> None:
        """The command ``alembic`` would print a traceback for a wrong setting."""
        options = CommandLine().parser.parse_args(["current"])

        assert unpromised.is_command(Config(cmd_opts=options))
        assert not unpromised.is_command(Config())
        assert not unpromised.is_command(Config(cmd_opts=unpromised.quiet()))

    def test_become(self) -> None:
        """A foreign key would be written without the index that belongs to it."""

        class Own(ops.DropConstraintOp):
            index_name = "i"

        dropped = ops.DropConstraintOp("a_fkey", "a")
        own = unpromised.become(dropped, Own)

        assert (type(dropped), type(own), own.index_name) == (ops.DropConstraintOp, Own, "i")
        assert own.constraint_name == "a_fkey"
