"""Tests of sqlkeel.bulk._registry: each database has its file."""

from __future__ import annotations

import pytest
from sqlalchemy.dialects import mssql, mysql, postgresql, sqlite

from sqlkeel.bulk._databases.mariadb import MariaDBWriter
from sqlkeel.bulk._databases.postgresql import PostgreSQLWriter
from sqlkeel.bulk._databases.sqlite import SQLiteWriter
from sqlkeel.bulk._registry import writer_for
from sqlkeel.errors import NotSupported


class TestWriterFor:
    @pytest.mark.parametrize(
        ("dialect", "kind"),
        [(postgresql.dialect(), PostgreSQLWriter), (sqlite.dialect(), SQLiteWriter), (mysql.dialect(), MariaDBWriter)],
    )
    def test_the_file_of_the_dialect(self, dialect: object, kind: type) -> None:
        """A dialect is written by the file of its database."""
        assert isinstance(writer_for(dialect), kind)  # type: ignore[arg-type]

    def test_another_database_is_refused(self) -> None:
        """A database that nobody has tried is not guessed at."""
        with pytest.raises(NotSupported, match="mssql"):
            writer_for(mssql.dialect())
