"""Tests of sqlkeel.bulk._binder: converted only where there is something to convert."""

from __future__ import annotations

import uuid

from sqlalchemy.dialects import postgresql, sqlite

from sqlkeel.bulk._binder import Binder
from sqlkeel.bulk._rows import Batch
from sqlkeel.bulk._target import Target
from tests.bulk.models import Cabin, Color, Guest, Parcel


class TestBinder:
    def test_nothing_runs_where_nothing_has_to(self) -> None:
        """Values that the driver takes as they are are not touched, not even copied."""
        batch = Batch(("first", "last", "age"), [("a", "b", 1)])

        bound = Binder(Target(Guest), postgresql.asyncpg.dialect(), new=True).bind(batch)

        assert next(iter(bound.blocks)) is batch.records

    def test_values_and_defaults(self) -> None:
        """Types convert what is given; defaults of the other columns are made, and converted, too."""
        target, color = Target(Parcel), Color.BLUE

        bound = Binder(target, sqlite.dialect(), new=True).bind(Batch(("color",), [(color,)]))
        made = dict(zip((column.name for column in bound.columns), bound.all()[0], strict=True))

        assert (made["color"], made["price"], made["data"]) == (color.value, 150, "{}")
        assert len(made["id"]) == 32

    def test_no_defaults_for_rows_that_exist(self) -> None:
        """An update writes what is given and nothing else."""
        bound = Binder(Target(Parcel), sqlite.dialect(), new=False).bind(Batch(("weight",), [(1.0,)]))

        assert [column.name for column in bound.columns] == ["weight"]

    def test_a_quicker_maker_is_used(self) -> None:
        """A driver may name a function whose values it takes as well."""
        quick = uuid.UUID(int=1)
        makers = {Parcel.__table__.c.id.default.arg.__wrapped__: lambda: quick}
        binder = Binder(Target(Parcel), postgresql.asyncpg.dialect(), new=True, makers=makers)

        bound = binder.bind(Batch(("weight", "label"), [(1.0, "a")]))

        assert quick in bound.all()[0]

    def test_an_expression_is_seen(self) -> None:
        """A default that is an expression needs a statement, unless the value is given."""
        binder = Binder(Target(Cabin), sqlite.dialect(), new=True)

        assert binder.in_sql(("user_id",))
        assert not binder.in_sql(("user_id", "name"))
