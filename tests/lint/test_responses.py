"""Tests of sqlkeel.lint._responses: what an application answers with is found, in each framework and kind of class."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypedDict, TypeVar

import msgspec
import pytest
from fastapi import APIRouter, FastAPI
from litestar import Litestar, Router, get
from litestar.dto import DataclassDTO, DTOConfig
from pydantic import BaseModel, Field
from starlette.applications import Starlette
from starlette.routing import Mount

from sqlkeel.lint._responses import answers_of, fields_of, is_app

Item = TypeVar("Item")


@dataclass
class Data:
    id: int
    name: str


@dataclass
class Other:
    id: int


class Struct(msgspec.Struct):
    id: int
    name: str


class Document(TypedDict):
    id: int
    name: str


class Model(BaseModel):
    id: int
    name: str
    secret: str = Field(default="", exclude=True)


class Outer(BaseModel):
    inner: list[Model]
    again: Outer | None = None


class Page(BaseModel, Generic[Item]):
    items: list[Item]


class DataDTO(DataclassDTO[Data]):
    config = DTOConfig(exclude={"id"})


def fastapi(annotation: Any, **options: Any) -> FastAPI:
    """Return an application with one route that answers with this."""
    app = FastAPI()

    @app.get("/", response_model=annotation, **options)
    async def show() -> None: ...

    return app


def found(app: Any) -> list[tuple[str, str]]:
    """Return the names of the classes and routes."""
    return [(one.model.__name__, one.route.rpartition(".")[2]) for one in answers_of(app)]


class TestFields:
    @pytest.mark.parametrize("kind", [Data, Struct, Document, Model])
    def test_every_kind(self, kind: Any) -> None:
        """The fields are those that are written, whatever the class is made with."""
        assert fields_of(kind) == {"id": int, "name": str}

    @pytest.mark.parametrize("kind", [int, str, object, Exception])
    def test_no_fields(self, kind: type[Any]) -> None:
        """Other classes have none."""
        assert fields_of(kind) == {}

    def test_unknown_annotation(self) -> None:
        """A class whose annotations cannot be read has none that are known."""

        @dataclass
        class Odd:
            id: Nowhere  # type: ignore[name-defined]  # noqa: F821

        assert fields_of(Odd) == {}


class TestFastAPI:
    @pytest.mark.parametrize(
        "annotation", [Model, list[Model], Model | None, dict[str, list[Model]], Annotated[Model, 1]]
    )
    def test_annotations(self, annotation: Any) -> None:
        """A class is found in a list, a union, a mapping."""
        assert found(fastapi(annotation)) == [("Model", "show")]

    def test_nested(self) -> None:
        """So is one inside of another, each once, and the parameter of a generic one."""
        assert found(fastapi(Outer)) == [("Outer", "show"), ("Model", "show")]
        assert [name for name, _ in found(fastapi(Page[Model]))] == ["Page[Model]", "Model"]

    def test_annotation_of_the_function(self) -> None:
        """What the function is annotated with is what it answers."""
        app = FastAPI()

        @app.get("/")
        async def show() -> Model:
            raise NotImplementedError

        assert found(app) == [("Model", "show")]

    def test_routers(self) -> None:
        """Routes of an included router and of a mounted application are routes."""
        router, inner, outer = APIRouter(), APIRouter(prefix="/inner"), FastAPI()

        @inner.get("/", response_model=Model)
        async def first() -> None: ...

        @router.get("/", response_model=Data)
        async def second() -> None: ...

        router.include_router(inner)
        outer.include_router(router, prefix="/api")
        outer.mount("/sub", fastapi(Other))

        assert sorted(found(outer)) == [("Data", "second"), ("Model", "first"), ("Other", "show")]
        assert found(Starlette(routes=[Mount("/", outer)])) == found(outer)

    def test_hidden(self) -> None:
        """What a route leaves out is left out of its own class, and not of one inside."""
        (excluded,) = answers_of(fastapi(Model, response_model_exclude={"id"}))
        (included,) = answers_of(fastapi(Model, response_model_include={"name"}))
        outer, inner = answers_of(fastapi(Outer, response_model_exclude={"again"}))

        assert excluded.hidden == {"id"}
        assert included.hidden == {"id"}
        assert outer.hidden == {"again"}
        assert inner.hidden == frozenset()


class TestLitestar:
    def test_handlers(self) -> None:
        """Handlers of an application and its routers are found; what Litestar itself answers has no fields."""

        @get("/")
        async def first() -> list[Struct]:
            raise NotImplementedError

        @get("/")
        async def second() -> Data:
            raise NotImplementedError

        app = Litestar([Router("/inner", route_handlers=[first]), second])

        assert sorted(found(app)) == [("Data", "second"), ("Struct", "first")]

    def test_transfer_object(self) -> None:
        """A handler with a DTO answers with what that leaves, which is not looked at."""

        @get("/", return_dto=DataDTO)
        async def show() -> Data:
            raise NotImplementedError

        assert found(Litestar([show])) == []


class TestImports:
    def test_no_framework_is_loaded(self) -> None:
        """A project without a web framework can lint."""
        program = (
            "import sys, sqlkeel.lint\n"
            "sqlkeel.lint.load_rules()\n"
            "print(*{name.partition('.')[0] for name in sys.modules})"
        )

        loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

        assert {"alembic", "fastapi", "litestar", "msgspec", "pydantic", "starlette"}.isdisjoint(loaded.stdout.split())


class TestIsApp:
    @pytest.mark.parametrize("app", [FastAPI(), Litestar(), Starlette()])
    def test_applications(self, app: Any) -> None:
        """Applications have routes and can be called."""
        assert is_app(app)

    @pytest.mark.parametrize("other", [FastAPI, APIRouter, Model, None, "app", {"routes": []}])
    def test_others(self, other: object) -> None:
        """Their classes are none, and neither is anything else."""
        assert not is_app(other)
