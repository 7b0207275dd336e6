"""Pages ordered by types that only PostgreSQL has, whose values SQLAlchemy describes in its own ways."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Integer, event
from sqlalchemy.dialects.postgresql import BIT, HSTORE, MACADDR, MONEY, OID
from sqlalchemy.orm import Mapped, mapped_column

import sqlkeel
from sqlkeel.errors import InvalidCursor, NotSupported
from sqlkeel.reading._pagination import Keyset
from sqlkeel.repository import Repository
from sqlkeel.sessions import Database
from sqlkeel.types._stored import Stored


class Base(sqlkeel.Base):
    pass


class Host(Base):
    __tablename__ = "types_host"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    flags: Mapped[Any] = mapped_column(BIT(4))
    price: Mapped[Any] = mapped_column(MONEY)
    card: Mapped[Any] = mapped_column(MACADDR)
    number: Mapped[Any] = mapped_column(OID)
    labels: Mapped[Any] = mapped_column(HSTORE, nullable=True)


@event.listens_for(Base.metadata, "before_create")
def _make_types(target: Any, connection: Any, **kw: Any) -> None:
    connection.exec_driver_sql("CREATE EXTENSION IF NOT EXISTS hstore")


pytestmark = [
    pytest.mark.tables(Base.metadata),
    # SQLAlchemy's own MONEY does not say yet which operators it has.
    pytest.mark.filterwarnings("ignore:Type object:sqlalchemy.exc.SADeprecationWarning"),
]
HOSTS: list[dict[str, Any]] = [
    {
        "id": number,
        "flags": flags,
        "price": f"${number % 2}.00",
        "card": f"08:00:2b:01:02:0{number % 3}",
        "number": 4_000_000_000 - number,
    }
    for number, flags in enumerate(["1111", "0101", "1111", "0000"])
]


class TestPages:
    @pytest.mark.parametrize("name", ["flags", "price", "card", "number"])
    async def test_each_row_is_met_once(self, postgresql: Database, name: str) -> None:
        """A cursor holds a value of the type, and the next page goes on behind it."""
        async with postgresql.transaction() as session:
            rows = Repository(session, Host)
            await rows.insert_many(HOSTS)
            order = [getattr(Host, name)]

            met = [host.id async for host in rows.iterate(order_by=order, batch=1)]

            assert met == [host.id for host in await rows.get_all(order_by=order)]
            assert sorted(met) == [0, 1, 2, 3]


class TestWithoutAnOrder:
    def test_mappings_are_refused(self) -> None:
        """A mapping has no order that a page could go on in."""
        with pytest.raises(NotSupported, match="cannot be ordered"):
            Keyset(Host, [Host.labels])


class TestForgedCursors:
    @pytest.mark.parametrize(
        ("kind", "value"), [(BIT(4), "2"), (BIT(4), 5), (OID(), -1), (OID(), 2**32), (OID(), "1"), (OID(), True)]
    )
    async def test_another_value_is_refused(self, postgresql: Database, kind: Any, value: Any) -> None:
        """A value that cannot have been read from such a column is no part of a cursor."""
        with pytest.raises(InvalidCursor):
            Stored(kind).process_bind_param(value, postgresql.engine.dialect)
