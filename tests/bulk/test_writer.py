"""Tests of sqlkeel.bulk.writer: what the files of the databases have in common."""

from __future__ import annotations

import pytest
from sqlalchemy.dialects import sqlite

from sqlkeel.bulk.writer import Bound, names_of, stage_of
from sqlkeel.errors import NotSupported
from tests.bulk.models import Seat


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
