"""The site: how Sphinx makes it of these pages and of the docstrings. `make docs` builds it into `build/docs`."""

from __future__ import annotations

import logging
import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from sqlkeel import __version__

# Alembic tells of its plugins; a mixin's columns are looked at on the mixin.
logging.getLogger("alembic").setLevel(logging.WARNING)
warnings.filterwarnings("ignore", message="Unmanaged access of declarative attribute")

project = "sqlkeel"
release = version = __version__
language = "en"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "site_rules"]

nitpicky = True
# Names of Python, SQLAlchemy and the frameworks: their lists of names would have to be fetched.
nitpick_ignore_regex = [
    ("py:.*", r"(?!sqlkeel\b).*"),
    # Type variables, protocols and bases in signatures, which nobody imports.
    ("py:(class|obj)", r"sqlkeel\.(.*\._.*|repository\.M)"),
]

default_role = "obj"
myst_heading_anchors = 4

autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_inherit_docstrings = False
napoleon_numpy_docstring = False
napoleon_use_rtype = False

html_theme = "furo"
html_title = f"sqlkeel {release}"
html_show_copyright = False
html_show_sphinx = False
html_copy_source = False
