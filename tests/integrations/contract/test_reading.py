"""What a request writes where it only reads is refused, and never lost."""

from __future__ import annotations

import pytest

from sqlkeel import Database, Repository, Session
from sqlkeel.integrations.asgi import UnitOfWork
from tests.integrations.contract.framework import Framework
from tests.integrations.tables import Base, Note, stored
from tests.integrations.wire import client

pytestmark = pytest.mark.tables(Base.metadata)


async def write(unit: UnitOfWork, note: str = "half") -> None:
    """Write a note."""
    session = await unit.session()
    session.add(Note(text=note))
    await session.flush()


async def kept(db: Database) -> None:
    """Commit a note."""
    async with db.transaction() as session:
        session.add(Note(text="kept"))


async def held(session: Session) -> Note:
    """Return the note, which *session* holds then."""
    note = await Repository(session, Note).one_or_none(Note.text == "kept")
    assert note is not None
    return note


class TestChangeWhileReading:
    async def test_a_new_object_is_refused(
        self, framework: Framework, every_driver: Database, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A row that is added to the session for reading is a 500 that names it, and no 201."""

        async def endpoint(unit: UnitOfWork) -> None:
            (await unit.read_session()).add(Note(text="lost"))

        async with client(framework.serve(every_driver, endpoint)) as http:
            response = await http.post("/")

        assert response.status_code == 500
        assert "ReadOnlySession" in caplog.text
        assert await stored(every_driver) == []

    async def test_a_changed_object_is_refused(self, framework: Framework, db: Database) -> None:
        """A change of an object of the session for reading is a 500."""

        async def endpoint(unit: UnitOfWork) -> None:
            (await held(await unit.read_session())).text = "lost"

        await kept(db)

        async with client(framework.serve(db, endpoint)) as http:
            response = await http.post("/")

        assert response.status_code == 500
        assert await stored(db) == ["kept"]

    async def test_what_was_written_beside_it_is_not_kept(self, framework: Framework, every_driver: Database) -> None:
        """The request has failed as a whole: what the other session wrote is rolled back."""

        async def endpoint(unit: UnitOfWork) -> None:
            await write(unit)
            (await unit.read_session()).add(Note(text="lost"))

        async with client(framework.serve(every_driver, endpoint)) as http:
            response = await http.post("/")

        assert response.status_code == 500
        assert await stored(every_driver) == []

    async def test_a_refused_request_is_answered_as_it_is(self, framework: Framework, db: Database) -> None:
        """Where nothing is kept anyway, a change that is not kept is no news."""

        async def endpoint(unit: UnitOfWork) -> None:
            (await unit.read_session()).add(Note(text="lost"))
            raise framework.http_error(status_code=409)  # type: ignore[call-arg]

        async with client(framework.serve(db, endpoint)) as http:
            response = await http.post("/")

        assert response.status_code == 409

    async def test_reading_alone_is_fine(self, framework: Framework, every_driver: Database) -> None:
        """Objects that were read and not changed end with the request."""

        async def endpoint(unit: UnitOfWork) -> None:
            assert await Repository(await unit.read_session(), Note).get_all()
            await write(unit)

        await kept(every_driver)

        async with client(framework.serve(every_driver, endpoint)) as http:
            response = await http.post("/")

        assert response.status_code == 201
        assert await stored(every_driver) == ["half", "kept"]


class TestObjectOfTheOtherSession:
    async def test_an_update_is_no_success_without_a_row(
        self, framework: Framework, every_driver: Database, caplog: pytest.LogCaptureFixture
    ) -> None:
        """An object of the session for reading, updated by a repository of the other one, is refused."""

        async def endpoint(unit: UnitOfWork) -> None:
            note = await held(await unit.read_session())
            await Repository(await unit.session(), Note).update(note, {"text": "lost"})

        await kept(every_driver)

        async with client(framework.serve(every_driver, endpoint)) as http:
            response = await http.post("/")

        assert response.status_code == 500
        assert "update() would write nothing" in caplog.text
        assert await stored(every_driver) == ["kept"]

    async def test_nor_is_one_of_an_object_that_a_closed_session_left(
        self, framework: Framework, every_driver: Database
    ) -> None:
        """An object of a block that has ended, as a check of who asks leaves it, is refused."""

        async def endpoint(unit: UnitOfWork) -> None:
            async with unit.database.read() as session:
                note = await held(session)
            await Repository(await unit.session(), Note).update(note, {"text": "lost"})

        await kept(every_driver)

        async with client(framework.serve(every_driver, endpoint)) as http:
            response = await http.post("/")

        assert response.status_code == 500
        assert await stored(every_driver) == ["kept"]
