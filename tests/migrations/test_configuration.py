"""Which database Alembic's configuration names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from alembic.config import Config
from sqlalchemy import URL, make_url

from sqlkeel import errors
from sqlkeel.migrations._configuration import location_in, read_configuration, same_database, url_of_caller, url_of_file
from sqlkeel.sessions import Database
from tests.migrations.revisions import empty_migrations, revision

INI = "[alembic]\nscript_location = %(here)s/migrations\n"
READS = """
url = op.get_context().config.get_section("alembic")["sqlalchemy.url"]
op.create_table(url.rpartition("/")[2].replace(".db", ""), sa.Column("id", sa.Integer, primary_key=True))
""".strip()
HOST = "postgresql+asyncpg://ann:secret@db/shop"


class TestSameDatabase:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("postgresql+psycopg2://ann@db:5432/shop", HOST),
            ("postgresql://ann:other@db/shop", HOST),
            ("postgresql://ann@DB/shop", HOST),
            ("postgresql://ann@db/shop", HOST.replace("@db", "@Db")),
            ("mysql+pymysql://ann@db/shop", "mariadb+asyncmy://ann@db:3306/shop"),
            ("sqlite:///shop.db", f"sqlite+aiosqlite:///{Path.cwd()}/shop.db"),
            ("sqlite://", "sqlite+aiosqlite:///:memory:"),
        ],
    )
    def test_driver_password_usual_port_and_case_of_the_host_do_not_count(self, one: str, other: str) -> None:
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
            "postgresql://ann@db/Shop",
            "postgresql://Ann@db/shop",
            "sqlite:///shop",
        ],
    )
    def test_all_else_does(self, one: str) -> None:
        """Another user may have another schema."""
        assert not same_database(one, make_url(HOST))

    def test_a_socket_is_a_path(self) -> None:
        """In which letters count, as those of a host do not."""
        one, other = (URL.create("postgresql", host=folder, database="shop") for folder in ("/Tmp", "/tmp"))

        assert not same_database(one, other)

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

    @pytest.mark.parametrize(
        ("file", "text"),
        [
            ("alembic.ini", "[alembic]\nsqlalchemy.url = postgresql://ann:s3cret%40@db/shop\n"),
            ("alembic.ini", "[alembic]\nsqlalchemy.url = postgresql://ann:s3cret%(nobody)s@db/shop\n"),
            ("alembic.ini", "[alembic]\npostgresql://ann.s3cret@db/shop\nsqlalchemy.url\n"),
            ("alembic.ini", "sqlalchemy.url = postgresql://ann:s3cret@db/shop\n"),
            ("pyproject.toml", "[tool.alembic]\n'sqlalchemy.url' = 'postgresql://ann:s3cret%zz@db/shop'\n"),
            ("pyproject.toml", "[tool.alembic]\n'sqlalchemy.url' = 'postgresql://ann:s3cret%(nobody)s@db/shop'\n"),
        ],
    )
    def test_what_stands_there_is_not_repeated(self, tmp_path: Path, file: str, text: str) -> None:
        """A password that is percent-encoded has a % that Alembic reads; what it says of that shows the URL."""
        (tmp_path / file).write_text(text)

        with pytest.raises(errors.ConfigurationError, match=rf"{file} cannot be read") as caught:
            url_of_caller(read_configuration(tmp_path))

        assert "s3cret" not in str(caught.value)
        assert "%%" in caught.value.hint
        assert (caught.value.__cause__, caught.value.__context__) == (None, None)


class TestLocation:
    def test_nothing_is_said(self, tmp_path: Path) -> None:
        """Neither file needs to be there."""
        assert location_in(read_configuration(tmp_path)) is None

    def test_pyproject_is_read(self, tmp_path: Path) -> None:
        """Alembic's settings may stand in [tool.alembic]."""
        (tmp_path / "pyproject.toml").write_text('[tool.alembic]\nscript_location = "%(here)s/db/alembic"\n')

        assert location_in(read_configuration(tmp_path)) == tmp_path / "db" / "alembic"

    def test_a_folder_of_a_package(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """``package:folder`` is a folder in an importable package."""
        monkeypatch.syspath_prepend(tmp_path)
        (tmp_path / "shop_located" / "migrations").mkdir(parents=True)
        (tmp_path / "shop_located" / "__init__.py").touch()
        (tmp_path / "alembic.ini").write_text("[alembic]\nscript_location = shop_located:migrations\n")

        assert location_in(read_configuration(tmp_path)) == tmp_path / "shop_located" / "migrations"

    def test_a_package_that_is_not_there(self, tmp_path: Path) -> None:
        """It is named."""
        (tmp_path / "alembic.ini").write_text("[alembic]\nscript_location = gone_shop:migrations\n")

        with pytest.raises(errors.ConfigurationError, match="'gone_shop:migrations' cannot be found"):
            location_in(read_configuration(tmp_path))


class TestSettings:
    """What Alembic's files say of revisions holds for both programs."""

    async def test_versions_may_be_elsewhere(self, sqlite: Database, tmp_path: Path) -> None:
        """``version_locations``."""
        (tmp_path / "alembic.ini").write_text(f"{INI}version_locations = %(here)s/migrations/v1\n")

        path = await revision(empty_migrations(sqlite, tmp_path), "first", "pass")

        assert path.parent == tmp_path / "migrations" / "v1"
        assert len(await empty_migrations(sqlite, tmp_path).status()) == 1

    async def test_a_new_one_goes_beside_the_last(self, sqlite: Database, tmp_path: Path) -> None:
        """Where there are several folders; the first where there is no revision."""
        folders = "version_locations = %(here)s/one:%(here)s/two\npath_separator = :\n"
        (tmp_path / "alembic.ini").write_text(INI + folders)
        migrations = empty_migrations(sqlite, tmp_path)
        first = await revision(migrations, "first", "pass")
        (tmp_path / "two").mkdir()
        first.rename(tmp_path / "two" / first.name)

        second = await revision(migrations, "second", "pass")

        assert [first.parent.name, second.parent.name] == ["one", "two"]

    async def test_the_folders_are_named_that_lack_a_revision(self, sqlite: Database, tmp_path: Path) -> None:
        """And not the one of ``script_location``, in which nobody looks."""
        (tmp_path / "alembic.ini").write_text(
            f"{INI}version_locations = %(here)s/one:%(here)s/two\npath_separator = :\n"
        )
        migrations = empty_migrations(sqlite, tmp_path)
        path = await revision(migrations, "first", "pass")
        await migrations.up()
        path.unlink()

        with pytest.raises(errors.MigrationError) as caught:
            await migrations.status()

        assert f"which is not in {tmp_path / 'one'}, {tmp_path / 'two'}." in str(caught.value)

    async def test_pyproject_says_it_too(self, sqlite: Database, tmp_path: Path) -> None:
        """[tool.alembic] of the folder above."""
        settings = '[tool.alembic]\nscript_location = "%(here)s/migrations"\nversion_locations = ["%(here)s/v2"]\n'
        (tmp_path / "pyproject.toml").write_text(settings)

        path = await revision(empty_migrations(sqlite, tmp_path), "first", "pass")

        assert path.parent == tmp_path / "v2"

    async def test_files_are_named_as_the_project_says(self, sqlite: Database, tmp_path: Path) -> None:
        """And none is overwritten."""
        (tmp_path / "alembic.ini").write_text(f"{INI}file_template = m_%%(slug)s\n")
        migrations = empty_migrations(sqlite, tmp_path)

        paths = [await revision(migrations, "add users", "pass"), await revision(migrations, "add users", "pass")]

        assert [one.name for one in paths] == ["m_add_users.py", "m_add_users_2.py"]

    async def test_alembics_own_template_is_a_template_too(self, sqlite: Database, tmp_path: Path) -> None:
        """A project that states Alembic's names gets them, and not ours with the day."""
        (tmp_path / "alembic.ini").write_text(f"{INI}file_template = %%(rev)s_%%(slug)s\n")

        path = await revision(empty_migrations(sqlite, tmp_path), "add users", "pass")

        assert re.fullmatch(r"[0-9a-f]{12}_add_users\.py", path.name)

    async def test_hooks_run(self, sqlite: Database, tmp_path: Path) -> None:
        """``post_write_hooks``: formatters, most often."""
        hook = f"hooks = mark\nmark.type = exec\nmark.executable = /usr/bin/touch\nmark.options = {tmp_path}/RAN\n"
        (tmp_path / "alembic.ini").write_text(f"{INI}[post_write_hooks]\n{hook}")

        await revision(empty_migrations(sqlite, tmp_path), "first", "pass")

        assert (tmp_path / "RAN").exists()

    async def test_a_file_of_another_directory_says_nothing(self, sqlite: Database, tmp_path: Path) -> None:
        """A second history in one project."""
        (tmp_path / "alembic.ini").write_text(
            "[alembic]\nscript_location = %(here)s/other\nfile_template = m_%%(slug)s\n"
        )

        path = await revision(empty_migrations(sqlite, tmp_path), "first", "pass")

        assert path.name.endswith("_first.py")
        assert path.name != "m_first.py"

    async def test_a_revision_may_read_it(self, sqlite: Database, tmp_path: Path) -> None:
        """The URL is that of the database which is migrated, also without a file."""
        migrations = empty_migrations(sqlite, tmp_path)
        await revision(migrations, "first", READS)

        [done] = await migrations.up()

        assert done.applied


class TestSeveralEnds:
    async def test_status_lists_them_and_heads_applies_them(self, sqlite: Database, tmp_path: Path) -> None:
        """As after ``alembic upgrade heads``; head alone is refused."""
        migrations = empty_migrations(sqlite, tmp_path)
        await revision(migrations, "first", "pass")
        second = await revision(migrations, "second", "pass")
        lines = second.read_text().splitlines()
        second.write_text("\n".join("down_revision = None" if "down_revision =" in one else one for one in lines))
        with pytest.raises(errors.MigrationError, match="2 newest revisions"):
            await migrations.up()

        await migrations.up("heads")

        assert [one.applied for one in await migrations.status()] == [True, True]


class TestMissingFile:
    async def test_asking_makes_no_file(self, tmp_path: Path) -> None:
        """A path that is not absolute begins elsewhere in another folder; up makes the file."""
        async with Database(f"sqlite:///{tmp_path / 'shop.db'}") as database:
            migrations = empty_migrations(database, tmp_path)
            await revision(migrations, "first", "pass")

            found = await migrations.status()
            with pytest.raises(errors.MigrationError, match=r"no database file .*shop\.db"):
                await migrations.check()

            assert [one.applied for one in found] == [False]
            assert not (tmp_path / "shop.db").exists()
            assert len(await migrations.up()) == 1
