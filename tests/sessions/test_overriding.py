"""Sessions of a project that override methods: each is called once, whichever class is named first."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from sqlkeel import SyncSession
from sqlkeel.errors import ConfigurationError, TransactionAborted


class Base(DeclarativeBase):
    """A project's own."""


class Page(Base):
    """Something to write."""

    __tablename__ = "page"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


OVERRIDDEN = [
    "add", "add_all", "begin", "bulk_insert_mappings", "bulk_save_objects", "bulk_update_mappings", "close", "commit",
    "connection", "delete", "execute", "expire", "expire_all", "expunge", "expunge_all", "flush", "get", "get_one",
    "merge", "refresh", "rollback", "scalar", "scalars",
]  # fmt: skip


def noted(name: str) -> Any:
    def method(self: Any, *args: Any, **options: Any) -> Any:
        self.info.setdefault("called", []).append(name)
        return getattr(super(Audited, self), name)(*args, **options)

    return method


class Audited(Session):
    """What a project has: each call is noted."""


for _name in OVERRIDDEN:
    setattr(Audited, _name, noted(_name))


class OursFirst(SyncSession, Audited):
    """As the page says for SQLModel."""


class TheirsFirst(Audited, SyncSession):
    """The other order."""


class Below(OursFirst):
    """A class below, with a method of its own."""

    def execute(self, *args: Any, **options: Any) -> Any:
        """Note it, and call the class above."""
        self.info.setdefault("called", []).append("below")
        return super().execute(*args, **options)


def use(session: Session) -> None:
    """Call each method."""
    session.begin()
    page = Page(id=1)
    session.add(page)
    session.add_all([Page(id=2)])
    session.flush()
    session.connection()
    session.execute(select(Page))
    session.scalar(select(Page))
    session.scalars(select(Page))
    session.get(Page, 1)
    session.get_one(Page, 1)
    session.refresh(page)
    session.expire(page)
    session.expire_all()
    session.merge(Page(id=1))
    session.delete(session.get_one(Page, 2))
    session.commit()
    session.bulk_insert_mappings(Page.__mapper__, [{"id": 3}])
    session.bulk_update_mappings(Page.__mapper__, [{"id": 3}])
    session.bulk_save_objects([Page(id=4)])
    session.rollback()
    session.expunge(page)
    session.expunge_all()
    session.close()


@pytest.fixture
def engine() -> Any:
    """A database in memory."""
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


class TestOrder:
    @pytest.mark.parametrize("kind", [OursFirst, TheirsFirst, Below])
    def test_their_methods_are_called(self, engine: Engine, kind: type[SyncSession]) -> None:
        """Each that the caller calls, as a session without ours calls them."""
        session = kind(engine)
        use(session)

        assert set(session.info["called"]) - {"below"} == set(OVERRIDDEN)

    def test_a_class_below_calls_them_too(self, engine: Engine) -> None:
        """Once each."""
        with Below(engine) as session:
            session.execute(select(Page))

            assert session.info["called"] == ["below", "execute"]

    @pytest.mark.parametrize("kind", [OursFirst, TheirsFirst, Below])
    def test_ours_are_there(self, engine: Engine, kind: type[SyncSession]) -> None:
        """What is refused is refused."""
        with kind(engine) as session:
            session.begin()
            session.leave_half_done(ZeroDivisionError())

            with pytest.raises(TransactionAborted):
                session.commit()

    def test_one_that_would_not_be_called_is_refused(self) -> None:
        """Between two classes that override the same method ours would pass the second one by."""

        class First(Session):
            def rollback(self) -> None:
                super().rollback()

        with pytest.raises(ConfigurationError, match=r"Audited.rollback\(\)") as caught:
            type("Between", (First, SyncSession, Audited), {})

        assert "class Between(First, Audited, SyncSession)" in caught.value.hint
