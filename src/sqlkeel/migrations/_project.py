"""The settings of a project in pyproject.toml: its database, its models, and where its migrations are."""

from __future__ import annotations

import importlib
import os
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from operator import attrgetter
from pathlib import Path
from typing import Any, Final

from alembic.config import Config
from sqlalchemy import MetaData, make_url

from ..errors import ConfigurationError
from ..models._relations import configure_relations
from ..sessions._database import Database
from ._configuration import location_in, read_configuration, same_database, url_of_caller, url_of_file

__all__ = ["Project", "metadata_of", "refuse_unknown"]

_EXAMPLE: Final = """\
Add to pyproject.toml:

    [tool.sqlkeel]
    models = "app.models:Base"
    database = "app.db:db"      # or leave it out, and set DATABASE_URL
"""
_TABLES: Final = ("lint", "migrations")
_VARIABLE: Final = "DATABASE_URL"
_USUAL_NAMES: Final = {"database": "db", "models": "Base"}


@dataclass(frozen=True)
class Project:
    """The folder that contains pyproject.toml, and the settings in its ``[tool.sqlkeel]``.

    ``models`` names a base class or a `MetaData`, ``database`` a `Database`, each as ``"package.module:name"`` (the
    names ``Base`` and ``db`` may be omitted). Importing the module of ``models`` must import all models. Without
    ``database``, the environment variable DATABASE_URL applies, or ``sqlalchemy.url`` in alembic.ini.
    """

    root: Path
    settings: Mapping[str, Any]

    @classmethod
    def find(cls, start: Path) -> Project:
        """Read the nearest pyproject.toml with ``[tool.sqlkeel]``, from *start* upwards.

        Raises:
            ConfigurationError: When there is none, it cannot be read, or it contains an unknown setting.
        """
        found = cls.find_if_any(start)
        if found is None:
            raise ConfigurationError(
                f"No pyproject.toml with [tool.sqlkeel] in {start.resolve()} or above.", hint=_EXAMPLE
            )
        return found

    @classmethod
    def find_if_any(cls, start: Path) -> Project | None:
        """Like `find`, for a command that can run without a project; ``None`` if there is none.

        Raises:
            ConfigurationError: When it cannot be read, or contains an unknown setting.
        """
        folder = start.resolve()
        for root in (folder, *folder.parents):
            settings = _read(root / "pyproject.toml")
            if settings is not None:
                return cls(root, settings)
        return None

    @property
    def directory(self) -> Path:
        """The migrations directory: the setting, else the one in Alembic's configuration, else ``migrations``.

        Raises:
            ConfigurationError: When the setting is not a string.
        """
        setting = _table(self.settings, "migrations", "[tool.sqlkeel]").get("directory")
        if setting is not None:
            if not isinstance(setting, str):
                raise ConfigurationError(f"directory = {setting!r} in [tool.sqlkeel.migrations] is not a string.")
            return self.root / setting
        self._be_importable()
        return self.root / (location_in(read_configuration(self.root)) or "migrations")

    def open_database(self, url: str | None = None, *, config: Config | None = None) -> Database:
        """Return the database at *url*, or the one that a caller of Alembic names, or the project's own.

        The project's own is the setting or DATABASE_URL, else ``sqlalchemy.url`` in alembic.ini.

        Args:
            url: The URL from the command line.
            config: Alembic's configuration, if Alembic started the run.

        Raises:
            ConfigurationError: When the setting does not name a `Database`, or alembic.ini names a different one.
            InvalidURL: When no database is named, or one that sqlkeel cannot use.
        """
        if url is not None:
            return Database(url)
        config = config or read_configuration(self.root)
        asked, in_file = url_of_caller(config), url_of_file(config)
        if self.settings.get("database") is None and not os.environ.get(_VARIABLE):
            found = asked or in_file
            return Database(found) if found else Database.from_env(_VARIABLE)
        own = self._own_database()
        if asked is not None:
            return own if same_database(asked, own.url) else Database(asked)
        if in_file is not None and not same_database(in_file, own.url):
            raise self._two_databases(in_file, own)
        return own

    def _two_databases(self, in_file: str, own: Database) -> ConfigurationError:
        setting = self.settings.get("database")
        says = _VARIABLE if setting is None else f"database = {setting!r}"
        shown = [one.render_as_string(hide_password=True) for one in (make_url(in_file), own.url)]
        return ConfigurationError(
            f"Two databases are named: {shown[0]} by sqlalchemy.url in alembic.ini, and {shown[1]} by {says}.",
            hint="Remove sqlalchemy.url from alembic.ini, or say which one: sqlkeel migrate up --database-url URL.",
        )

    def _own_database(self) -> Database:
        setting = self.settings.get("database")
        if setting is None:
            return Database.from_env(_VARIABLE)
        found = self._load("database", setting)
        if not isinstance(found, Database):
            raise ConfigurationError(
                f"database = {setting!r} is {_kind(found)}, not a sqlkeel Database.",
                hint=f"Without a Database leave the setting out, and put the URL into {_VARIABLE}.",
            )
        return found

    def models(self) -> Any:
        """Return the base class or `MetaData` that the project names.

        Raises:
            ConfigurationError: When it names none, or something else.
        """
        setting = self.settings.get("models")
        if setting is None:
            raise ConfigurationError("[tool.sqlkeel] does not say where the models are.", hint=_EXAMPLE)
        found = self._load("models", setting)
        metadata_of(found)
        return found

    def metadata(self) -> MetaData:
        """Return all tables of the models."""
        return metadata_of(self.models())

    def _be_importable(self) -> None:
        if str(self.root) not in sys.path:
            sys.path.insert(0, str(self.root))

    def _load(self, setting: str, path: Any) -> Any:
        self._be_importable()
        if "://" in str(path):
            # The message does not contain the value, because it may hold a password.
            raise ConfigurationError(
                f"{setting} in [tool.sqlkeel] is a URL, not a string like 'package.module:name'.",
                hint=f"Put the URL into {_VARIABLE}, in the environment, or write --database-url URL.",
            )
        if not isinstance(path, str) or not path.partition(":")[0]:
            raise ConfigurationError(f"{setting} = {path!r} is not a string like 'package.module:name'.", hint=_EXAMPLE)
        module_name, _, name = path.partition(":")
        name = name or _USUAL_NAMES[setting]
        wrong = f"{setting} = {path!r} cannot be found"
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
                raise  # The module exists, but one that it imports does not.
            raise ConfigurationError(f"{wrong}: there is no module {error.name!r} in {self.root}.") from None
        try:
            return attrgetter(name)(module)
        except AttributeError:
            raise ConfigurationError(f"{wrong}: module {module_name!r} has no {name!r}.") from None


def metadata_of(models: Any) -> MetaData:
    """Return the tables of a base class or `MetaData`, including what configuring the mappers adds.

    Raises:
        ConfigurationError: When *models* is neither.
    """
    metadata = getattr(models, "metadata", models)
    if not isinstance(metadata, MetaData):
        raise ConfigurationError(f"{_kind(models)} is neither a declarative base nor a MetaData.")
    registry = getattr(models, "registry", None)
    if registry is None:
        configure_relations(metadata)
    else:
        registry.configure()
    return metadata


def refuse_unknown(settings: Mapping[str, Any], known: Iterable[str], *, where: str) -> None:
    """Check that every setting is known: a misspelled one would otherwise be ignored.

    Raises:
        ConfigurationError: When one is unknown; the hint suggests the nearest name.
    """
    names = sorted(known)
    unknown = sorted(set(settings) - set(names))
    if unknown:
        close = get_close_matches(unknown[0], names, n=1)
        hint = f"Did you mean {close[0]}?" if close else f"It has {', '.join(names)}."
        raise ConfigurationError(f"{where} has no setting {', '.join(unknown)}.", hint=hint)


def _read(path: Path) -> Mapping[str, Any] | None:
    if not path.is_file():
        return None
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error
    tools = _table(content, "tool", str(path))
    if "sqlkeel" not in tools:
        return None
    settings = _table(tools, "sqlkeel", str(path))
    refuse_unknown(settings, (*_TABLES, *_USUAL_NAMES), where="[tool.sqlkeel]")
    _, migrations = (_table(settings, name, "[tool.sqlkeel]") for name in _TABLES)
    refuse_unknown(migrations, ("directory",), where="[tool.sqlkeel.migrations]")
    return settings


def _table(settings: Mapping[str, Any], name: str, where: str) -> Mapping[str, Any]:
    found = settings.get(name, {})
    if not isinstance(found, Mapping):
        raise ConfigurationError(f"{name} = {found!r} in {where} is not a table.", hint=_EXAMPLE)
    return found


def _kind(found: object) -> str:
    return f"{found.__name__} (a class)" if isinstance(found, type) else f"a {type(found).__name__}"
