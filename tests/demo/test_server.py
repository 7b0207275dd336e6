"""The service on a socket."""

from __future__ import annotations

import httpx
import pytest

from sqlkeel import Database
from sqlkeel.demo.app import create_app
from sqlkeel.demo.server import listen, serving
from sqlkeel.errors import ConfigurationError


class TestListen:
    def test_a_free_port_is_found(self) -> None:
        """Port 0 is any port, and two callers get two."""
        with listen(0) as first, listen(0) as second:
            assert first.getsockname()[1] != second.getsockname()[1]

    def test_a_port_in_use_is_refused(self, sqlite: Database) -> None:
        """The error names the port."""
        with listen(0) as taken:
            taken.listen()
            port = taken.getsockname()[1]

            with pytest.raises(ConfigurationError, match=str(port)):
                listen(port)


class TestServing:
    async def test_it_answers_inside_of_the_block_only(self, sqlite: Database) -> None:
        """The service is there when the block starts, and gone when it is left."""
        with listen(0) as opened:
            async with (
                serving(create_app(sqlite), opened) as address,
                httpx.AsyncClient(base_url=address, trust_env=False) as http,
            ):
                inside = await http.get("/openapi.json")

        assert inside.status_code == 200
        async with httpx.AsyncClient(base_url=address, trust_env=False) as http:
            with pytest.raises(httpx.ConnectError):
                await http.get("/openapi.json")

    async def test_it_ends_with_an_error_of_the_block(self, sqlite: Database) -> None:
        """The error of the block comes out, after the service has ended."""
        with listen(0) as opened, pytest.raises(LookupError):
            async with serving(create_app(sqlite), opened):
                raise LookupError

    async def test_it_does_not_start_without_its_database(self, sqlite: Database) -> None:
        """A service that cannot work is an error, not a silence."""
        nowhere = Database("sqlite+aiosqlite:////nowhere/at/all.db")

        with listen(0) as opened, pytest.raises(ConfigurationError, match="did not start"):
            async with serving(create_app(nowhere), opened):
                pass
