"""MariaDB: what its sessions begin with, and what its messages hold."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from asyncmy.errors import OperationalError
from sqlalchemy import Text, event, func, literal, select, text

from sqlkeel.engines._backend import Limits, info_of, parse_url
from sqlkeel.engines._databases.mariadb import _KINDS, MariaDBBackend
from sqlkeel.engines._databases.mariadb_abandoned import SERVER
from sqlkeel.errors import (
    AuthenticationFailed,
    CheckViolation,
    DatabaseFault,
    DatabaseUnavailable,
    ForeignKeyViolation,
    LockTimeout,
    NotNullViolation,
    SerializationFailure,
    StatementTimeout,
    StatementTooLarge,
    UniqueViolation,
    ValueRefused,
)
from sqlkeel.sessions import Database, Session
from sqlkeel.testing import MariaDBServer
from tests.engines.peers import SLOW, is_gone, number_of, own_id, soon
from tests.fixtures.databases import OpenDatabase


class Answer(Exception):
    """An error as the driver raises it: a number and a text."""


class TestSession:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("time_zone", "+00:00"),
            ("max_statement_time", 30),
            ("innodb_lock_wait_timeout", 5),
            ("lock_wait_timeout", 5),
        ],
    )
    async def test_it_is_set_when_it_connects(self, mariadb: Database, name: str, value: object) -> None:
        """UTC and the limits, in one statement with the connection."""
        async with mariadb.transaction() as session:
            assert await session.scalar(text(f"select @@session.{name}")) == value

    def test_its_messages_are_in_english(self) -> None:
        """The names of columns and constraints are read from them, whatever the language of the server."""
        options = MariaDBBackend().engine_options(parse_url("mariadb://"), Limits())

        assert "lc_messages = 'en_US'" in options["connect_args"]["init_command"]

    async def test_it_is_strict(self, mariadb: Database) -> None:
        """What does not fit is refused, not cut."""
        async with mariadb.transaction() as session:
            mode = await session.scalar(text("select @@session.sql_mode"))

        assert "STRICT_ALL_TABLES" in mode

    @pytest.mark.parametrize(("seconds", "setting"), [(0, "31536000"), (0.2, "1"), (1, "1"), (1.5, "2")])
    def test_a_wait_has_whole_seconds(self, seconds: float, setting: str) -> None:
        """Rounded up; and zero, which InnoDB takes for "at once", is no limit, as everywhere."""
        options = MariaDBBackend().engine_options(parse_url("mariadb://"), Limits(lock=seconds))

        assert f"innodb_lock_wait_timeout = {setting}," in options["connect_args"]["init_command"]

    async def test_usual_limits_cost_no_statement(self, mariadb: Database, open_database: OpenDatabase) -> None:
        """Only a transaction with limits of its own sends them, and only the next one takes them back."""
        database = open_database(mariadb, pool_size=1, max_overflow=0)
        sent: list[str] = []
        async with database.transaction(statement_timeout=1) as session:
            await session.execute(text("select 1"))
        event.listen(database.engine.sync_engine, "before_cursor_execute", lambda *args: sent.append(args[2]))

        async with database.transaction() as session:
            await session.execute(text("select 1"))
        async with database.transaction() as session:
            await session.execute(text("select 1"))

        assert [statement.split()[0] for statement in sent] == ["SET", "select", "select"]

    async def test_a_read_has_limits_too(self, mariadb: Database, open_database: OpenDatabase) -> None:
        """The pool that reads stops a statement as well."""
        database = open_database(mariadb, statement_timeout=0.1)

        with pytest.raises(StatementTimeout):
            async with database.read() as session:
                await session.execute(text(SLOW["mariadb"]))


class TestCodes:
    @pytest.mark.parametrize("number", _KINDS)
    async def test_each_has_its_class(self, mariadb: Database, number: int) -> None:
        """Whatever number the server sends, the driver does not keep it from us."""
        raising = f"signal sqlstate '45000' set mysql_errno = {number}, message_text = 'provoked'"

        with pytest.raises(DatabaseFault) as caught:
            async with mariadb.transaction() as session:
                await session.execute(text(raising))

        assert caught.value.orig is not None
        assert caught.value.orig.args[0] == number
        assert caught.value.code == _KINDS[number].code

    @pytest.mark.parametrize("megabytes", [17, 40])
    @pytest.mark.parametrize("block", ["read", "transaction"])
    async def test_a_statement_that_is_too_long_breaks_nothing_else(
        self, mariadb: Database, open_database: OpenDatabase, block: str, megabytes: int
    ) -> None:
        """The server closes the connection above 16 MB; the next borrower gets another one."""
        one = open_database(mariadb, pool_size=1, max_overflow=0)
        borrow = getattr(one, block)

        with pytest.raises(StatementTooLarge, match="max_allowed_packet"):
            async with borrow() as session:
                await session.execute(text("select :words"), {"words": "x" * megabytes * 2**20})

        async with borrow() as session:
            assert await session.scalar(text("select 1")) == 1

    @pytest.mark.parametrize("rows", [18, 40])
    async def test_rows_that_are_too_long_together(self, mariadb: Database, rows: int) -> None:
        """No row is named, for each may be written by itself, and nothing is tried again."""
        tries: list[int] = []

        async def write(session: Session) -> None:
            tries.append(rows)
            values = [literal("x" * 2**20, Text()) for _ in range(rows)]
            await session.execute(select(func.length(func.concat(*values))))

        with pytest.raises(StatementTooLarge) as caught:
            await mariadb.run_transaction(write)

        assert (tries, caught.value.row, caught.value.column) == ([rows], None, None)
        assert caught.value.connection_invalidated

    @pytest.mark.parametrize(
        ("error", "given", "too_large"),
        [
            (OperationalError(2006, "gone"), ("x" * 101,), True),
            (OperationalError(2006, "gone"), ("x" * 100,), False),
            (OperationalError(2013, "lost"), {"a": b"x" * 60, "b": "x" * 41, "c": None}, True),
            (BrokenPipeError(32, "broken"), ("x" * 101,), True),
            (OperationalError(2006, "gone"), [("x" * 60,), ("x" * 60,)], False),
            (OperationalError(1213, "deadlock"), ("x" * 101,), False),
            (ValueError("no date"), ("x" * 101,), False),
        ],
    )
    async def test_a_connection_that_the_server_closed(
        self, mariadb: Database, error: Exception, given: Any, too_large: bool
    ) -> None:
        """It is told from one that was lost by the length of what was sent: one above the limit is too much."""
        async with mariadb.engine.connect() as connection:
            context: Any = SimpleNamespace(
                original_exception=error, connection=connection.sync_connection, statement="", parameters=given
            )
            info = info_of(context.connection)
            info[SERVER] = info[SERVER]._replace(packet=100)

            found = MariaDBBackend().is_too_large(context)
            await connection.invalidate()

        assert found is too_large

    async def test_a_statement_that_is_too_long_holds_too_long_a_value(self, mariadb: Database) -> None:
        """A client that sends such a text is told of it; to try again would not help."""
        with pytest.raises(ValueRefused) as caught:
            async with mariadb.transaction() as session:
                await session.execute(text("select :words"), {"words": "x" * 17 * 2**20})

        assert caught.value.connection_invalidated


class TestSnapshot:
    async def test_a_row_that_moved_on_is_a_serialization_failure(self, mariadb: Database) -> None:
        """With innodb_snapshot_isolation an UPDATE of what was changed since the snapshot is error 1020."""
        async with mariadb.engine.begin() as connection:
            await connection.execute(text("create table counter (i int) engine=innodb"))
            await connection.execute(text("insert into counter values (1)"))

        with pytest.raises(SerializationFailure) as caught:
            async with mariadb.transaction() as session:
                await session.execute(text("set innodb_snapshot_isolation = on"))
                await session.execute(text("select i from counter"))
                async with mariadb.session() as other, other.begin():
                    await other.execute(text("update counter set i = 2"))
                await session.execute(text("update counter set i = 3"))

        assert caught.value.orig is not None
        assert caught.value.orig.args[0] == 1020

    async def test_a_lock_timeout_costs_one_statement(self, mariadb: Database) -> None:
        """Error 1205 rolls back the statement only: what came before is there, and is committed."""
        async with mariadb.engine.begin() as connection:
            await connection.execute(text("create table counter (id int primary key, i int) engine=innodb"))
            await connection.execute(text("insert into counter values (1, 0), (2, 0)"))

        async with mariadb.session() as holder, mariadb.transaction(lock_timeout=1) as session:
            await holder.execute(text("update counter set i = 7 where id = 2"))
            await session.execute(text("update counter set i = 1 where id = 1"))
            with pytest.raises(LockTimeout):
                await session.execute(text("update counter set i = 2 where id = 2"))

        async with mariadb.read() as session:
            assert (await session.scalars(text("select i from counter order by id"))).all() == [1, 0]


class TestDiagnose:
    @pytest.mark.parametrize(
        ("number", "words", "kind", "constraint"),
        [
            (1062, "Duplicate entry 'a' for key 'user_email_key'", UniqueViolation, "user_email_key"),
            (1062, "Duplicate entry 'a' for key 'user.user_email_key'", UniqueViolation, "user_email_key"),
            (1062, "Duplicate entry 'it's 'quoted'' for key 'k'", UniqueViolation, "k"),
            (4025, "CONSTRAINT `age_check` failed for `app`.`user`", CheckViolation, "age_check"),
            (1048, "Column 'email' cannot be null", NotNullViolation, None),
        ],
    )
    def test_names_are_found_in_the_text(self, number: int, words: str, kind: type, constraint: str | None) -> None:
        """The number says what it is, the quoted names where."""
        found = MariaDBBackend().diagnose(Answer(number, words))

        assert found is not None
        assert (found.kind, found.constraint) == (kind, constraint)

    @pytest.mark.parametrize(
        ("number", "words", "columns"),
        [
            (1406, "Data too long for column 'name' at row 3", ("name",)),
            (
                1366,
                "Incorrect integer value: 'for column `a`.`b`.`c` at row 1' for column `d`.`t`.`n` at row 12",
                ("n",),
            ),
            (1292, "Truncated incorrect DECIMAL value: ' for column 'x' at row 1'", ()),
        ],
    )
    def test_the_column_of_a_value(self, number: int, words: str, columns: tuple[str, ...]) -> None:
        """The column stands at the end; what looks like one in the value is none."""
        found = MariaDBBackend().diagnose(Answer(number, words))

        assert found is not None
        assert (found.kind, found.columns) == (ValueRefused, columns)

    def test_a_foreign_key_of_several_columns(self) -> None:
        """Table, name and columns of the child are in the message."""
        words = (
            "Cannot add or update a child row: a foreign key constraint fails (`app`.`line`, CONSTRAINT `line_fkey` "
            "FOREIGN KEY (`order_id`, `order_part`) REFERENCES `order` (`id`, `part`))"
        )

        found = MariaDBBackend().diagnose(Answer(1452, words))

        assert found is not None
        assert (found.kind, found.table, found.constraint) == (ForeignKeyViolation, "line", "line_fkey")
        assert found.columns == ("order_id", "order_part")

    @pytest.mark.parametrize("error", [Answer(), Answer("text"), Answer(99999, "unknown"), Answer(1062)], ids=repr)
    def test_what_it_does_not_know_is_left_alone(self, error: Answer) -> None:
        """An error without a number, or with an unknown one, has no meaning; one without a text has no names."""
        found = MariaDBBackend().diagnose(error)

        assert found is None or found.constraint is None


class TestServer:
    async def test_a_wrong_password(self, mariadb_server: MariaDBServer, open_database: OpenDatabase) -> None:
        """The error says what to check, and not what was tried."""
        admin = open_database(mariadb_server.url())
        async with admin.engine.begin() as connection:
            await connection.execute(text("create user guest@'%' identified by 'right'"))
        url = admin.url.set(username="guest", password="wr0ng").render_as_string(hide_password=False)

        with pytest.raises(AuthenticationFailed) as caught:
            await open_database(url).check()

        assert "wr0ng" not in str(caught.value)

    async def test_a_lock_of_all_tables_is_not_left(
        self, mariadb_server: MariaDBServer, open_database: OpenDatabase
    ) -> None:
        """Nobody else could write anywhere as long as the connection is in the pool; nor can other tests meanwhile."""
        database = open_database(mariadb_server.url(), pool_size=1, max_overflow=0)
        async with database.transaction() as session:
            await session.execute(text("flush tables with read lock"))
            locked = await own_id(session, database)

        async with database.transaction() as session:
            assert await own_id(session, database) != locked

    async def test_a_crashed_server(self, mariadb_server: MariaDBServer, open_database: OpenDatabase) -> None:
        """While the server is away it is unavailable; when it is back, so are we."""
        database = open_database(mariadb_server.url())
        await database.check()
        mariadb_server.crash()
        with pytest.raises(DatabaseUnavailable):
            await open_database(mariadb_server.url()).check()

        mariadb_server.start()
        await database.run_transaction(lambda session: session.execute(text("select 1")))


class TestPassword:
    @pytest.fixture(params=["pässwört", "Пароль", "100€"])
    async def foreign(self, request: pytest.FixtureRequest, mariadb: Database) -> AsyncIterator[Database]:
        """A user whose password is not in ASCII."""
        async with mariadb.engine.begin() as connection:
            await connection.exec_driver_sql(f"CREATE OR REPLACE USER keel_letters IDENTIFIED BY '{request.param}'")
        yield Database(mariadb.url.set(username="keel_letters", password=request.param, database=""))
        async with mariadb.engine.begin() as connection:
            await connection.exec_driver_sql("DROP USER keel_letters")

    async def test_it_may_have_any_letters(self, foreign: Database) -> None:
        """The server knows it in UTF-8, and the driver would send it in Latin 1."""
        async with foreign, foreign.read() as session:
            assert await session.scalar(text("select substring_index(user(), '@', 1)")) == "keel_letters"

    async def test_it_kills_a_cancelled_statement(self, mariadb: Database, foreign: Database) -> None:
        """The second connection, from which the first is killed, gives it in the same form."""
        async with foreign:
            number = await number_of(foreign)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3), foreign.transaction() as session:
                    await session.execute(text("select sleep(5)"))

            assert await soon(lambda: is_gone(number, mariadb), seconds=3.0)
