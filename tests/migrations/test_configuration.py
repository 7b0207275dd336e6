"""Which database Alembic's configuration names."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic.config import Config
from sqlalchemy import make_url

from sqlkeel import errors
from sqlkeel.migrations.configuration import read_configuration, same_database, url_of_caller, url_of_file

HOST = "postgresql+asyncpg://ann:secret@db/shop"


class TestSameDatabase:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("postgresql+psycopg2://ann@db:5432/shop", HOST),
            ("postgresql://ann:other@db/shop", HOST),
            ("mysql+pymysql://ann@db/shop", "mariadb+asyncmy://ann@db:3306/shop"),
            ("sqlite:///shop.db", f"sqlite+aiosqlite:///{Path.cwd()}/shop.db"),
            ("sqlite://", "sqlite+aiosqlite:///:memory:"),
        ],
    )
    def test_driver_password_and_usual_port_do_not_count(self, one: str, other: str) -> None:
        """alembic.ini often names the driver without asyncio."""
        assert same_database(one, make_url(other))

    @pytest.mark.parametrize(
        "one",
        [
            "postgresql://ann@db/other",
            "postgresql://ann@other/shop",
            "postgresql://ann@db:5433/shop",
            "postgresql://bob@db/shop",
            "postgresql://ann@db/shop?options=-csearch_path%3Dtenant",
            "mysql://ann@db/shop",
            "sqlite:///shop",
        ],
    )
    def test_all_else_does(self, one: str) -> None:
        """Another user may have another schema."""
        assert not same_database(one, make_url(HOST))

    def test_what_cannot_be_read_is_refused(self) -> None:
        """And not repeated: it may hold a password."""
        with pytest.raises(errors.InvalidURL) as caught:
            same_database("secret", make_url(HOST))

        assert "secret" not in str(caught.value)


class TestURL:
    @pytest.mark.parametrize("line", ["", "sqlalchemy.url =", "sqlalchemy.url = driver://user:pass@localhost/dbname"])
    def test_nothing_is_said(self, tmp_path: Path, line: str) -> None:
        """The line of ``alembic init`` is no database."""
        (tmp_path / "alembic.ini").write_text(f"[alembic]\n{line}\n")

        assert url_of_file(read_configuration(tmp_path)) is None
        assert url_of_caller(read_configuration(tmp_path)) is None

    def test_the_file_and_a_program_are_told_apart(self, tmp_path: Path) -> None:
        """What a program sets over the line of the file is the program's."""
        (tmp_path / "alembic.ini").write_text("[alembic]\nsqlalchemy.url = sqlite:///file.db\n")
        config = read_configuration(tmp_path)

        config.set_main_option("sqlalchemy.url", "sqlite:///program.db")

        assert url_of_file(config) == "sqlite:///file.db"
        assert url_of_caller(config) == "sqlite:///program.db"

    def test_the_section_of_the_caller_is_read(self, tmp_path: Path) -> None:
        """``alembic -n other``."""
        ini = tmp_path / "alembic.ini"
        ini.write_text("[alembic]\nsqlalchemy.url = sqlite:///a.db\n[other]\nsqlalchemy.url = sqlite:///b.db\n")

        assert url_of_file(Config(str(ini), ini_section="other")) == "sqlite:///b.db"

    def test_a_file_that_cannot_be_read_is_named(self, tmp_path: Path) -> None:
        """A variable that nobody sets."""
        (tmp_path / "alembic.ini").write_text("[alembic]\nsqlalchemy.url = %(nobody)s\n")

        with pytest.raises(errors.ConfigurationError, match=r"alembic\.ini cannot be read"):
            url_of_file(read_configuration(tmp_path))
