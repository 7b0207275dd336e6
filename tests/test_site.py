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
DATABASES = ["mariadb", "postgresql", "sqlite"]
EXAMPLES = {
    "<name>": ["timestamps"],
    "<rule>": sorted(one.stem for one in (PACKAGE / "lint/rules").glob("[a-z]*.py")),
    "<framework>": ["fastapi", "litestar", "starlette"],
    "<database>": ["mariadb", "postgresql"],
    "<suite>": ["async", "orm"],
}
"""What stands for a placeholder: a recipe is right where those who are there have followed it."""

CODE = "\n".join(
    one.read_text() for folder in (PACKAGE, ROOT / "tests", ROOT / "suites") for one in folder.rglob("*.py")
)

TREE = re.compile(r"^```\{toctree\}\n(?P<body>.*?)^```$", re.DOTALL | re.MULTILINE)
# What `make` builds is not there before.
NAMED = sorted(set(re.findall(r"`(?!build/)([\w.<>/-]+(?:/|\.(?:py|toml|md))|[\w.<>-]+/[\w.<>/-]+)`", CONTRIBUTING)))
MODULES = sorted(set(re.findall(r"\b(?:\w+/)+\w+\.py\b", (DOCS / "architecture.md").read_text())))
# Classes, constants and settings of ours: what other projects name in CONTRIBUTING is written in small letters.
IDENTIFIERS = sorted(set(re.findall(r"`([A-Z]\w+(?:\.\w+)*)`", CONTRIBUTING)))
GRID = re.findall(r"^\| `(\w+/_databases)` \| (.+) \|$", CONTRIBUTING, re.MULTILINE)
TARGETS = sorted(set(re.findall(r"`make (\w+)", CONTRIBUTING)))


def pages_below(page: Path) -> Iterator[Path]:
    """Yield the pages that the tree of contents of *page* leads to, and those below them."""
    yield page
    for tree in TREE.finditer(page.read_text()):
        entries = [line for line in tree["body"].splitlines() if line and not line.startswith(":")]
        for entry in entries:
            yield from pages_below(page.parent / f"{entry}.md")


def followed(name: str) -> list[str]:
    """Return the files that a recipe means by *name*, one for each example of what is there."""
    for placeholder, examples in EXAMPLES.items():
        if placeholder in name:
            return [name.replace(placeholder, example) for example in examples]
    return [name]


def places_of(name: str) -> list[Path]:
    """Return where the file or folder may be that CONTRIBUTING means: in the repository, the package, or anywhere."""
    if "/" not in name:
        return [*ROOT.glob(name), *PACKAGE.rglob(name), *(ROOT / "tests").rglob(name)]
    inside = re.sub(r"^src/sqlkeel/?", "", name)  # the wheel is tested without src
    return [place for place in (ROOT / name, PACKAGE / inside) if place.exists()]


class TestPages:
    def test_each_is_in_the_contents(self) -> None:
        """The trees of contents lead from the index to every page, once."""
        assert sorted(pages_below(DOCS / "index.md")) == sorted(DOCS.rglob("*.md"))

    def test_each_package_has_its_reference(self) -> None:
        """What a package promises is on a page of the reference, which is made from its docstrings."""
        pages = {room: DOCS / "api" / f"{room}.md" for room in ROOMS}
        texts = {room: page.read_text() if page.exists() else "" for room, page in pages.items()}

        assert {room for room, text in texts.items() if f".. automodule:: sqlkeel.{room}\n" not in text} == set()

    def test_the_reference_leads_to_the_front_door(self) -> None:
        """Each everyday name stands beside the package that has its docstring."""
        named = set(re.findall(r"`(\w+)`", (DOCS / "api" / "index.md").read_text()))

        assert {*sqlkeel.__all__} - {"errors"} - named == set()


class TestArchitecture:
    def test_every_module_that_it_names_is_there(self) -> None:
        """What the page says to be in a module is in one of that name."""
        assert {module for module in MODULES if not (PACKAGE / module).exists()} == set()

    def test_it_names_some(self) -> None:
        """Nothing could be missing from an empty list."""
        assert len(MODULES) > 10


class TestContributing:
    def test_what_it_names_is_there(self) -> None:
        """A file or folder of a recipe exists, for each rule, framework and database that is there."""
        assert {one for name in NAMED for one in followed(name) if not places_of(one)} == set()

    def test_a_name_of_the_code_is_one(self) -> None:
        """A class, a constant or a setting of a recipe stands in the source or the tests."""
        wrong = {name for name in IDENTIFIERS if not all(re.search(rf"\b{part}\b", CODE) for part in name.split("."))}

        assert wrong == set()

    @pytest.mark.parametrize(("folder", "row"), GRID)
    def test_each_database_has_its_class(self, folder: str, row: str) -> None:
        """The table of what differs names the class in each module of the folder."""
        named = re.findall(r"`(\w+)`", row)
        files = [(PACKAGE / folder / f"{database}.py").read_text() for database in DATABASES]

        assert [f"class {name}(" in text for name, text in zip(named, files, strict=True)] == [True] * 3

    def test_the_table_has_each_folder(self) -> None:
        """A feature that differs between databases stands in it."""
        assert sorted(folder for folder, _ in GRID) == sorted(
            str(one.relative_to(PACKAGE)) for one in PACKAGE.rglob("_databases") if one.is_dir()
        )

    def test_it_names_some(self) -> None:
        """Nothing could be missing from an empty list."""
        assert len(NAMED) > 25

    def test_what_it_has_made_can_be_made(self) -> None:
        """A command of ``make`` has its rule."""
        rules = set(re.findall(r"^(\w+): ", (ROOT / "Makefile").read_text(), re.MULTILINE))

        assert set(TARGETS) - rules == set()

    def test_the_map_has_each_package(self) -> None:
        """The first column of the map names every package and module whose name is not private."""
        below = CONTRIBUTING.partition("## The map\n")[2].partition("\n## ")[0]
        rows = re.findall(r"^\| (`.*?) \|", below, re.MULTILINE)

        assert sorted(re.findall(r"\w+", " ".join(rows))) == sorted(PUBLIC)
