"""The address in a database URL: its hosts and ports, some of which may be in the query."""

from __future__ import annotations

from typing import Final

from sqlalchemy import URL

from ..errors import InvalidURL

__all__ = ["address_of", "refuse_wrong_ports"]

_LAST_PORT: Final = 65_535


def address_of(url: URL) -> str:
    """Return the location of a database for messages: ``db:5432``, a socket, the file of SQLite."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    hosts = _values(url, "host") or _values(url, "unix_socket") or [url.host or "localhost"]
    ports = _values(url, "port") or ([str(url.port)] if url.port else [])
    if len(ports) != len(hosts):
        ports = (ports or [""])[:1] * len(hosts)
    return ", ".join(_joined(host, port) for host, port in zip(hosts, ports, strict=True))


def refuse_wrong_ports(url: URL) -> None:
    """Check the ports, because the driver's error for a wrong port does not look like a database error.

    Raises:
        InvalidURL: When a port is invalid. It is not repeated: the text after a colon may be a password.
    """
    after_hosts = [host.rpartition(":")[2] for host in _values(url, "host") if _has_port(host)]
    given = [*_values(url, "port"), *after_hosts, *([str(url.port)] if url.port is not None else [])]
    if any(not (port.isdecimal() and 0 < int(port) <= _LAST_PORT) for port in given if port):
        raise InvalidURL(
            f"The port in the database URL is not between 1 and {_LAST_PORT:,}.",
            hint="PostgreSQL usually listens on 5432, MariaDB on 3306; the password comes before the @.",
        )


def _values(url: URL, name: str) -> list[str]:
    given = url.query.get(name, ())
    texts = (given,) if isinstance(given, str) else given
    return [one for text in texts for one in text.split(",") if one]


def _joined(host: str, port: str) -> str:
    is_whole = host.startswith("/") or _has_port(host) or not port
    return host if is_whole else f"{host}:{port}"


def _has_port(host: str) -> bool:
    return host.count(":") == 1 and not host.startswith("/")
