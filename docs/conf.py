"""How Sphinx builds the site: ``tox -e site``.

Everything that a page loads is in the site itself, so it works from a folder and offline.
"""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "procorch"
author = "procorch contributors"
version = release = metadata.version("procorch")
copyright = "procorch contributors, MIT licence"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "api_entries",
    "diagrams",
    "repository_links",
]
exclude_patterns = ["_build", "_ext"]
default_role = "py:obj"
smartquotes = False  # they make one dash of the two of an option

# Markdown: headings are anchors, as on GitHub, and a link that leads nowhere is an error.
myst_heading_anchors = 6
suppress_warnings = ["myst.header", "myst.strikethrough"]

# The reference is made from docstrings.
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autosummary_generate = False
toc_object_entries = False
napoleon_numpy_docstring = False
napoleon_use_ivar = True
maximum_signature_line_length = 88

html_theme = "furo"
html_title = f"procorch {release}"
html_static_path = ["_static"]
html_css_files = ["procorch.css"]
html_search_scorer = str(Path(__file__).parent / "_static" / "search_scorer.js")
html_show_sphinx = False
html_copy_source = False
