"""Alembic's own configuration: which database it names, and where the revisions are."""

from __future__ import annotations

import sys
import warnings
from configparser import Error, InterpolationError
from pathlib import Path
from typing import Final

from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from alembic.util.pyfiles import coerce_resource_to_filename
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from ..errors import ConfigurationError, InvalidURL
from . import _alembic as unpromised

__all__ = [
    "configuration_for",
    "location_in",
    "read_configuration",
    "same_database",
    "scripts_in",
    "stem_of",
    "url_of_caller",
    "url_of_file",
]

_URL: Final = "sqlalchemy.url"
_PLACEHOLDER: Final = "driver://"
"""The URL that ``alembic init`` writes, and that many projects never change."""
_TEMPLATE: Final = "file_template"
_PORTS: Final = {"mariadb": 3306, "mysql": 3306, "postgresql": 5432}
_SAME: Final = {"mysql": "mariadb", "postgres": "postgresql"}


def read_configuration(root: Path) -> Config:
    """Return the Alembic configuration of the project in *root*, from alembic.ini and [tool.alembic] if present."""
    files = [root / "alembic.ini", root / "pyproject.toml"]
    ini, toml = (str(path) if path.is_file() else None for path in files)
    return Config(ini, toml_file=toml, cmd_opts=unpromised.quiet())


def configuration_for(directory: Path, url: URL) -> Config:
    """Return the configuration for a run of the revisions in *directory* on the database at *url*.

    It comes from the nearest parent folder that has one, if that names this directory; a revision may read it.
    """
    config = next((one for one in map(read_configuration, _upwards(directory)) if _is_of(one, directory)), None)
    config = config or Config(cmd_opts=unpromised.quiet())
    config.set_main_option("script_location", str(directory).replace("%", "%%"))
    stated = _option(config)
    if stated is None or not same_database(stated, url):
        config.set_main_option(_URL, url.render_as_string(hide_password=False).replace("%", "%%"))
    return config


def location_in(config: Config) -> Path | None:
    """Return the folder that ``script_location`` names, possibly in a package; ``None`` if it is not set.

    Raises:
        ConfigurationError: When the package does not exist, or the file cannot be read.
    """
    stated = _read(config, "script_location")
    if stated is None:
        return None
    try:
        return Path(coerce_resource_to_filename(stated))
    except ImportError as error:
        raise ConfigurationError(f"script_location = {stated!r} cannot be found: {error}.") from error


def scripts_in(config: Config) -> ScriptDirectory:
    """Return the revisions in the folder that *config* names, with its file names and hooks.

    Alembic would add to ``sys.path`` with every call; this does it only once.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No path_separator found", DeprecationWarning)
        before = [*sys.path]
        scripts = ScriptDirectory.from_config(config)
    added = sys.path[: len(sys.path) - len(before)]
    sys.path[:] = [*(one for one in added if one not in before), *before]
    return scripts


def url_of_caller(config: Config) -> str | None:
    """Return the URL that the caller of Alembic has set in *config*; ``None`` if it is the URL in the file."""
    url = _option(config)
    return None if url == url_of_file(config) else url


def url_of_file(config: Config) -> str | None:
    """Return the URL in the file of *config*; ``None`` if it has none, or only Alembic's placeholder."""
    if config.config_file_name is None or not Path(config.config_file_name).is_file():
        return None
    return _option(
        Config(config.config_file_name, ini_section=config.config_ini_section, config_args=config.config_args)
    )


def same_database(one: str | URL, other: URL) -> bool:
    """Return whether two URLs name the same database and user; driver and password may differ.

    Raises:
        InvalidURL: When the first URL cannot be parsed.
    """
    try:
        return _identity(make_url(one)) == _identity(other)
    except ArgumentError:
        # The message does not contain the URL, because it may hold a password.
        raise InvalidURL("The sqlalchemy.url of Alembic's configuration cannot be read.") from None


def _identity(url: URL) -> tuple[object, ...]:
    name = _SAME.get(url.get_backend_name(), url.get_backend_name())
    if name == "sqlite":
        where = url.database or ":memory:"
        return name, where if where == ":memory:" else str(Path(where).resolve()), url.query
    host = url.host if url.host is None or url.host.startswith("/") else url.host.lower()  # a socket is a path
    return name, url.username, host, url.port or _PORTS.get(name), url.database, url.query


def stem_of(config: Config, scripts: ScriptDirectory, folder: Path, *, revision: str, message: str) -> str | None:
    """Return the name that the project's ``file_template`` gives a new file; ``None`` if it is not set."""
    if _read(config, _TEMPLATE) is None:
        return None  # Alembic's default template has no date.
    made = unpromised.file_of(scripts, folder, revision=revision, message=message)
    return str(made.relative_to(folder).with_suffix(""))


def _option(config: Config) -> str | None:
    url = _read(config, _URL)
    return url if url and not url.startswith(_PLACEHOLDER) else None


def _read(config: Config, name: str) -> str | None:
    try:
        return config.get_alembic_option(name)
    except (Error, CommandError, ValueError, TypeError, KeyError) as error:
        # Alembic interpolates pyproject.toml with Python's %, and alembic.ini with ConfigParser.
        is_of_toml = not isinstance(error, (Error, CommandError))
        file = config.toml_file_name if is_of_toml else config.config_file_name
        reason = f"{name} contains a single %" if is_of_toml or isinstance(error, InterpolationError) else _where(error)
    # Raised outside the handler: the original error contains the value, which may be a password, and would be chained.
    raise ConfigurationError(
        f"{file} cannot be read: {reason}.",
        hint="Write %% for each % that is not one of Alembic's, such as %(here)s; %40 in a password is %%40.",
    )


def _where(error: Exception) -> str:
    """Return where a file is wrong, without its content."""
    if isinstance(error, CommandError):
        return str(error)  # which names only the setting
    lines = [number for number, _ in getattr(error, "errors", ())] or [getattr(error, "lineno", None)]
    return f"{type(error).__name__} in line {lines[0]}" if lines[0] is not None else type(error).__name__


def _is_of(config: Config, directory: Path) -> bool:
    if config.config_file_name is None and not config.toml_alembic_config:
        return False
    try:
        location = location_in(config)
    except ConfigurationError:
        return False  # belongs to another project, further up
    if location is None:
        return False
    folder = Path(config.config_file_name or config.toml_file_name or ".").resolve().parent
    return (folder / location).resolve() == directory.resolve()


def _upwards(directory: Path) -> list[Path]:
    folder = directory.resolve()
    return [folder, *folder.parents]
