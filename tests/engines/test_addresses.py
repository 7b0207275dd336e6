"""Hosts and ports of a URL, wherever in it they stand."""

from __future__ import annotations

import pytest
from sqlalchemy import make_url

from sqlkeel.engines._addresses import address_of
from sqlkeel.engines._backend import parse_url
from sqlkeel.errors import InvalidURL


class TestAddressOf:
    @pytest.mark.parametrize(
        ("url", "address"),
        [
            ("postgresql://db:5433/app", "db:5433"),
            ("postgresql://db/app", "db"),
            ("postgresql:///app", "localhost"),
            ("postgresql://:5433/app", "localhost:5433"),
            ("postgresql:///app?host=db", "db"),
            ("postgresql:///app?host=db&port=5433", "db:5433"),
            ("postgresql:///app?host=a:1&host=b:2", "a:1, b:2"),
            ("postgresql:///app?host=a,b&port=1,2", "a:1, b:2"),
            ("postgresql:///app?host=a,b&port=1", "a:1, b:1"),
            ("postgresql:///app?host=/run/postgresql&port=5433", "/run/postgresql"),
            ("mariadb:///app?unix_socket=/run/mysqld.sock", "/run/mysqld.sock"),
            ("sqlite:///app.db", "app.db"),
        ],
    )
    def test_it_is_found(self, url: str, address: str) -> None:
        """The name of the database is no place of a server."""
        assert address_of(make_url(url)) == address


class TestPorts:
    @pytest.mark.parametrize(
        "url",
        [
            "postgresql://db:65535/a",
            "postgresql://db:1/a",
            "postgresql:///a?port=65535",
            "postgresql:///a?host=db:",
            "postgresql:///a?host=::1",
            "postgresql:///a?host=/run/a:b",
        ],
    )
    def test_one_that_may_be(self, url: str) -> None:
        """Both ends are ports; what stands behind the colon of a socket or of IPv6 is none."""
        assert parse_url(url).database == "a"

    @pytest.mark.parametrize(
        "url",
        [
            "postgresql://db:65536/a",
            "mariadb://db:99999/a",
            "postgresql://db:0/a",
            "postgresql:///a?host=db&port=99999",
            "postgresql:///a?host=db:99999",
            "postgresql:///a?host=a,b&port=1,99999",
            "postgresql:///a?port=n99999",
            "postgresql:///a?host=db:n99999",
            "mariadb:///a?host=db&port=-99999",
        ],
    )
    def test_one_that_may_not_be(self, url: str) -> None:
        """It is refused where the URL is read, without what stands in it."""
        with pytest.raises(InvalidURL, match="The port in the database URL is not between 1 and 65,535") as caught:
            parse_url(url)

        assert "99999" not in str(caught.value)
