"""A request that fails keeps nothing, whatever it is answered with."""

from __future__ import annotations

import pytest

from sqlkeel import Database
from sqlkeel.errors import KeelError, NotFound, NoTransaction, UniqueViolation
from sqlkeel.integrations.asgi import UnitOfWork
from tests.integrations.contract.framework import FormError, Framework
from tests.integrations.tables import Base, Note, stored
from tests.integrations.wire import client

pytestmark = pytest.mark.tables(Base.metadata)


async def write(unit: UnitOfWork, note: str = "half") -> None:
    """Write a note."""
    session = await unit.session()
    session.add(Note(text=note))
    await session.flush()


class TestHandledException:
    async def test_it_keeps_nothing(self, framework: Framework, every_driver: Database) -> None:
        """What was written before an exception is not there, though its handler sends the client back to the form."""

        async def endpoint(unit: UnitOfWork) -> None:
            await write(unit)
            raise FormError

        async with client(framework.serve(every_driver, endpoint)) as http:
            response = await http.post("/")

        assert response.status_code == 303
        assert await stored(every_driver) == []

    @pytest.mark.parametrize("status", [200, 201, 204, 303, 307, 399, 400, 422, 500])
    async def test_the_status_does_not_matter(self, framework: Framework, sqlite: Database, status: int) -> None:
        """Any answer to an exception is an answer to a failure."""

        async def endpoint(unit: UnitOfWork) -> None:
            await write(unit)
            raise FormError

        async with client(framework.serve(sqlite, endpoint, status=status)) as http:
            response = await http.post("/")

        assert response.status_code == status
        assert await stored(sqlite) == []

    async def test_what_was_not_flushed_is_not_kept_either(self, framework: Framework, db: Database) -> None:
        """What waits for the next flush is not written by the end of the request."""

        async def endpoint(unit: UnitOfWork) -> None:
            (await unit.session()).add(Note(text="half"))
            raise FormError

        async with client(framework.serve(db, endpoint)) as http:
            await http.post("/")

        assert await stored(db) == []

    async def test_a_violation_may_be_answered_with_a_success(
        self, framework: Framework, every_driver: Database
    ) -> None:
        """A handler of one's own for a unique violation that redirects is the answer, and nothing is kept."""

        async def endpoint(unit: UnitOfWork) -> None:
            await write(unit)
            await write(unit)

        async with client(framework.serve(every_driver, endpoint, kind=UniqueViolation)) as http:
            response = await http.post("/")

        assert response.status_code == 303
        assert await stored(every_driver) == []

    async def test_so_may_one_that_only_the_commit_finds(self, framework: Framework, every_driver: Database) -> None:
        """A violation of what was left to the end of the request reaches the handler, too, and nothing is kept."""

        async def endpoint(unit: UnitOfWork) -> None:
            (await unit.session()).add_all([Note(text="half"), Note(text="half")])

        async with client(framework.serve(every_driver, endpoint, kind=UniqueViolation)) as http:
            response = await http.post("/")

        assert response.status_code == 303
        assert await stored(every_driver) == []

    async def test_so_may_any_error_of_ours(self, framework: Framework, sqlite: Database) -> None:
        """A handler of one's own for all of our errors that answers 200 keeps nothing."""

        async def endpoint(unit: UnitOfWork) -> None:
            await write(unit)
            raise NotFound("Note", 1)

        async with client(framework.serve(sqlite, endpoint, kind=KeelError, status=200)) as http:
            response = await http.post("/")

        assert response.status_code == 200
        assert await stored(sqlite) == []

    async def test_a_raised_redirection_keeps_nothing(self, framework: Framework, db: Database) -> None:
        """``raise HTTPException(303)`` is raised like any other exception; who wants to keep the rows returns it."""

        async def endpoint(unit: UnitOfWork) -> None:
            await write(unit)
            raise framework.http_error(status_code=303)  # type: ignore[call-arg]

        async with client(framework.serve(db, endpoint)) as http:
            response = await http.post("/")

        assert response.status_code == 303
        assert await stored(db) == []

    async def test_so_may_one_of_the_frameworks(self, framework: Framework, db: Database) -> None:
        """A handler of one's own for the framework's own errors that redirects, to a login say, keeps nothing."""

        async def endpoint(unit: UnitOfWork) -> None:
            await write(unit)
            raise framework.http_error(status_code=401)  # type: ignore[call-arg]

        async with client(framework.serve(db, endpoint, kind=framework.http_error)) as http:
            response = await http.post("/")

        assert response.status_code == 303
        assert await stored(db) == []

    async def test_a_group_keeps_nothing(self, framework: Framework, sqlite: Database) -> None:
        """The exceptions of a TaskGroup are one that is handled like any other."""

        async def endpoint(unit: UnitOfWork) -> None:
            await write(unit)
            raise ExceptionGroup("several", [FormError()])

        async with client(framework.serve(sqlite, endpoint, kind=ExceptionGroup)) as http:
            response = await http.post("/")

        assert response.status_code == 303
        assert await stored(sqlite) == []

    async def test_one_that_the_endpoint_caught_is_its_own_affair(self, framework: Framework, db: Database) -> None:
        """An exception that does not leave the endpoint decides nothing."""

        async def endpoint(unit: UnitOfWork) -> None:
            with pytest.raises(FormError):
                raise FormError
            await write(unit, "kept")

        async with client(framework.serve(db, endpoint)) as http:
            response = await http.post("/")

        assert response.status_code == 201
        assert await stored(db) == ["kept"]

    async def test_what_was_committed_by_hand_stays(self, framework: Framework, db: Database) -> None:
        """After ``unit.commit()`` an exception takes nothing back."""

        async def endpoint(unit: UnitOfWork) -> None:
            await write(unit, "kept")
            await unit.commit()
            raise FormError

        async with client(framework.serve(db, endpoint)) as http:
            response = await http.post("/")

        assert response.status_code == 303
        assert await stored(db) == ["kept"]

    async def test_after_a_commit_in_between_the_rest_is_not_kept(self, framework: Framework, db: Database) -> None:
        """After ``session.commit()`` an exception takes back what came later."""

        async def endpoint(unit: UnitOfWork) -> None:
            await write(unit, "kept")
            await (await unit.session()).commit()
            await write(unit)
            raise FormError

        async with client(framework.serve(db, endpoint)) as http:
            await http.post("/")

        assert await stored(db) == ["kept"]


class TestHandler:
    async def test_it_runs_when_all_is_rolled_back(self, framework: Framework, every_driver: Database) -> None:
        """When a handler runs, hooks have run and the connection is free."""
        seen: list[object] = []

        async def endpoint(unit: UnitOfWork) -> None:
            session = await unit.session()
            session.on_commit(seen.append, "committed")
            session.on_rollback(seen.append, "rolled back")
            await write(unit)
            raise FormError

        def look() -> None:
            seen.append(every_driver.engine.pool.checkedout())  # type: ignore[attr-defined]

        async with client(framework.serve(every_driver, endpoint, seen=look)) as http:
            await http.post("/")

        assert seen == ["rolled back", 0]

    async def test_objects_are_readable(self, framework: Framework, db: Database) -> None:
        """A handler may show what was to be written."""
        notes: list[Note] = []
        shown: list[str] = []

        async def endpoint(unit: UnitOfWork) -> None:
            notes.append(Note(text="half"))
            (await unit.session()).add(notes[0])
            await (await unit.session()).flush()
            raise FormError

        async with client(framework.serve(db, endpoint, seen=lambda: shown.append(notes[0].text))) as http:
            await http.post("/")

        assert shown == ["half"]

    async def test_there_is_no_session_any_more(self, framework: Framework, sqlite: Database) -> None:
        """Who asks for the session of a request that failed is told what was raised, and what to open instead."""
        units: list[UnitOfWork] = []

        async def endpoint(unit: UnitOfWork) -> None:
            units.append(unit)
            raise FormError

        async with client(framework.serve(sqlite, endpoint)) as http:
            await http.post("/")

        with pytest.raises(NoTransaction, match=r"FormError(.|\n)*db\.transaction"):
            await units[0].session()
