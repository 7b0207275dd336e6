"""What the house promises of itself: names, sizes, documentation, and a test for everything."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import inspect
import pickle
import re
import subprocess
import sys
import tomllib
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pytest

import sqlkeel
from sqlkeel import errors

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests"
DOCS = ROOT / "docs"
PACKAGE = Path(inspect.getfile(sqlkeel)).parent

FRONT_DOOR = [
    "Base",
    "Database",
    "DualIDMixin",
    "IntKeyMixin",
    "Money",
    "Page",
    "Repository",
    "Session",
    "SoftDeleteMixin",
    "SyncSession",
    "TimestampMixin",
    "UTCDateTime",
    "UUIDKeyMixin",
    "VersionMixin",
    "association",
    "child",
    "children",
    "errors",
    "include_deleted",
    "live_parent",
    "parent",
    "queries",
    "translate_errors",
    "unique_live",
]
STAYS_OUTSIDE = {"alembic", "fastapi", "litestar", "pytest", "starlette", "typer"}
COMES_LATER = (
    "sqlkeel.bulk._",
    "sqlkeel.cli",
    "sqlkeel.engines._databases.",
    "sqlkeel.integrations",
    "sqlkeel.lint",
    "sqlkeel.migrations",
    "sqlkeel.soft_delete._",
    "sqlkeel.testing",
    "sqlkeel.timestamps",
)
MOST_MODULES = 75
MADE_FOR_A_TOOL = ["__main__", "cli", "demo", "integrations", "lint", "migrations", "testing"]
ROOMS = sorted(
    module.stem
    for module in PACKAGE.iterdir()
    if module.name != "__init__.py" and (module.suffix == ".py" or (module / "__init__.py").exists())
)
PATTERNS = sorted((DOCS / "patterns").glob("*.md"))
LONGEST_MODULE = 500

# Alembic writes and runs what is in a migrations directory; a __main__ has nothing to export.
MODULES = sorted(
    path.relative_to(PACKAGE)
    for path in PACKAGE.rglob("*.py")
    if path.name != "__main__.py" and not path.is_relative_to(PACKAGE / "demo" / "migrations")
)
TESTED = [module for module in MODULES if module.name != "__init__.py"]
ERRORS = [getattr(errors, name) for name in errors.__all__]

SAMPLES: dict[str, Any] = {
    "columns": ("email",),
    "exactly": True,
    "hint": "Do this instead.",
    "orig": ValueError("from the driver"),
    "statement": "SELECT 1",
    "statements": ("SELECT 1", "SELECT 2"),
    "leaks": ("a lock",),
    "limit": 1,
    "expected": 3,
    "current": None,
    "key": 7,
    "current_row": None,
    "connection_invalidated": True,
}


def parse(module: Path) -> ast.Module:
    """Return the syntax tree of a module of the package."""
    return ast.parse((PACKAGE / module).read_text())


def exported(module: Path) -> list[str] | None:
    """Return the ``__all__`` of a module, read without importing it; nothing where there is none."""
    assignments = [node for node in parse(module).body if isinstance(node, ast.Assign | ast.AnnAssign)]
    found = [node.value for node in assignments if node.value and ast.unparse(node).startswith("__all__")]
    names: list[str] | None = ast.literal_eval(found[0]) if found else None
    return names


def is_sorted(module: Path) -> bool:
    """Tell whether a module has its names in an ``__all__``, in order."""
    names = exported(module)
    return names is not None and names == sorted(names, key=shelf)


def shelf(name: str) -> tuple[int, str]:
    """Sort as ruff does: constants, classes, functions."""
    return (0 if name.isupper() else 1 if name[:1].isupper() else 2), name


def places_of_test(module: Path) -> list[Path]:
    """Return where the test of a module may be: at its mirror, or in one file for its whole room.

    ``bulk/_rows.py`` is tested by ``tests/bulk/test_rows.py`` or by ``tests/test_bulk.py``.
    """
    promised = Path(*(part.lstrip("_") for part in module.parts))
    rooms = [promised.with_suffix(""), *promised.parents][: len(module.parts)]
    return [TESTS / room.with_name(f"test_{room.name}.py") for room in rooms]


def contracts() -> list[dict[str, Any]]:
    """Read the contracts of the imports: the layers first, then the door."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    read: list[dict[str, Any]] = settings["tool"]["importlinter"]["contracts"]
    return read


def sample(kind: type[errors.KeelError]) -> errors.KeelError:
    """Make an error with every argument that its constructor knows."""
    names = [name for name in inspect.signature(kind).parameters if name not in {"args", "kwargs"}]
    return kind(**{name: SAMPLES.get(name, f"the {name}") for name in names})


def faults_of(kind: type[errors.KeelError]) -> list[str]:
    """Return what another process does not get of an error, or why it gets none."""
    try:
        error = sample(kind)
        copy = pickle.loads(pickle.dumps(error))
    except Exception as problem:  # noqa: BLE001 - whatever it raises, the list goes on
        return [repr(problem)]
    parts = {"class": type, "message": str, "attributes": lambda one: repr(vars(one))}
    return [name for name, part in parts.items() if part(copy) != part(error)]


def is_documented(kind: type[errors.KeelError], page: str) -> bool:
    """Tell whether the message of an error names its code, and whether the page has the anchor of that."""
    anchor = re.search(rf"^(\({kind.code}\)=|#+ `?{kind.code}`?)$", page, re.MULTILINE)
    return bool(anchor) and f"\n  docs: sqlkeel explain {kind.code}" in str(sample(kind))


def length_of(file: Path) -> int:
    """Count the lines of a file."""
    return len(file.read_text(encoding="utf-8").splitlines())


class TestFrontDoor:
    def test_it_exports_the_everyday_names(self) -> None:
        """The front door has exactly these names, in order."""
        assert list(sqlkeel.__all__) == sorted(FRONT_DOOR, key=shelf)

    def test_every_name_is_documented(self) -> None:
        """A name without a docstring of its own is not ready for the front door."""
        assert {name for name in FRONT_DOOR if not getattr(sqlkeel, name).__doc__} == set()

    def test_it_loads_no_framework(self) -> None:
        """Importing sqlkeel imports neither a web framework nor a tool."""
        program = "from sqlkeel import *; import sys; print(*{name.partition('.')[0] for name in sys.modules})"

        loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

        assert STAYS_OUTSIDE.isdisjoint(loaded.stdout.split())

    def test_it_loads_what_everybody_needs(self) -> None:
        """A program waits for what it uses; the modules of a verb, a mixin, a driver or a tool come with these."""
        program = "from sqlkeel import Database, Repository; import sys; print(*sys.modules)"

        loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        ours = [name for name in loaded.stdout.split() if name.startswith("sqlkeel.")]

        assert [name for name in ours if name.startswith(COMES_LATER)] == []
        assert len(ours) <= MOST_MODULES

    def test_no_driver_is_loaded_before_a_database_needs_it(self) -> None:
        """Of other packages, the everyday names load what SQLAlchemy loads anyway, and nothing more."""
        program = "{}; import sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
        programs = "import sqlalchemy.ext.asyncio, sqlalchemy.orm", "from sqlkeel import Database, Repository"

        theirs, ours = (
            set(subprocess.check_output([sys.executable, "-c", program.format(code)], text=True).split())
            for code in programs
        )

        assert ours - theirs - sys.stdlib_module_names == {"sqlkeel"}
        assert "sqlite3" not in ours

    def test_it_loads_without_a_warning(self) -> None:
        """A program that makes warnings errors can import sqlkeel."""
        loaded = subprocess.run(
            [sys.executable, "-W", "error", "-c", "from sqlkeel import *"], capture_output=True, check=False
        )

        assert loaded.stderr == b""


class TestModules:
    def test_there_are_many(self) -> None:
        """Nothing could be wrong with an empty list."""
        assert len(TESTED) > 200

    def test_each_opens_with_one_sentence(self) -> None:
        """The first line of a module says what it is for."""
        first_lines = {str(module): (ast.get_docstring(parse(module)) or "").partition("\n")[0] for module in MODULES}

        assert {module: line for module, line in first_lines.items() if not line.endswith(".")} == {}

    def test_each_says_what_it_exports(self) -> None:
        """Every module has a sorted ``__all__``."""
        assert {str(module) for module in MODULES if not is_sorted(module)} == set()

    def test_each_fits_in_the_head(self) -> None:
        """A module that outgrows its bound is split; the tree of errors is one list and may be long."""
        lengths = {str(module): length_of(PACKAGE / module) for module in MODULES if module != Path("errors.py")}

        assert {module: length for module, length in lengths.items() if length > LONGEST_MODULE} == {}

    def test_each_has_a_test(self) -> None:
        """Every module has its test where one would look for it."""
        places = {str(module): places_of_test(module) for module in TESTED}
        untested = {module: found for module, found in places.items() if not any(place.exists() for place in found)}

        assert {module: [str(place.relative_to(ROOT)) for place in found] for module, found in untested.items()} == {}


class TestTests:
    def test_each_file_fits_in_the_head(self) -> None:
        """A file that outgrows its bound is split by subject, as tests/README.md says."""
        lengths = {str(file.relative_to(ROOT)): length_of(file) for file in sorted(TESTS.rglob("*.py"))}

        assert {file: length for file, length in lengths.items() if length > LONGEST_MODULE} == {}


def imported(module: Path) -> set[str]:
    """Return the modules that a module imports, also inside of functions; not what only a type checker sees."""
    tree = parse(module)
    unseen = {
        id(one) for node in ast.walk(tree) if isinstance(node, ast.If) and _is_for_types(node) for one in ast.walk(node)
    }
    package = module.parent
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level and id(node) not in unseen:
            base = [*package.parts][: len(package.parts) - node.level + 1]
            home = [*base, *(node.module or "").split(".")] if node.module else base
            found |= {_name_of(Path(*home, alias.name)) or _name_of(Path(*home)) for alias in node.names}
    return found - {""}


def _is_for_types(node: ast.If) -> bool:
    return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _name_of(path: Path) -> str:
    """Return a module by its place in the package; nothing where there is none."""
    places = [path.with_suffix(".py"), path / "__init__.py"]
    return next((place.as_posix() for place in places if (PACKAGE / place).exists()), "")


class TestContracts:
    """The contracts of the imports are checked after the tests; that they name every module is known here already."""

    def test_no_imports_go_round(self) -> None:
        """Not even by an import inside of a function: what is below can be read without what is above."""
        graph = {module.as_posix(): imported(module) - {module.as_posix()} for module in MODULES}

        assert list(TopologicalSorter(graph).static_order())

    def test_the_layers_hold_every_module(self) -> None:
        """Each module and package has its layer."""
        layers, *_ = contracts()
        named = [name.strip() for layer in layers["layers"] for name in layer.split("|")]

        assert sorted(named) == ROOMS

    def test_the_door_is_kept_by_every_other_module(self) -> None:
        """Each module keeps frameworks and tools out, but those that are made for one."""
        *_, door = contracts()
        kept = [name.removeprefix("sqlkeel.") for name in door["source_modules"]]

        assert sorted([*kept, *MADE_FOR_A_TOOL]) == ROOMS
        assert set(door["forbidden_modules"]) == STAYS_OUTSIDE


class TestErrors:
    def test_each_travels(self) -> None:
        """An error reaches another process with its message and all of its attributes."""
        faults = {kind.__name__: faults_of(kind) for kind in ERRORS}

        assert {name: found for name, found in faults.items() if found} == {}

    def test_each_has_a_code_of_its_own(self) -> None:
        """A code leads to one error only."""
        codes = Counter(kind.code for kind in ERRORS)

        assert {(kind.__name__, kind.code) for kind in ERRORS if codes[kind.code] > 1} == set()

    def test_each_is_documented(self) -> None:
        """The message names the code, and docs/errors.md has its anchor."""
        page = (DOCS / "errors.md").read_text()

        assert {kind.__name__ for kind in ERRORS if not is_documented(kind, page)} == set()

    def test_all_are_exported(self) -> None:
        """No error class is missing from ``__all__``."""
        classes = {name for name, value in vars(errors).items() if inspect.isclass(value)}
        own = {name for name in classes if vars(errors)[name].__module__ == errors.__name__}

        assert own == set(errors.__all__)


class TestDocumentation:
    def test_every_page_has_a_title(self) -> None:
        """Each pattern that sqlkeel builds in has a page, and that begins with what it is about."""
        assert len(PATTERNS) >= 15
        assert [page.name for page in PATTERNS if not page.read_text().startswith("# ")] == []

    def test_the_changelog_knows_the_version(self) -> None:
        """What is released is described."""
        version = re.escape(importlib.metadata.version("sqlkeel"))

        assert re.search(rf"^## \[?{version}\b", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


_ADDRESS = re.compile(r"0x[0-9a-f]{6,}")
"""What the repr() of an object ends with, where its class has none of its own."""


class TestNames:
    def test_they_are_the_same_in_every_process(self, request: pytest.FixtureRequest) -> None:
        """Of a set the order of its members varies, of an object its address; workers with other names do not start."""
        assert [item.nodeid for item in request.session.items if _varies(item)] == []


def _varies(item: pytest.Item) -> bool:
    call = getattr(item, "callspec", None)
    values = call.params.values() if call is not None else ()
    sets = (one for one in values if isinstance(one, (set, frozenset)) and len(one) > 1)
    return bool(_ADDRESS.search(item.nodeid)) or any(repr(one) in item.nodeid for one in sets)
