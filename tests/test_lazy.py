"""Tests of sqlkeel._lazy: a package offers its names, and loads the module of each when it is first asked for."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from importlib import import_module
from importlib.util import resolve_name
from pathlib import Path

import pytest

import sqlkeel
from sqlkeel._lazy import door

PACKAGE = Path(inspect.getfile(sqlkeel)).parent
DOORS = sorted(
    path.relative_to(PACKAGE.parent).parent.as_posix().replace("/", ".")
    for path in PACKAGE.rglob("__init__.py")
    if "door(" in path.read_text()
)


def checked_names(package: str) -> dict[str, str]:
    """Return the module that a type checker takes each name from, by the imports that only it sees."""
    tree = ast.parse(Path(inspect.getfile(import_module(package))).read_text())
    found = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level]
    homes = {node: resolve_name("." * node.level + (node.module or ""), package) for node in found}
    return {alias.name: homes[node] for node in found for alias in node.names if alias.name != "door"}


class TestDoor:
    def test_a_name_is_loaded_once(self) -> None:
        """Afterwards the package has it, and nobody is asked."""
        program = (
            "import sys, sqlkeel; before = set(sys.modules); sqlkeel.Money; "
            "print('sqlkeel.types._exact' in before, 'sqlkeel.types._exact' in sys.modules, 'Money' in vars(sqlkeel))"
        )

        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

        assert done.stdout.split() == ["False", "True", "True"]

    def test_another_name_is_an_error(self) -> None:
        """In the words that Python has for a module."""
        load, _ = door("sqlkeel.types", {"_exact": ["Money"]})

        with pytest.raises(AttributeError, match=r"module 'sqlkeel\.types' has no attribute 'Mony'"):
            load("Mony")

    def test_the_names_are_listed(self) -> None:
        """For a prompt that completes them."""
        assert set(sqlkeel.__all__) <= set(dir(sqlkeel))


class TestDoors:
    @pytest.mark.parametrize("package", DOORS)
    def test_a_program_gets_what_a_type_checker_sees(self, package: str) -> None:
        """Each name is written in three places, and they agree."""
        module = import_module(package)
        checked = checked_names(package)

        assert set(module.__all__) == set(checked) - {"__version__"}
        for name, home in checked.items():
            expected = import_module(f"{home}.{name}") if home == package else getattr(import_module(home), name)
            assert getattr(module, name) is expected
