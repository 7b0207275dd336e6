"""API responses do not contain an internal ``id``.

A model with ``DualIDMixin`` has an integer for joins and a ``public_id`` for clients. A response that contains the
integer, or a foreign key to it, reveals how many rows there are, invites clients to guess the next one, and makes them
depend on a number that may change.

The rule reads the response types of the routes of a FastAPI or Litestar application (``app = "app.main:app"`` in
pyproject.toml), including nested types. It guesses which mapped class a response was built from: a class that has all
of the response's fields and, if there are several, the one whose name the response's name begins with. If the names do
not decide, the rule reports a field only if all candidates would leak. It does not see responses that rename their
fields or are built as a dict.

Instead: ``public_id: UUID`` in the response, or ``id: UUID = Field(validation_alias="public_id")``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from sqlalchemy import Column
from sqlalchemy.orm import Mapper

from ...models._keys import DualIDMixin
from .._finding import Problem, Schema
from .._locating import source_of_class
from .._responses import Answer, answers_of, fields_of

__all__ = ["BAD", "GOOD", "check_app"]

BAD = """
from dataclasses import dataclass
from fastapi import FastAPI

class User(DualIDMixin, Base):
    __tablename__ = "user"
    name: Mapped[str]

@dataclass
class UserOut:
    id: int
    name: str

app = FastAPI()

@app.get("/users")
async def users() -> list[UserOut]: ...
"""

GOOD = """
from dataclasses import dataclass
from fastapi import FastAPI

class User(DualIDMixin, Base):
    __tablename__ = "user"
    name: Mapped[str]

@dataclass
class UserOut:
    public_id: UUID
    name: str

app = FastAPI()

@app.get("/users")
async def users() -> list[UserOut]: ...
"""


def check_app(app: Any, schema: Schema) -> Iterator[Problem]:
    """Yield each response field that holds the internal key of a row, once."""
    mappers = [mapper for mappers in schema.mappers.values() for mapper in mappers]
    seen = set()
    for answer in answers_of(app):
        for name, owner in _leaks(answer, mappers):
            where = f"{answer.model.__name__}.{name}"
            if where not in seen:
                seen.add(where)
                message = f"{answer.route}() answers with {where}, the internal id of {owner.class_.__name__}."
                source = source_of_class(answer.model, name) or source_of_class(answer.model)
                yield Problem(where, message, "Answer with public_id: UUID instead.", source=source)


def _leaks(answer: Answer, mappers: list[Mapper[Any]]) -> Iterator[tuple[str, Mapper[Any]]]:
    fields = fields_of(answer.model)
    origins = _origins(answer.model, set(fields), mappers)
    for name, annotation in fields.items():
        if name not in answer.hidden and _may_be_int(annotation):
            owners = [_owner(origin, name, mappers) for origin in origins]
            if owners and all(owners):
                yield name, next(one for one in owners if one is not None)


def _origins(model: type[Any], fields: set[str], mappers: list[Mapper[Any]]) -> list[Mapper[Any]]:
    """Return the mapped classes that a response may have been built from."""
    if mapped := [mapper for mapper in mappers if mapper.class_ is model]:
        return mapped
    fitting = [mapper for mapper in mappers if all(hasattr(mapper.class_, name) for name in fields)]
    named = [mapper for mapper in fitting if model.__name__.lower().startswith(mapper.class_.__name__.lower())]
    longest = max((len(mapper.class_.__name__) for mapper in named), default=0)
    if named:
        return [mapper for mapper in named if len(mapper.class_.__name__) == longest]
    return fitting if len(fields) > 1 else []


def _owner(origin: Mapper[Any], name: str, mappers: list[Mapper[Any]]) -> Mapper[Any] | None:
    """Return the class whose internal key the attribute holds."""
    attribute = origin.column_attrs.get(name)
    if attribute is None or not isinstance(attribute.columns[0], Column):
        return None
    column = attribute.columns[0]
    keys = {column, *(key.column for key in column.foreign_keys)}
    return next((one for one in mappers if issubclass(one.class_, DualIDMixin) and one.columns.get("id") in keys), None)


def _may_be_int(annotation: Any) -> bool:
    return annotation is int or any(_may_be_int(inner) for inner in get_args(annotation))
