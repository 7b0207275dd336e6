"""The application as a whole."""

from __future__ import annotations

from sqlkeel import Database
from sqlkeel.demo.app import create_app


class TestCreateApp:
    async def test_it_describes_itself(self, sqlite: Database) -> None:
        """The OpenAPI document has every subject."""
        paths = create_app(sqlite).openapi()["paths"]

        assert {"/projects", "/releases", "/accounts", "/transfers"} <= set(paths)
