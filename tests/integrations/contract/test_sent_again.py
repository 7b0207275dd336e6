"""A client that got no answer sends its request again, with the same Idempotency-Key."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest

from sqlkeel import Database, Repository, Session
from tests.integrations.contract.framework import Framework
from tests.integrations.tables import Answer, Base, Note, stored
from tests.integrations.wire import client

pytestmark = pytest.mark.tables(Base.metadata)

KEY = {"Idempotency-Key": "k"}


async def note_once(framework: Framework, request: Any, session: Session) -> Any:
    """Write a note for the first request with the key, and give its answer to all of them."""
    note = request.query_params["note"]
    given = {"key": request.headers["Idempotency-Key"]}
    answer, first = await Repository(session, Answer).get_or_create(given, {"request": note})
    if answer.request != note:
        raise framework.http_error(status_code=422)  # type: ignore[call-arg]
    if first:
        written = await Repository(session, Note).create(text=f"{note} {uuid.uuid4()}"[:50])
        answer.body = {"text": written.text}
    return answer.body


class TestSentAgain:
    async def test_it_is_answered_as_before(self, framework: Framework, every_driver: Database) -> None:
        """The work is done once, and the second answer is the first one."""

        async def endpoint(request: Any, session: Session) -> Any:
            return await note_once(framework, request, session)

        async with client(framework.serve(every_driver, endpoint)) as http:
            first = await http.post("/", params={"note": "a"}, headers=KEY)
            second = await http.post("/", params={"note": "a"}, headers=KEY)

        assert first.json() == second.json()
        assert await stored(every_driver) == [first.json()["text"]]

    async def test_all_at_once(self, framework: Framework, every_driver: Database) -> None:
        """Of six requests that come together one does the work, and all get its answer."""
        here = asyncio.Barrier(6)

        async def endpoint(request: Any, session: Session) -> Any:
            await here.wait()
            return await note_once(framework, request, session)

        async with client(framework.serve(every_driver, endpoint)) as http:
            calls = [http.post("/", params={"note": "a"}, headers=KEY) for _ in range(6)]
            responses = await asyncio.gather(*calls)

        assert [response.status_code for response in responses] == [201] * 6
        assert {response.json()["text"] for response in responses} == {*await stored(every_driver)}
        assert len(await stored(every_driver)) == 1

    async def test_a_key_is_for_one_request(self, framework: Framework, db: Database) -> None:
        """Another request under the same key is refused: its answer would be that of something else."""

        async def endpoint(request: Any, session: Session) -> Any:
            return await note_once(framework, request, session)

        async with client(framework.serve(db, endpoint)) as http:
            await http.post("/", params={"note": "a"}, headers=KEY)
            response = await http.post("/", params={"note": "b"}, headers=KEY)

        assert response.status_code == 422
        assert len(await stored(db)) == 1

    async def test_a_failure_leaves_the_key_free(self, framework: Framework, db: Database) -> None:
        """What was rolled back took the key along, so that the client may try again with it."""
        failures = [True, False]

        async def endpoint(request: Any, session: Session) -> Any:
            body = await note_once(framework, request, session)
            if failures.pop(0):
                raise framework.http_error(status_code=503)  # type: ignore[call-arg]
            return body

        async with client(framework.serve(db, endpoint)) as http:
            first = await http.post("/", params={"note": "a"}, headers=KEY)
            second = await http.post("/", params={"note": "a"}, headers=KEY)

        assert (first.status_code, second.status_code) == (503, 201)
        assert await stored(db) == [second.json()["text"]]
