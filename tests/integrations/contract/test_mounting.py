"""An application below another one, of whatever frameworks: its requests share the unit of work of the one above."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from sqlkeel import Database
from tests.integrations.contract.framework import FormError, Framework
from tests.integrations.contract.frameworks import FRAMEWORKS
from tests.integrations.tables import Base, Deferred, stored, write, write_orphan
from tests.integrations.wire import client

pytestmark = pytest.mark.tables(Base.metadata)

# A Litestar below another one shares its internal state with that, which then answers nothing: see test_litestar.py.
ANSWERING = [pair for pair in itertools.product(FRAMEWORKS, FRAMEWORKS) if pair != ("litestar", "litestar")]


@pytest.fixture(params=FRAMEWORKS)
def below(request: pytest.FixtureRequest) -> Framework:
    """Each framework in turn, of the application that is mounted."""
    return FRAMEWORKS[request.param]


class TestMounted:
    async def test_it_takes_part(self, framework: Framework, below: Framework, db: Database) -> None:
        """It finds the database of the one above, and what it writes is committed by that."""

        async def endpoint(request: Any) -> Any:
            await write(await below.integration.session_of(request))
            return below.integration.database_of(request) is db

        async with client(framework.serve(db, below=below.serve(None, endpoint))) as http:
            response = await http.post("/below/")

        assert (response.status_code, response.json()) == (201, True)
        assert await stored(db) == ["kept"]

    @pytest.mark.tables(Deferred.metadata)
    @pytest.mark.parametrize(("framework", "below"), ANSWERING, indirect=True)
    async def test_its_failed_commit_is_answered_above(
        self, framework: Framework, below: Framework, sqlite: Database
    ) -> None:
        """The application below cannot answer a failed COMMIT; the one above does."""

        async def endpoint(request: Any) -> None:
            await write_orphan(await below.integration.session_of(request))

        async with client(framework.serve(sqlite, below=below.serve(None, endpoint))) as http:
            response = await http.post("/below/")

        assert response.status_code == 409

    @pytest.mark.parametrize(("kind", "status"), [(ZeroDivisionError, 500), (FormError, 303)])
    async def test_an_error_of_it_rolls_back(
        self, framework: Framework, below: Framework, sqlite: Database, kind: type[Exception], status: int
    ) -> None:
        """An exception below keeps nothing, whether it is a bug or answered by the application below."""

        async def endpoint(request: Any) -> None:
            await write(await below.integration.session_of(request))
            raise kind

        async with client(framework.serve(sqlite, below=below.serve(None, endpoint))) as http:
            response = await http.post("/below/")

        assert response.status_code == status
        assert await stored(sqlite) == []
