"""What is run: whose tests, from which release, and on which databases."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

__all__ = ["DATABASES", "SUITES", "Suite"]

DATABASES: Final = ("sqlite", "postgresql")


@dataclass(frozen=True, kw_only=True)
class Suite:
    """Tests of somebody else, from the source distribution of a release.

    ``drivers`` has the driver of each database that the suite is run on; ``needs`` is what its tests import and our
    environment lacks; ``left_out`` are files that cannot tell anything about a session, or that another suite runs.
    Tests that share one database are not ``parallel``.
    """

    distribution: str
    release: str
    paths: tuple[str, ...]
    drivers: dict[str, str]
    needs: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    parallel: bool = True


_SQLALCHEMY: Final = version("sqlalchemy")
_BY_SQLALCHEMY: Final = ("-p", "no:asyncio")  # Its own plugin runs its asynchronous tests.

SUITES: Final = {
    "orm": Suite(
        distribution="sqlalchemy",
        release=_SQLALCHEMY,
        paths=("test/orm", "test/ext", "test/sql/test_lambdas.py"),
        drivers={"sqlite": "sqlite://", "postgresql": "psycopg"},
        left_out=("test/ext/asyncio",),
        options=_BY_SQLALCHEMY,
    ),
    "async": Suite(
        distribution="sqlalchemy",
        release=_SQLALCHEMY,
        paths=tuple(f"test/ext/asyncio/test_{name}.py" for name in ("session", "scoping", "cancellation")),
        drivers={"sqlite": "sqlite+aiosqlite://", "postgresql": "asyncpg"},
        options=_BY_SQLALCHEMY,
    ),
    "sqlmodel": Suite(
        distribution="sqlmodel",
        release="0.0.50",
        paths=("tests",),
        drivers={"sqlite": "sqlite://"},
        needs=("dirty-equals==0.11", "jinja2==3.1.6", "black==26.10.1"),
        left_out=(
            "tests/test_prepare_release.py",
            "tests/test_select_gen.py",
            "tests/test_select_typing.py",
            # They start a process of their own, where the sessions are SQLModel's.
            "tests/test_tutorial/test_create_db_and_table/test_tutorial001.py",
            "tests/test_tutorial/test_fastapi/test_app_testing/test_tutorial001_tests_main.py",
        ),
        options=("-p", "no:asyncio"),
    ),
    "fastapi-users": Suite(
        distribution="fastapi-users-db-sqlalchemy",
        release="7.0.0",
        paths=("tests",),
        drivers={"sqlite": "sqlite+aiosqlite:///users.db"},
        needs=("fastapi-users==15.0.5",),
        parallel=False,
    ),
}
