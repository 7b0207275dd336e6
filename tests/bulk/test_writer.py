"""Tests of sqlkeel.bulk.writer: each database has its file."""

from __future__ import annotations

import pytest
from sqlalchemy.dialects import mssql, mysql, postgresql, sqlite

from sqlkeel.bulk.mariadb import MariaDB
from sqlkeel.bulk.postgresql import PostgreSQL
from sqlkeel.bulk.sqlite import SQLite
from sqlkeel.bulk.writer import Bound, names_of, stage_of, writer_for
from sqlkeel.errors import NotSupported
from tests.bulk.models import Seat


class TestWriterFor:
    @pytest.mark.parametrize(
        ("dialect", "kind"),
        [(postgresql.dialect(), PostgreSQL), (sqlite.dialect(), SQLite), (mysql.dialect(), MariaDB)],
    )
    def test_the_file_of_the_dialect(self, dialect: object, kind: type) -> None:
        """A dialect is written by the file of its database."""
        assert isinstance(writer_for(dialect), kind)  # type: ignore[arg-type]

    def test_another_database_is_refused(self) -> None:
        """A database that nobody has tried is not guessed at."""
        with pytest.raises(NotSupported, match="mssql"):
            writer_for(mssql.dialect())


class TestStages:
    def test_the_name_tells_the_columns(self) -> None:
        """Drivers remember the types of a statement by its text: other columns, another name."""
        table = Seat.__table__
        names = [stage_of(table, columns).name for columns in ([table.c.hall], [table.c.hall, table.c.guest])]

        assert names[0] != names[1]
        assert stage_of(table, [table.c.hall]).name == names[0]

    def test_columns_have_their_own_names(self) -> None:
        """Statements need the name of a column, not that of its attribute."""
        assert names_of(sqlite.dialect(), [Seat.__table__.c.seat_row, Seat.__table__.c.guest]) == "seat_row, guest"

    def test_a_bound_value_is_no_column(self) -> None:
        """The type of parameters cannot be used for a table by mistake."""
        with pytest.raises(NotSupported):
            Bound().get_col_spec()
