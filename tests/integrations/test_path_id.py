"""A public id in a path: read, described, and not found where it is none."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from fastapi import FastAPI
from pydantic import BaseModel
from sqlalchemy.orm import Mapped, mapped_column

import sqlkeel
from sqlkeel import Database, DualIDMixin, Repository
from sqlkeel.integrations.fastapi import PathID, SessionDep, install
from sqlkeel.models import PublicID
from tests.integrations.wire import client


class Base(sqlkeel.Base):
    """The tables of these tests."""


class User(DualIDMixin, Base):
    """Somebody."""

    __tablename__ = "user"
    __public_prefix__ = "usr"
    name: Mapped[str] = mapped_column(default="")


class Invitation(BaseModel):
    """A body that names a row."""

    guest: PublicID[User]


pytestmark = pytest.mark.tables(Base.metadata)

UNKNOWN = "usr_01h455vb4pex5vsknk084sn02q"
MALFORMED = ["usr_x", "org_01h455vb4pex5vsknk084sn02q", "1", str(uuid.uuid4()), UNKNOWN.upper()]


def service(db: Database) -> FastAPI:
    """Return a service with an id in the path, in the query and in the body."""
    app = FastAPI()
    install(app, db)

    @app.get("/users/{user_id}")
    async def read_user(user_id: PathID[User], session: SessionDep) -> dict[str, str]:
        user = await Repository(session, User).get_one_by_public_id(user_id)
        return {"id": str(user.public_ref), "name": user.name}

    @app.post("/invitations")
    async def invite(body: Invitation, host: PublicID[User] | None = None) -> list[str]:
        return [str(body.guest), str(host)]

    return app


class TestPathID:
    async def test_it_finds_the_row(self, db: Database) -> None:
        """The text in the path leads to the row."""
        async with db.transaction() as session:
            session.add(user := User(name="Ann"))

        async with client(service(db)) as http:
            response = await http.get(f"/users/{user.public_ref}")

        assert (response.status_code, response.json()) == (200, {"id": str(user.public_ref), "name": "Ann"})

    async def test_malformed_is_like_unknown(self, sqlite: Database) -> None:
        """The same 404, word for word: nobody learns what an id looks like."""
        async with client(service(sqlite)) as http:
            answers = [await http.get(f"/users/{text}") for text in (UNKNOWN, *MALFORMED)]

        assert {(answer.status_code, answer.text) for answer in answers} == {(404, answers[0].text)}

    async def test_the_openapi_document_shows_a_text(self, sqlite: Database) -> None:
        """With the pattern of the prefix."""
        [parameter] = service(sqlite).openapi()["paths"]["/users/{user_id}"]["get"]["parameters"]

        assert parameter["required"]
        assert parameter["schema"]["type"] == "string"
        assert parameter["schema"]["pattern"] == "^usr_[0-7][0-9a-hjkmnp-tv-z]{25}$"


class TestPublicID:
    async def test_a_body_and_a_query_are_read(self, sqlite: Database) -> None:
        """Outside of a path the type itself does."""
        async with client(service(sqlite)) as http:
            response = await http.post("/invitations", params={"host": UNKNOWN}, json={"guest": UNKNOWN})

        assert response.json() == [UNKNOWN, UNKNOWN]

    @pytest.mark.parametrize(
        "request_", [{"json": {"guest": "usr_x"}}, {"params": {"host": "x"}}], ids=["body", "query"]
    )
    async def test_malformed_there_is_refused(self, sqlite: Database, request_: dict[str, Any]) -> None:
        """A field of a form is wrong, not missing: 422 says which."""
        async with client(service(sqlite)) as http:
            response = await http.post("/invitations", **{"json": {"guest": UNKNOWN}, **request_})

        assert response.status_code == 422
        assert response.json()["detail"][0]["type"] == "public_id"
