"""The HTML pages of the demo: links to the API and its documentation. They load no files, so they work offline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Any

__all__ = ["api_page", "front_page"]

Operations = Iterable[tuple[str, str, Mapping[str, Any]]]
"""Method, path, and the operation in the OpenAPI document."""

_STYLE = """
body { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem }
body { padding: 0 1rem }
code { font-family: ui-monospace, monospace }
td { padding: .2rem 1rem .2rem 0; vertical-align: top }
section { border-top: 1px solid #8886; padding: .5rem 0 }
h2 { font-size: 1rem; margin: .5rem 0 }
"""


def front_page(title: str, openapi: Mapping[str, Any]) -> str:
    """Return the page at ``/``, with a link to each URL that needs no id."""
    lists = [(path, operation["summary"]) for path, operation in _readable(openapi)]
    links = [*lists, ("/docs", "What the API takes and answers"), ("/openapi.json", "The same for programs")]
    rows = "".join(f'<tr><td><a href="{escape(path)}">{escape(path)}</a><td>{escape(text)}' for path, text in links)
    return _page(title, f"<p>{escape(openapi['info']['description'])}<table>{rows}</table>")


def api_page(title: str, openapi: Mapping[str, Any]) -> str:
    """Return the page at ``/docs``: each operation with its parameters and responses."""
    sections = "".join(_section(*one) for one in _operations(openapi))
    schemas = openapi.get("components", {}).get("schemas", {})
    fields = "".join(_schema(name, schema) for name, schema in sorted(schemas.items()))
    return _page(title, f'<p><a href="/">All links</a>{sections}{fields}')


def _page(title: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style><h1>{escape(title)}</h1>{body}</html>"
    )


def _operations(openapi: Mapping[str, Any]) -> Operations:
    return [(method, path, each) for path, one in openapi["paths"].items() for method, each in one.items()]


def _readable(openapi: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for method, path, operation in _operations(openapi):
        needed = any(one.get("required") for one in operation.get("parameters", ()))
        if method == "get" and not needed:
            yield path, operation


def _section(method: str, path: str, operation: Mapping[str, Any]) -> str:
    title = f"<h2><code>{method.upper()} {escape(path)}</code></h2><p>{escape(operation.get('description', ''))}"
    return f"<section>{title}{_table(_taken(operation))}{_table(_answered(operation))}</section>"


def _taken(operation: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for one in operation.get("parameters", ()):
        yield escape(one["name"]), f"in {one['in']}", _kind(one["schema"]), "required" if one["required"] else ""
    if "requestBody" in operation:
        yield "body", "JSON", _kind(_json(operation["requestBody"])), "required"


def _answered(operation: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for status, one in operation["responses"].items():
        yield status, escape(one["description"]), _kind(_json(one))


def _json(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema of a body; empty if the message has no body."""
    schema: Mapping[str, Any] = message.get("content", {}).get("application/json", {}).get("schema", {})
    return schema


def _schema(name: str, schema: Mapping[str, Any]) -> str:
    required = schema.get("required", ())
    fields = [
        (escape(field), _kind(kind), "required" if field in required else "")
        for field, kind in schema.get("properties", {}).items()
    ]
    return f'<section id="{escape(name)}"><h2>{escape(name)}</h2>{_table(fields)}</section>'


def _table(rows: Iterable[tuple[str, ...]]) -> str:
    """Return a table of cells of HTML; the first cell of a row is a name."""
    cells = (f"<td><code>{first}</code>" + "".join(f"<td>{one}" for one in others) for first, *others in rows)
    return f"<table>{''.join(f'<tr>{one}' for one in cells)}</table>"


def _kind(schema: Mapping[str, Any]) -> str:
    """Return a type in words, with a link if the type names a schema."""
    if not schema:
        return ""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}"
    return escape(" ".join(filter(None, [schema.get("type", "anything"), schema.get("format", "")])))
