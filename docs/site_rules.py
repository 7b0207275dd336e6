"""What the site does that Sphinx does not: names in single backticks, and a look at what was built."""

from __future__ import annotations

import inspect
import re
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.nodes import make_refnode

__all__ = ["setup"]

logger = logging.getLogger(__name__)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the rules."""
    app.connect("missing-reference", lead_to_name)
    app.connect("autodoc-skip-member", leave_out_foreign)
    app.connect("autodoc-process-docstring", keep_sentence, priority=400)  # before napoleon
    app.connect("autodoc-process-signature", shorten_defaults)
    app.connect("env-check-consistency", miss_names)
    app.connect("build-finished", look_at_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def lead_to_name(app: Sphinx, env: BuildEnvironment, node: Any, shown: nodes.TextElement) -> nodes.Node | None:
    """Let `Session.on_commit` lead to the one thing of that name, whichever package has it.

    What is not ours, or is the name of two things, is shown as code. Another reference, as in a signature, has the
    whole name of what it leads to, which may be a function where Sphinx expects a class.
    """
    if node.get("refdomain") != "py":
        return None
    in_backticks, name = node["reftype"] == "obj", node["reftarget"]
    found = _named(env, name, anywhere=in_backticks)
    if in_backticks and not found and "." in name and _named(env, name.partition(".")[0], anywhere=True):
        logger.warning("there is no %s", name, location=node, type="ref", subtype="obj")
    if len(found) != 1:
        return shown if in_backticks else None
    (entry,) = found.values()
    return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, shown, name)


def _named(env: BuildEnvironment, name: str, *, anywhere: bool) -> dict[str, Any]:
    found = env.domains.python_domain.find_obj(env, "", "", name, None, searchmode=int(anywhere))
    return {entry.node_id: entry for _, entry in found}


def leave_out_foreign(app: Sphinx, kind: str, name: str, member: Any, skip: bool, options: Any) -> bool | None:
    """Leave out a method that wraps SQLAlchemy's, and has its docstring: SQLAlchemy's own pages have that."""
    wrapped = inspect.unwrap(member) if callable(member) and not isinstance(member, type) else None
    module = getattr(wrapped, "__module__", None) or ""
    return True if module.startswith("sqlalchemy.") else None


def keep_sentence(app: Sphinx, kind: str, name: str, member: Any, options: Any, lines: list[str]) -> None:
    """Let the first sentence of an attribute be one: what is before a colon would be read as its type."""
    if kind in {"attribute", "data", "property"}:
        lines[:0] = ["..", ""]


def shorten_defaults(
    app: Sphinx, kind: str, name: str, member: Any, options: Any, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """Write ``...`` for a default that has no text of its own, a function: Sphinx would not read the signature."""
    return signature and re.sub(r"<[^<>]*>", "...", signature), returned


def miss_names(app: Sphinx, env: BuildEnvironment) -> None:
    """Warn of each name that a package promises and its page does not have."""
    domain = env.domains.python_domain
    for module, entry in domain.modules.items():
        for name in import_module(module).__all__:
            if f"{module}.{name}" not in domain.objects:
                logger.warning("%s promises %s, which is not on its page", module, name, location=entry.docname)


class _Page(HTMLParser):
    """The anchors of a page, and what it leads to or loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: set[str] = set()
        self.loads: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note one tag."""
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        target = given.get("href") or given.get("src")
        if target is not None:
            (self.links if tag == "a" else self.loads).add(target)


def look_at_pages(app: Sphinx, error: Exception | None) -> None:
    """Warn of each link inside of the site that leads nowhere, and of each file that a page loads from elsewhere."""
    if error is not None or app.builder.name != "html":
        return
    root = Path(app.outdir)
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in root.rglob("*.html")}
    for path, page in pages.items():
        for link in _dead(path, page, pages):
            logger.warning("%s: there is no %s in the site", path.relative_to(root), link)


def _dead(path: Path, page: _Page, pages: dict[Path, _Page]) -> list[str]:
    remote = [one for one in page.loads if urlsplit(one).netloc]
    local = [one for one in page.links | page.loads if not (urlsplit(one).scheme or urlsplit(one).netloc)]
    return remote + [one for one in local if not _leads_somewhere(path, one, pages)]


def _leads_somewhere(path: Path, link: str, pages: dict[Path, _Page]) -> bool:
    parts = urlsplit(link)
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if target not in pages:
        return target.is_file()
    return not parts.fragment or unquote(parts.fragment) in pages[target].anchors
