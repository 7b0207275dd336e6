"""The site: a reader finds each page, and the files that a page names are there."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import sqlkeel

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PACKAGE = Path(inspect.getfile(sqlkeel)).parent

CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
PUBLIC = {one.stem for one in PACKAGE.iterdir() if re.match(r"[a-z]\w*(\.py)?$", one.name)}
ROOMS = sorted(PUBLIC - {"cli", "demo"})
EXAMPLES = {
    "<name>": "timestamps",
    "<rule>": "snake_case",
    "<framework>": "fastapi",
    "<database>": "postgresql",
    "<suite>": "orm",
}
"""What stands for a placeholder: one that is there."""

TREE = re.compile(r"^```\{toctree\}\n(?P<body>.*?)^```$", re.DOTALL | re.MULTILINE)
# What `make` builds is not there before.
NAMED = sorted(set(re.findall(r"`(?!build/)([\w.<>/-]+(?:/|\.(?:py|toml|md))|[\w.<>-]+/[\w.<>/-]+)`", CONTRIBUTING)))
MODULES = sorted(set(re.findall(r"\b(?:\w+/)+\w+\.py\b", (DOCS / "architecture.md").read_text())))
TARGETS = sorted(set(re.findall(r"`make (\w+)", CONTRIBUTING)))


def pages_below(page: Path) -> Iterator[Path]:
    """Yield the pages that the tree of contents of *page* leads to, and those below them."""
    yield page
    for tree in TREE.finditer(page.read_text()):
        entries = [line for line in tree["body"].splitlines() if line and not line.startswith(":")]
        for entry in entries:
            yield from pages_below(page.parent / f"{entry}.md")


def places_of(name: str) -> list[Path]:
    """Return where the file or folder may be that CONTRIBUTING means: in the repository, the package, or anywhere."""
    for placeholder, example in EXAMPLES.items():
        name = name.replace(placeholder, example)
    if "/" not in name:
        return [*ROOT.glob(name), *PACKAGE.rglob(name), *(ROOT / "tests").rglob(name)]
    inside = re.sub(r"^src/sqlkeel/?", "", name)  # the wheel is tested without src
    return [place for place in (ROOT / name, PACKAGE / inside) if place.exists()]


class TestPages:
    def test_each_is_in_the_contents(self) -> None:
        """The trees of contents lead from the index to every page, once."""
        assert sorted(pages_below(DOCS / "index.md")) == sorted(DOCS.rglob("*.md"))

    @pytest.mark.parametrize("room", ROOMS)
    def test_each_package_has_its_reference(self, room: str) -> None:
        """What a package promises is on a page of the reference, which is made from its docstrings."""
        assert f".. automodule:: sqlkeel.{room}\n" in (DOCS / "api" / f"{room}.md").read_text()

    @pytest.mark.parametrize("name", [name for name in sqlkeel.__all__ if name != "errors"])
    def test_the_reference_leads_to_the_front_door(self, name: str) -> None:
        """Each everyday name stands beside the package that has its docstring."""
        assert f"`{name}`" in (DOCS / "api" / "index.md").read_text()


class TestArchitecture:
    @pytest.mark.parametrize("module", MODULES)
    def test_a_module_that_it_names_is_there(self, module: str) -> None:
        """What the page says to be in a module is in one of that name."""
        assert (PACKAGE / module).exists()

    def test_it_names_some(self) -> None:
        """Nothing could be missing from an empty list."""
        assert len(MODULES) > 10


class TestContributing:
    @pytest.mark.parametrize("name", NAMED)
    def test_what_it_names_is_there(self, name: str) -> None:
        """A file or folder of a recipe exists, with an example in the place of ``<name>``."""
        assert places_of(name)

    def test_it_names_some(self) -> None:
        """Nothing could be missing from an empty list."""
        assert len(NAMED) > 25

    @pytest.mark.parametrize("target", TARGETS)
    def test_what_it_has_made_can_be_made(self, target: str) -> None:
        """A command of ``make`` has its rule."""
        assert re.search(rf"^{target}: ", (ROOT / "Makefile").read_text(), re.MULTILINE)

    def test_the_map_has_each_package(self) -> None:
        """The first column of the map names every package and module whose name is not private."""
        below = CONTRIBUTING.partition("## The map\n")[2].partition("\n## ")[0]
        rows = re.findall(r"^\| (`.*?) \|", below, re.MULTILINE)

        assert sorted(re.findall(r"\w+", " ".join(rows))) == sorted(PUBLIC)
