"""The bank in a few seconds of bad weather; ``make faults`` gives it minutes."""

from __future__ import annotations

import pytest

from sqlkeel.errors import ServerMissing
from tests.faults.mariadb import AsyncmyStand
from tests.faults.postgresql import AsyncpgStand, PsycopgStand
from tests.faults.run import run_on_server
from tests.faults.sqlite import run_on_file
from tests.faults.stand import ServerStand
from tests.fixtures.servers import skip_unless_required

SECONDS = 4
WORKERS = 8
SEED = 20
FAULTS = 8
KILLS = 2


@pytest.fixture(params=[AsyncpgStand, PsycopgStand, AsyncmyStand], ids=lambda kind: kind.driver)
def kind(request: pytest.FixtureRequest) -> type[ServerStand]:
    """Each server, through each of its drivers."""
    kind: type[ServerStand] = request.param
    try:
        kind.launcher.find()
    except ServerMissing as error:
        skip_unless_required(kind.launcher.product.lower(), str(error))
    return kind


class TestRun:
    async def test_a_server_keeps_what_was_promised(self, kind: type[ServerStand]) -> None:
        """Whatever breaks: what was acknowledged is there, what failed is not, and nothing is left behind."""
        result = await run_on_server(kind, seconds=SECONDS, workers=WORKERS, seed=SEED, at_least=FAULTS)

        assert result.violations == []
        assert result.book.those("acknowledged")
        assert result.faults.total() >= FAULTS

    async def test_a_file_keeps_what_was_promised(self) -> None:
        """The same when the processes that write it are killed."""
        result = await run_on_file(seconds=SECONDS, workers=WORKERS, seed=SEED, at_least=KILLS)

        assert result.violations == []
        assert result.book.those("acknowledged")
        assert result.faults["process SIGKILLed"] >= KILLS
