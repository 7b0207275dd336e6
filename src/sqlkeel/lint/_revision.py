"""Write code into an empty revision, whatever template created it."""

from __future__ import annotations

import ast
import textwrap
from pathlib import Path

from .._syntax import parse_module
from ..errors import ConfigurationError

__all__ = ["fill_revision"]


def fill_revision(path: Path, *, upgrade: str, downgrade: str) -> None:
    """Write the bodies of ``upgrade()`` and ``downgrade()`` in place of ``pass``.

    Raises:
        ConfigurationError: When the file has no such empty functions. The file is deleted, as it would do nothing.
    """
    source = path.read_text(encoding="utf-8")
    for name, body in (("upgrade", upgrade), ("downgrade", downgrade)):
        line = _line(path, source, name)
        lines = source.splitlines()
        lines[line - 1 : line] = textwrap.indent(body, "    ").splitlines()
        source = "\n".join(lines) + "\n"
    path.write_text(source, encoding="utf-8")


def _line(path: Path, source: str, function: str) -> int:
    """Return the line of the ``pass`` in an empty function."""
    for node in parse_module(source).body:
        if isinstance(node, ast.FunctionDef) and node.name == function and isinstance(node.body[-1], ast.Pass):
            return node.body[-1].lineno
    path.unlink()
    raise ConfigurationError(
        f"{path.name} had no empty {function}() to write into.",
        hint="Write  ${upgrades if upgrades else 'pass'}  into it in script.py.mako, as Alembic's own template does.",
    )
