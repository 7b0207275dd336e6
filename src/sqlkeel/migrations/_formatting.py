"""Lay out a generated revision as a formatter would, with docstrings that list its changes."""

from __future__ import annotations

import ast
import io
import re
import textwrap
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final

__all__ = ["formatted"]

_WIDTH: Final = 88
_STEP: Final = 4
_BODY: Final = re.compile(r"^(def (?:up|down)grade\w*\(.*\) -> None:\n)((?:(?: +.*)?\n)+)", re.MULTILINE)
_GENERATED: Final = "# ### "
_HEAD: Final = re.compile(r"(?<=\n)((?:import|from) .*\n(?:\n*(?:import|from) .*\n)*)\n*(?=revision)")
_DOCSTRING: Final = re.compile(r'\A""".*?"""', re.DOTALL)
_NAMED: Final = re.compile(r"^(?:down_)?revision = '\w+'$", re.MULTILINE)
_COLUMN_OF: Final = {"add_column", "alter_column", "drop_column"}


def formatted(source: str) -> str:
    """Return the revision with double quotes, short lines and docstrings; code and comments stay the same.

    A function that cannot be laid out without loss stays as it is, and so does what the project's template adds.
    """
    source = _DOCSTRING.sub(lambda found: re.sub(r" +$", "", found[0], flags=re.MULTILINE), source)
    source = _HEAD.sub(lambda found: _imports(found[1]) + "\n", source)
    source = _NAMED.sub(lambda found: found[0].replace("'", '"'), source)
    return _BODY.sub(lambda found: found[1] + _body(found[2]), source).rstrip("\n") + "\n"


def _imports(lines: str) -> str:
    """Return each module once: first plain imports, then from-imports."""
    whole, names = set(), defaultdict(set)
    for line in filter(None, lines.split("\n")):
        source, _, name = line.partition(" import ")
        if name:
            names[source].update(name.split(", "))
        else:
            whole.add(line)
    parts = [f"{source} import {', '.join(sorted(found))}" for source, found in sorted(names.items())]
    return "".join(f"{line}\n" for line in (*sorted(whole), *parts))


def _body(written: str) -> str:
    lines = [line[_STEP:] for line in written.rstrip("\n").split("\n")]
    kept = "\n".join(line for line in lines if not line.strip().startswith(_GENERATED)) + "\n"
    after = written[len(written.rstrip("\n")) + 1 :]
    tree = ast.parse(kept)
    if all(isinstance(one, ast.Pass) for one in tree.body):
        return f"    pass\n{after}"
    made = "".join(f"{line}\n" for line in _Layout(kept).statements(tree.body, _STEP))
    bare = textwrap.dedent(made)
    if ast.dump(ast.parse(bare)) != ast.dump(tree) or _comments(bare) != _comments(kept):
        return written
    return f"{_described(tree)}{made}{after}"


def _comments(source: str) -> list[str]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return [token.string for token in tokens if token.type == tokenize.COMMENT]


class _Layout:
    """The statements of a function, each with the comments above it."""

    def __init__(self, source: str) -> None:
        tokens = tokenize.generate_tokens(io.StringIO(source).readline)
        self._comments = {token.start[0]: token.string for token in tokens if token.type == tokenize.COMMENT}
        self._lines = source.split("\n")

    def statements(self, body: list[Any], indent: int) -> Iterator[str]:
        for number, one in enumerate(body):
            above = sorted(line for line in self._comments if line < one.lineno)
            first = above[0] if above else one.lineno
            if number and not self._lines[first - 2].strip():
                yield ""
            yield from (" " * indent + self._comments.pop(line) for line in above)
            yield from self._statement(one, indent)

    def _statement(self, node: Any, indent: int) -> Iterator[str]:
        start = " " * indent
        if isinstance(node, (ast.With, ast.If)) and not getattr(node, "orelse", None):
            fields: Any = {**dict(ast.iter_fields(node)), "body": [ast.Pass()]}
            head = ast.copy_location(type(node)(**fields), node)
            yield start + _quoted(ast.unparse(ast.fix_missing_locations(head)).partition("\n")[0])
            yield from self.statements(node.body, indent + _STEP)
        elif isinstance(node, ast.Expr):
            yield from _laid(node.value, indent, "", "")
        elif isinstance(node, ast.Raise) and node.exc is not None and node.cause is None:
            yield from _laid(node.exc, indent, "raise ", "")
        else:
            yield from (start + line for line in _quoted(ast.unparse(node)).split("\n"))


def _laid(node: ast.expr, indent: int, before: str, after: str) -> list[str]:
    """Return an expression on one line, or split at its outermost parentheses."""
    start, whole = " " * indent, before + _quoted(ast.unparse(node)) + after
    opened = _opened(node)
    if len(start + whole) <= _WIDTH or opened is None:
        return [start + whole]
    head, parts, tail = opened
    inside = ", ".join(prefix + _quoted(ast.unparse(part)) for prefix, part in parts)
    if len(start) + _STEP + len(inside) <= _WIDTH:
        lines = [" " * (indent + _STEP) + inside]
    else:
        lines = [line for prefix, part in parts for line in _laid(part, indent + _STEP, prefix, ",")]
    return [start + before + head, *lines, start + tail + after]


def _opened(node: ast.expr) -> tuple[str, list[tuple[str, ast.expr]], str] | None:
    """Return the text before the parentheses, their items and the text after; ``None`` if there are no items."""
    if isinstance(node, ast.Call) and (node.args or node.keywords):
        named = [(f"{one.arg}=" if one.arg else "**", one.value) for one in node.keywords]
        return _quoted(ast.unparse(node.func)) + "(", [*(("", one) for one in node.args), *named], ")"
    if isinstance(node, ast.List) and node.elts:
        return "[", [("", one) for one in node.elts], "]"
    return None


def _quoted(code: str) -> str:
    """Return code with strings in double quotes, except strings that contain a double quote."""
    lines = code.splitlines(keepends=True)
    for token in reversed(list(tokenize.generate_tokens(io.StringIO(code).readline))):
        if token.type == tokenize.STRING and token.string.startswith("'") and '"' not in token.string:
            row, column = token.start[0] - 1, token.start[1]
            text = token.string[1:-1].replace("\\'", "'")
            lines[row] = f'{lines[row][:column]}"{text}"{lines[row][token.end[1] :]}'
    return "".join(lines)


def _described(tree: ast.Module) -> str:
    """Return the docstring of a function, which lists each operation in words."""
    found = [" ".join(words) for words in _changes(tree) if words]
    steps = list(dict.fromkeys(found)) or ["apply the operations below"]
    line = "; ".join(steps)
    text = f'    """{line[0].upper()}{line[1:]}."""\n'
    if len(text) <= _WIDTH or len(steps) == 1:
        return text
    listed = "".join(f"    - {one}\n" for one in steps)
    return f'    """Make {len(steps)} changes.\n\n{listed}    """\n'


def _changes(tree: ast.Module) -> Iterator[list[str]]:
    batches = [node for node in ast.walk(tree) if isinstance(node, ast.With)]
    tables = {id(call): _names(one.items[0].context_expr)[:1] for one in batches for call in ast.walk(one)}
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    for call in sorted(calls, key=lambda one: one.lineno):
        verb, called = call.func.attr, getattr(call.func.value, "id", "")  # type: ignore[attr-defined]
        names = _names(call)
        if called not in {"op", "batch_op"} or verb in {"batch_alter_table", "f"} or not names:
            continue
        if called == "batch_op" and verb in _COLUMN_OF:
            names = [*tables.get(id(call), []), *names]
        what = ".".join(names[:2]) if verb in _COLUMN_OF else names[0]
        yield ["execute SQL"] if verb == "execute" else [*verb.split("_"), what]


def _names(call: Any) -> list[str]:
    """Return the strings among the arguments, including those in ``op.f()`` and in columns."""
    found = []
    for one in call.args:
        if isinstance(one, ast.Constant) and isinstance(one.value, str):
            found.append(_safe(one.value))
        elif isinstance(one, ast.Call) and getattr(one.func, "attr", "") in {"f", "Column"}:
            found += _names(one)[:1]
    return found


def _safe(name: str) -> str:
    return name.replace("\\", "/").replace('"', "'").replace("\n", " ")
