"""Private and undocumented names of other projects: each is in the file for that project."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

from sqlkeel import _sqlalchemy
from tests.test_structure import MODULES, parse

FOREIGN_NAMES = {
    "_sqlalchemy.py": "SQLAlchemy",
    "_sqlalchemy_tables.py": "SQLAlchemy: its tables, columns and types",
    "_frameworks/_fastapi.py": "FastAPI",
    "_frameworks/_litestar.py": "Litestar",
    "_frameworks/_starlette.py": "Starlette",
    "migrations/_alembic.py": "Alembic",
    "engines/_drivers.py": "aiosqlite, asyncmy, asyncpg, psycopg",
    "engines/_tasks.py": "asyncio: what a task looks at in a future",
    "sessions/_blocks.py": "contextlib: the class behind asynccontextmanager",
}
UNDOCUMENTED = {
    "dependant",
    "iter_route_contexts",
    "lifespan_context",
    "middleware_stack",
    "original_router",
    "parsed_fn_signature",
    "resolve_dependencies",
    "resolve_response_headers",
    "resolve_return_dto",
}
"""Names of theirs without an underscore that no manual has."""

THEIR_TEXTS = ("fastapi_inner_astack", "litestar.", "litestar_app", "sqlalchemy.sql.", "starlette.")
"""What a text begins with that names a module of theirs, or a key of a scope."""

INSIDES = {"__class__", "__globals__", "__wrapped__", "f_locals"}
"""By what one looks into an object of theirs, or changes what it is."""

LOOKED_INTO = {
    "engines/_fitting.py": "f_locals: the execution in whose frame SQLAlchemy met a value",
    "models/_row_keys.py": "f_locals: the key that SQLAlchemy could not look up",
    "sessions/_sync_session.py": "__class__: a transaction of SQLAlchemy that somebody holds is ended our way",
}
"""Where that is done outside of these files; the tests of the feature are its canary."""

PROMISED = {"_asdict", "_replace", "_getframe"}
"""Private only by their underscore: the manual of Python describes them."""


def is_private(name: object) -> bool:
    """Tell whether a name has an underscore, and is none of Python's own."""
    return isinstance(name, str) and name.startswith("_") and name.isidentifier() and not name.endswith("_")


def defined_in(tree: ast.AST) -> set[str]:
    """Return the names that a module defines: functions, classes, variables, attributes of ``self``, slots."""
    names = {
        node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    }
    names |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    stored = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store))
    return names | {node.attr for node in stored if isinstance(node.value, ast.Name) and node.value.id == "self"}


def private_names_in(tree: ast.AST) -> Iterator[tuple[str, bool]]:
    """Yield each private name by which a module asks for an attribute, and whether it asks ``self``."""
    for node in ast.walk(tree):
        names: list[object] = []
        match node:
            case ast.Attribute(attr=name):
                names = [name]
            case ast.keyword(arg=name):
                names = [name]
            case ast.Call(func=ast.Name(id="getattr" | "hasattr" | "setattr"), args=[_, ast.Constant(value=name), *_]):
                names = [name]
            case ast.Call(func=ast.Name(id="attrgetter" | "methodcaller"), args=args):
                names = [one.value for one in args if isinstance(one, ast.Constant)]
            case ast.Subscript(value=ast.Call(func=ast.Name(id="vars")), slice=ast.Constant(value=name)):
                names = [name]
            case ast.ImportFrom(level=0, module=str(module), names=imported) if not module.startswith("sqlkeel"):
                names = [part for one in imported for part in (*module.split("."), one.name)]
        own = isinstance(node, ast.Attribute) and ast.unparse(node.value) in {"self", "cls"}
        yield from ((str(name), own) for name in names if is_private(name))


def foreign_names_in(module: Path) -> list[str]:
    """Return the private names by which a module asks for what neither it nor a base of ours has defined."""
    tree = parse(module)
    known = defined_in(tree) | PROMISED
    inherited = known | EVERY_OWN_NAME
    used = {(name, own) for name, own in private_names_in(tree) if name not in (inherited if own else known)}
    return sorted(name for name, _ in used)


def undocumented_names_in(tree: ast.AST) -> Iterator[str]:
    """Yield what a module asks of others that has no underscore, and is not promised either."""
    described = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr="__class__", ctx=ast.Load()):
                pass  # anybody may ask what class something is of
            case ast.Attribute(attr=name) if name in UNDOCUMENTED | INSIDES:
                yield name
            case ast.Constant(value=str(text)) if id(node) not in described:
                yield from [text] * (text in UNDOCUMENTED | INSIDES or text.startswith(THEIR_TEXTS))
            case _:
                pass


def inherited_names_in(module: Path) -> Iterator[str]:
    """Yield the private names of other projects' classes that a module's classes define anew, or ask ``self`` for."""
    loaded = importlib.import_module(".".join(("sqlkeel", *module.with_suffix("").parts)).removesuffix(".__init__"))
    for node in (one for one in ast.walk(parse(module)) if isinstance(one, ast.ClassDef)):
        bases = getattr(vars(loaded).get(node.name), "__mro__", ())
        theirs = {name for base in bases if not base.__module__.startswith("sqlkeel") for name in vars(base)}
        yield from (name for name in theirs & (defined_in(node) | asked_of_self(node)) if is_private(name))


def asked_of_self(tree: ast.AST) -> set[str]:
    """Return the private names by which a class asks ``self`` for an attribute."""
    return {name for name, own in private_names_in(tree) if own}


EVERY_OWN_NAME = {name for module in MODULES for name in defined_in(parse(module))}
"""What a class may ask ``self`` for: a base of ours has it, perhaps in another module."""


class TestForeignNames:
    """A private name of another project stands in the file for that project, where a canary says what breaks."""

    def test_none_is_used(self) -> None:
        """What a module asks of an object by a private name, the module itself has defined."""
        used = {str(module): foreign_names_in(module) for module in MODULES if str(module) not in FOREIGN_NAMES}

        assert {module: names for module, names in used.items() if names} == {}

    def test_none_is_undocumented(self) -> None:
        """Nor does it ask for what no manual has though it has no underscore, as the insides of a frame."""
        allowed = FOREIGN_NAMES.keys() | LOOKED_INTO.keys()
        used = {module.as_posix(): [*undocumented_names_in(parse(module))] for module in MODULES}

        assert {module: names for module, names in used.items() if names and module not in allowed} == {}
        assert [module for module in LOOKED_INTO if not used[module]] == []

    def test_what_is_overridden_is_listed(self) -> None:
        """A method of theirs that a class of ours has under the same private name has its canary, too."""
        theirs = {name for module in MODULES for name in inherited_names_in(module)}

        assert sorted(theirs - set(_sqlalchemy.OVERRIDDEN) - PROMISED) == []
