"""What importing sqlkeel does to SQLAlchemy, Alembic and the rest of the program: nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from typing import Any

import pytest

EVERYTHING = """
import importlib, pkgutil, sqlkeel

for module in pkgutil.walk_packages(sqlkeel.__path__, "sqlkeel."):
    if not module.name.endswith(("__main__", "demo.migrations.env")) and ".versions." not in module.name:
        importlib.import_module(module.name)
"""
"""Imports each module of the package: but what runs when it is imported, and revisions."""

OTHERS = """
import importlib, json, pkgutil, sys, types
import aiosqlite, alembic.command, alembic.context, asyncio, asyncmy, asyncpg, fastapi, litestar, psycopg, sqlalchemy
import sqlalchemy.ext.asyncio, sqlalchemy.dialects.mysql, sqlalchemy.dialects.postgresql, sqlalchemy.dialects.sqlite
import alembic.autogenerate, pytest, sqlalchemy.ext.mutable, starlette.applications, typer
from alembic.autogenerate.compare import comparators
from alembic.autogenerate.render import renderers
from alembic.ddl.impl import _impls
from sqlalchemy.event import registry

NAMES = {
    "aiosqlite", "alembic", "asyncio", "asyncmy", "asyncpg", "fastapi", "litestar", "psycopg", "pytest", "sqlalchemy",
    "starlette", "typer",
}
# What Python and SQLAlchemy themselves write into a class when it is first used, or into a counter.
BY_USE = {"__annotations__", "__slotnames__", "_creation_order", "_name_error"}
there = [name for name in sys.modules if name.partition(".")[0] in NAMES]
kept = []  # so that no address stands for a second object


def attributes():
    for name in there:
        for key, value in list(vars(sys.modules[name]).items()):
            if not isinstance(value, types.ModuleType):
                yield f"{name}.{key}", value
            if isinstance(value, type) and value.__module__ == name:
                yield from ((f"{name}.{key}.{attribute}", what) for attribute, what in list(vars(value).items()))


def registered():
    yield from ((f"implementation of {name}", one) for name, one in _impls.items())
    for kind in (comparators, renderers):
        for (target, _), ones in kind._registry.items():
            if not getattr(target, "__module__", "").startswith("sqlkeel."):
                yield f"dispatch of {target}", tuple(ones) if isinstance(ones, list) else ones


def state():
    found = {**dict(attributes()), **dict(registered())}
    kept.append(list(found.values()))
    return {
        key: value if isinstance(value, tuple) else id(value)
        for key, value in found.items()
        if key.rpartition(".")[2] not in BY_USE and "_generated" not in key
    }


def watched():
    classes = {id(value): path for path, value in attributes() if isinstance(value, type)}
    return {f"listener of {classes[key[0]]}" for key in registry._key_to_collection if key[0] in classes}


before, listeners = state(), watched()
EVERYTHING
after = state()
changed = {key for key in after if after[key] != before.get(key)} | (before.keys() - after.keys())
print(json.dumps(sorted(changed | (watched() - listeners))))
"""


def run(program: str) -> Any:
    """Run a program in a process of its own, which has imported nothing yet; return what it printed as JSON."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class TestOthers:
    def test_nothing_of_theirs_is_changed(self) -> None:
        """No function, class, listener, comparison or implementation of theirs: only operations of a name are added."""
        operations = (
            "change_members",
            "create_circular_key",
            "create_version_trigger",
            "drop_circular_key",
            "drop_version_trigger",
        )

        changed = run(OTHERS.replace("EVERYTHING", EVERYTHING))

        assert changed == sorted(
            f"{place}.{name}" for name in operations for place in ("alembic.op", "alembic.operations.base.Operations")
        )


class TestCost:
    def test_no_dialect_is_loaded(self) -> None:
        """The dialect of a database is loaded by the first engine for it: PostgreSQL's costs a tenth of the import."""
        modules = run("from sqlkeel import *\nimport json, sys\nprint(json.dumps(list(sys.modules)))")

        assert {name.split(".")[2] for name in modules if name.startswith("sqlalchemy.dialects.")} == set()


THEIRS = """
from sqlalchemy import ForeignKeyConstraint
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import CreateIndex, DropIndex


@compiles(CreateIndex, "mariadb")
def create(element, compiler, **options):
    return "/* theirs */ " + compiler.visit_create_index(element, **options)


@compiles(DropIndex, "mariadb")
def drop(element, compiler, **options):
    return "/* theirs */ " + compiler.visit_drop_index(element, **options)


@compiles(ForeignKeyConstraint, "mariadb")
def key(element, compiler, **options):
    element.deferrable = element.initially = None
    return compiler.visit_foreign_key_constraint(element, **options)
"""
"""What SQLAlchemy's manual shows for a database that knows no DEFERRABLE, and the same for indexes."""

MADE = """
import json
from sqlalchemy import Column, ForeignKey, Index, Integer, MetaData, String, Table, create_mock_engine

metadata, printed = MetaData(), []
Table("team", metadata, Column("id", Integer, primary_key=True))
team = Column("team_id", ForeignKey("team.id", deferrable=True, initially="DEFERRED"))
mark = Column("deleted_at", Integer)
live = sqlkeel.unique_live("email")
user = Table("user", metadata, Column("id", Integer, primary_key=True), team, Column("email", String(50)), mark, live)
live.name = "user_email_idx"
Index("user_deleted_at_idx", mark)
collect = lambda statement, *_, **__: printed.append(" ".join(str(statement.compile(dialect=engine.dialect)).split()))
engine = create_mock_engine("mariadb+asyncmy://", collect)
metadata.create_all(engine, checkfirst=False)
live.drop(engine, checkfirst=False)
print(json.dumps(printed))
"""


class TestBoth:
    @pytest.mark.parametrize("parts", [(THEIRS, EVERYTHING), (EVERYTHING, THEIRS)], ids=["theirs first", "ours first"])
    def test_ours_and_theirs_work(self, parts: tuple[str, str]) -> None:
        """Beside what another library has the compiler do, in either order, both do what they do alone."""
        printed = run("\n".join([*map(textwrap.dedent, parts), MADE]))

        keys = [one for one in printed if "FOREIGN KEY" in one]
        indexes = [one for one in printed if "user_email_idx" in one]
        assert len(keys) == 1
        assert "DEFERRABLE" not in keys[0]
        assert "/* theirs */ CREATE INDEX user_deleted_at_idx ON user (deleted_at)" in printed
        assert [one.partition(" TINYINT")[0] for one in indexes] == [
            "/* theirs */ ALTER TABLE user DROP COLUMN IF EXISTS user_email_idx_live, ADD COLUMN user_email_idx_live",
            "/* theirs */ ALTER TABLE user DROP INDEX user_email_idx, DROP COLUMN IF EXISTS user_email_idx_live",
        ]
