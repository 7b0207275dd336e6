"""The throw-away MariaDB: what it needs and what it can do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from sqlkeel.errors import ServerMissing
from sqlkeel.testing import MariaDBServer
from tests.fixtures.servers import skip_unless_required


async def variable(server: MariaDBServer, name: str) -> object:
    """Return a variable of the server, asked over a connection."""
    engine = create_async_engine(server.url())
    async with engine.connect() as connection:
        value: object = (await connection.execute(text(f"select @@{name}"))).scalar_one()
    await engine.dispose()
    return value


@pytest.fixture(scope="module")
def changed_server() -> Iterator[MariaDBServer]:
    """A server with a setting of the caller's."""
    try:
        server = MariaDBServer(settings={"max-connections": "30"})
    except ServerMissing as error:
        skip_unless_required("mariadb", str(error))
    with server:
        yield server


class TestMariaDBServer:
    async def test_the_url_connects(self, mariadb_server: MariaDBServer) -> None:
        """Text is utf8mb4."""
        assert await variable(mariadb_server, "character_set_server") == "utf8mb4"

    @pytest.mark.parametrize("account", ["root", "", "somebody", "root:wrong"])
    async def test_nobody_else_gets_in(self, mariadb_server: MariaDBServer, account: str) -> None:
        """Whoever does not know the password of the URL is refused."""
        url = mariadb_server.url().replace(f"root:{mariadb_server.password}", account)
        engine = create_async_engine(url)

        with pytest.raises(DBAPIError):
            async with engine.connect():
                pass
        await engine.dispose()

    async def test_no_account_is_without_password(self, mariadb_server: MariaDBServer) -> None:
        """Not for the name of the machine either, which counts where names are resolved."""
        engine = create_async_engine(mariadb_server.url())
        open_to_all = "SELECT User, Host FROM mysql.user WHERE authentication_string = '' AND User <> 'mariadb.sys'"

        async with engine.connect() as connection:
            assert (await connection.execute(text(open_to_all))).all() == []
        await engine.dispose()

    async def test_a_crashed_server_starts_again(self, mariadb_server: MariaDBServer) -> None:
        """A crash leaves a data directory that the next start recovers."""
        mariadb_server.crash()
        crashed = mariadb_server.running
        mariadb_server.start()

        assert not crashed
        assert await variable(mariadb_server, "max_connections") == 200

    async def test_a_stopped_server_starts_again(self, mariadb_server: MariaDBServer) -> None:
        """A URL stays right over a restart."""
        url = mariadb_server.url()

        mariadb_server.stop()
        mariadb_server.start()

        assert mariadb_server.url() == url
        assert await variable(mariadb_server, "max_connections") == 200

    async def test_settings_come_last(self, changed_server: MariaDBServer) -> None:
        """A setting of the caller wins over ours."""
        assert await variable(changed_server, "max_connections") == 30

    async def test_it_writes_nothing_outside_of_its_directory(self, mariadb_server: MariaDBServer) -> None:
        """Neither making nor running it puts a temporary table where that of another server can be."""
        server = MariaDBServer(mariadb_server.bin_directory)
        run: list[tuple[str, ...]] = []
        server.run = lambda *command: run.append(command)  # type: ignore[method-assign]

        server._create_data()
        server.close()

        assert f"--tmpdir={server.directory}" in run[0]
        assert await variable(mariadb_server, "tmpdir") == str(mariadb_server.directory)

    def test_missing_programs_name_the_package(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where there is no MariaDB the error says what to install."""
        monkeypatch.setenv("PATH", "")

        with pytest.raises(ServerMissing, match="mariadb-server"):
            MariaDBServer.find()
