"""What pyproject.toml says, and what it says wrong."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Column, ForeignKey, Integer, MetaData
from sqlalchemy.orm import Mapped, mapped_column, registry, relationship

import sqlkeel
from sqlkeel import IntKeyMixin, children, errors
from sqlkeel.migrations._project import Project, metadata_of
from tests.migrations.models import Base, Member

SETTINGS = '[tool.sqlkeel]\nmodels = "{module}:Base"\ndatabase = "{module}:db"\n'
MODELS = """
import sqlkeel
from sqlkeel import Database
class Base(sqlkeel.Base): ...
db = Database("sqlite+aiosqlite:///app.db")
other = 1
"""


class Own(sqlkeel.Base):
    pass


class Team(IntKeyMixin, Own):
    __tablename__ = "team"

    players: Mapped[list[Player]] = children()


class Player(IntKeyMixin, Own):
    __tablename__ = "player"

    team_id: Mapped[int] = mapped_column(ForeignKey("team.id"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project with one module; what importing it leaves behind goes with the test."""
    monkeypatch.delitem(sys.modules, "shop_models", raising=False)  # of another test's project
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    (tmp_path / "shop_models.py").write_text(MODELS)
    (tmp_path / "pyproject.toml").write_text(SETTINGS.format(module="shop_models"))
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def project(root: Path, **settings: str) -> Project:
    """Return a project that says *settings*."""
    return Project(root, settings)


class TestFind:
    def test_it_looks_upwards(self, folder: Path) -> None:
        """A command may be given anywhere inside of the project."""
        below = folder / "a" / "b"
        below.mkdir(parents=True)

        assert Project.find(below).root == folder

    def test_a_pyproject_of_somebody_else_is_passed(self, folder: Path) -> None:
        """A pyproject.toml without [tool.sqlkeel] is not the project's."""
        below = folder / "a"
        below.mkdir()
        (below / "pyproject.toml").write_text("[project]\n")

        assert Project.find(below).root == folder

    def test_none_is_refused_with_what_to_write(self, tmp_path: Path) -> None:
        """The hint can be pasted."""
        with pytest.raises(errors.ConfigurationError, match=r"No pyproject.toml with \[tool.sqlkeel\]") as caught:
            Project.find(tmp_path)

        assert 'models = "app.models:Base"' in caught.value.hint

    def test_broken_toml_is_named(self, tmp_path: Path) -> None:
        """The file and the line are in the message."""
        (tmp_path / "pyproject.toml").write_text("[tool]\nsqlkeel =\n")

        with pytest.raises(errors.ConfigurationError, match=r"pyproject\.toml cannot be read: .*line 2"):
            Project.find(tmp_path)

    @pytest.mark.parametrize(
        "content",
        ["tool = 3", "[tool]\nsqlkeel = 'x'", "[tool.sqlkeel]\nmigrations = 'x'", "[tool.sqlkeel]\nlint = 3"],
    )
    def test_what_is_not_a_table_is_refused(self, folder: Path, content: str) -> None:
        """With what it would look like."""
        (folder / "pyproject.toml").write_text(content)

        with pytest.raises(errors.ConfigurationError, match="is not a table") as caught:
            _ = Project.find(folder).directory

        assert "[tool.sqlkeel]" in caught.value.hint

    @pytest.mark.parametrize(
        ("content", "unknown", "hint"),
        [
            ("[tool.sqlkeel]\nmodles = 'app:Base'", "[tool.sqlkeel] has no setting modles", "Did you mean models?"),
            (
                "[tool.sqlkeel.migrations]\ndirectori = 'db'",
                "[tool.sqlkeel.migrations] has no setting directori",
                "Did you mean directory?",
            ),
            (
                "[tool.sqlkeel]\nverbose = true",
                "[tool.sqlkeel] has no setting verbose",
                "It has database, lint, migrations, models.",
            ),
        ],
    )
    def test_a_setting_that_nobody_knows_is_refused(self, folder: Path, content: str, unknown: str, hint: str) -> None:
        """With the one that was meant, or with all."""
        (folder / "pyproject.toml").write_text(content)

        with pytest.raises(errors.ConfigurationError) as caught:
            Project.find(folder)

        assert (caught.value.message, caught.value.hint) == (f"{unknown}.", hint)

    def test_every_setting_is_known(self, folder: Path) -> None:
        """All of them at once."""
        settings = "migrations = {directory = 'a'}\nlint = {singular = ['news']}\ndatabase = 'a:b'\nmodels = 'a:B'"
        (folder / "pyproject.toml").write_text(f"[tool.sqlkeel]\n{settings}")

        assert set(Project.find(folder).settings) == {"database", "lint", "migrations", "models"}

    def test_none_is_found(self, tmp_path: Path) -> None:
        """A command that needs no project asks without an error."""
        assert Project.find_if_any(tmp_path) is None


class TestDirectory:
    def test_a_number_is_not_one(self, folder: Path) -> None:
        """It is not taken for the name of a folder."""
        with pytest.raises(errors.ConfigurationError, match=r"directory = 4 in .* is not a string"):
            _ = Project(folder, {"migrations": {"directory": 4}}).directory

    def test_it_is_migrations(self, tmp_path: Path) -> None:
        """Nothing needs to be said."""
        assert project(tmp_path).directory == tmp_path / "migrations"

    def test_the_setting_wins(self, tmp_path: Path) -> None:
        """The setting is relative to pyproject.toml."""
        (tmp_path / "alembic.ini").write_text("[alembic]\nscript_location = %(here)s/from_ini\n")

        found = Project(tmp_path, {"migrations": {"directory": "db/migrations"}}).directory

        assert found == tmp_path / "db" / "migrations"

    def test_alembic_ini_is_read(self, tmp_path: Path) -> None:
        """A project that comes from Alembic need not say it twice."""
        (tmp_path / "alembic.ini").write_text("[alembic]\nscript_location = %(here)s/from_ini\n")

        assert project(tmp_path).directory == tmp_path / "from_ini"


class TestOpenDatabase:
    def test_the_setting_names_an_object(self, folder: Path) -> None:
        """The project's own Database is used, with its options."""
        database = Project.find(folder).open_database()

        assert database.url.database == "app.db"

    def test_a_url_wins(self, folder: Path) -> None:
        """What the caller gives is used instead."""
        assert Project.find(folder).open_database("sqlite:///other.db").url.database == "other.db"

    def test_the_environment_is_asked_last(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without the setting, DATABASE_URL says where."""
        monkeypatch.setenv("DATABASE_URL", "sqlite:///env.db")

        assert project(tmp_path).open_database().url.database == "env.db"

    def test_nothing_at_all_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The message names the variable."""
        monkeypatch.delenv("DATABASE_URL", raising=False)

        with pytest.raises(errors.InvalidURL, match="DATABASE_URL"):
            project(tmp_path).open_database()

    def test_something_else_is_refused(self, folder: Path) -> None:
        """A class or a string is no Database."""
        with pytest.raises(errors.ConfigurationError, match=r"is Base \(a class\), not a sqlkeel Database") as caught:
            project(folder, database="shop_models:Base").open_database()

        assert "DATABASE_URL" in caught.value.hint  # as a project with an engine of its own has it


class TestModels:
    @pytest.mark.parametrize("path", ["shop_models:Base", "shop_models"])
    def test_the_setting_names_a_base(self, folder: Path, path: str) -> None:
        """The usual name may be left out."""
        assert project(folder, models=path).models().__name__ == "Base"

    def test_a_missing_setting_is_refused(self, tmp_path: Path) -> None:
        """The hint can be pasted."""
        with pytest.raises(errors.ConfigurationError, match="does not say where the models are"):
            project(tmp_path).models()

    @pytest.mark.parametrize(
        ("path", "message"),
        [
            ("gone:Base", "there is no module 'gone'"),
            ("shop_models.gone:Base", "there is no module 'shop_models.gone'"),
            ("shop_models:Gone", "module 'shop_models' has no 'Gone'"),
            ("shop_models:other", "a int is neither a declarative base nor a MetaData"),
        ],
    )
    def test_a_wrong_setting_is_refused(self, folder: Path, path: str, message: str) -> None:
        """The message says which part of it is wrong."""
        with pytest.raises(errors.ConfigurationError, match=message):
            project(folder, models=path).models()

    def test_an_import_that_fails_inside_comes_through(self, folder: Path) -> None:
        """A module that is there, and imports one that is not, is the user's own error."""
        (folder / "shop_broken.py").write_text("import not_installed_here")

        with pytest.raises(ModuleNotFoundError, match="not_installed_here"):
            project(folder, models="shop_broken:Base").models()

    @pytest.mark.parametrize("setting", ["postgresql://ann:s3cret@db/shop", {"url": "postgresql://ann:s3cret@db/shop"}])
    def test_a_url_is_not_repeated(self, folder: Path, setting: object) -> None:
        """Where the name of a Database belongs; the hint says where the URL does."""
        with pytest.raises(errors.ConfigurationError, match="is a URL") as caught:
            project(folder, models="shop_models:Base", database=setting).open_database()

        assert "s3cret" not in str(caught.value)
        assert "DATABASE_URL" in caught.value.hint

    @pytest.mark.parametrize("setting", [5, ["shop_models:Base"], ":Base"])
    def test_what_names_no_module_is_refused(self, folder: Path, setting: object) -> None:
        """With an example."""
        with pytest.raises(errors.ConfigurationError, match=r"is not a string like 'package.module:name'"):
            Project(folder, {"models": setting}).models()

    def test_a_name_may_have_dots(self, folder: Path) -> None:
        """A base inside of a class."""
        (folder / "shop_models.py").write_text(f"{MODELS}class shop: Base = Base\n")

        assert project(folder, models="shop_models:shop.Base").models().__name__ == "Base"


class TestMetadataOf:
    def test_relations_have_written_their_on_delete(self) -> None:
        """The mappers are configured before the tables are compared."""
        [key] = metadata_of(Base).tables[Member.__tablename__].foreign_key_constraints

        assert key.ondelete == "CASCADE"

    def test_also_for_a_metadata_alone(self) -> None:
        """The models on it are configured."""
        [key] = metadata_of(Own.metadata).tables["player"].foreign_key_constraints

        assert key.ondelete == "CASCADE"

    def test_what_is_wrong_in_other_models_does_not_matter(self) -> None:
        """Another base of the process may hold what cannot be configured."""
        wrong = registry()

        @wrong.mapped
        class Lost:
            __tablename__ = "lost"

            id = Column(Integer, primary_key=True)
            other = relationship("Nowhere")

        metadata = MetaData()

        assert metadata_of(metadata) is metadata
        wrong.dispose()

    def test_a_metadata_is_itself(self) -> None:
        """Tables without models will do."""
        metadata = MetaData()

        assert metadata_of(metadata) is metadata
