"""Tests of sqlkeel.models._key_columns: keys of one column and of several are written in one way."""

from __future__ import annotations

from itertools import chain
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Column, ForeignKey, Integer, column, select
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sqlkeel.models._key_columns import VALUES_AT_ONCE, key_in, plain_key, portions, row_value, tables_with_keys


class Base(DeclarativeBase):
    pass


class Place(Base):
    __tablename__ = "place"

    id: Mapped[int] = mapped_column(primary_key=True)


class Hall(Place):
    __tablename__ = "hall"

    place_id: Mapped[int] = mapped_column(ForeignKey("place.id"), primary_key=True)


class TestPlainKey:
    @pytest.mark.parametrize(("identity", "key"), [((1,), 1), ([1], 1), ((1, 2), (1, 2)), (None, None)])
    def test_it_is_what_callers_write(self, identity: Any, key: Any) -> None:
        """One value, or a tuple."""
        assert plain_key(identity) == key


class TestRowValue:
    @pytest.mark.parametrize(("names", "sql"), [("a", "SELECT 1 WHERE a IN"), ("ab", "SELECT 1 WHERE (a, b) IN")])
    def test_it_is_compared_with_keys(self, names: str, sql: str) -> None:
        """One column, or the row of several."""
        columns: list[Column[Any]] = [column(name, Integer) for name in names]  # type: ignore[misc]
        keys = select(*columns)

        assert " ".join(str(select(1).where(row_value(columns).in_(keys))).split()).startswith(sql)


class TestPortions:
    @given(st.lists(st.integers()), st.integers(1, 12), st.integers(1, 20))
    def test_none_is_lost_and_none_is_too_large(self, keys: list[int], width: int, values: int) -> None:
        """In their order; a key that is wider than a portion is one by itself."""
        parts = list(portions(keys, width, values=values))

        assert list(chain.from_iterable(parts)) == keys
        assert all(part and (len(part) * width <= values or len(part) == 1) for part in parts)

    def test_their_usual_size(self) -> None:
        """As many values as MariaDB still takes for a list."""
        assert [len(part) for part in portions(range(1201))] == [500, 500, 201]
        assert VALUES_AT_ONCE == 500


class TestTables:
    def test_a_key_under_two_names(self) -> None:
        """Each table of a class in two holds its key, under a name of its own."""
        mapper: Any = sa_inspect(Hall)
        place, hall = Base.metadata.tables["place"], Base.metadata.tables["hall"]

        assert key_in(mapper, hall) == (hall.c.place_id,)
        assert dict(tables_with_keys(mapper)) == {place: (place.c.id,), hall: (hall.c.place_id,)}
