"""What Alembic's own configuration says of the database: the one that a caller names, or the file."""

from __future__ import annotations

from configparser import Error
from pathlib import Path
from typing import Final

from alembic.config import Config
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from ..errors import ConfigurationError, InvalidURL

__all__ = ["read_configuration", "same_database", "url_of_caller", "url_of_file"]

_URL: Final = "sqlalchemy.url"
_PLACEHOLDER: Final = "driver://"
"""What ``alembic init`` writes, and many projects leave there."""
_PORTS: Final = {"mariadb": 3306, "mysql": 3306, "postgresql": 5432}
_SAME: Final = {"mysql": "mariadb", "postgres": "postgresql"}


def read_configuration(root: Path) -> Config:
    """Return Alembic's configuration of the project in *root*: alembic.ini and [tool.alembic], as far as there."""
    files = [root / "alembic.ini", root / "pyproject.toml"]
    ini, toml = (str(path) if path.is_file() else None for path in files)
    return Config(ini, toml_file=toml)


def url_of_caller(config: Config) -> str | None:
    """Return the URL that a program has set in *config*; ``None`` where it is the file's own."""
    url = _option(config)
    return None if url == url_of_file(config) else url


def url_of_file(config: Config) -> str | None:
    """Return the URL in the file of *config*; ``None`` where there is none but Alembic's placeholder."""
    if config.config_file_name is None or not Path(config.config_file_name).is_file():
        return None
    return _option(
        Config(config.config_file_name, ini_section=config.config_ini_section, config_args=config.config_args)
    )


def same_database(one: str | URL, other: URL) -> bool:
    """Tell whether two URLs name one database for one user; the driver and the password may differ.

    Raises:
        InvalidURL: When the first cannot be read.
    """
    try:
        return _identity(make_url(one)) == _identity(other)
    except ArgumentError:
        # The URL is not repeated: it may hold a password.
        raise InvalidURL("The sqlalchemy.url of Alembic's configuration cannot be read.") from None


def _identity(url: URL) -> tuple[object, ...]:
    name = _SAME.get(url.get_backend_name(), url.get_backend_name())
    if name == "sqlite":
        where = url.database or ":memory:"
        return name, where if where == ":memory:" else str(Path(where).resolve()), url.query
    return name, url.username, url.host, url.port or _PORTS.get(name), url.database, url.query


def _option(config: Config) -> str | None:
    try:
        url = config.get_section(config.config_ini_section, {}).get(_URL)
    except Error as error:
        raise ConfigurationError(f"{config.config_file_name} cannot be read: {error}") from error
    return url if url and not url.startswith(_PLACEHOLDER) else None
