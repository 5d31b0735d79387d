"""Links of pages to files of the repository that have a page of their own on the site.

On GitHub a page links to ``../../CONTRIBUTING.md``. The site has that text as a page, too.
"""

from __future__ import annotations

import re

from sphinx.application import Sphinx

_PAGES = {
    "README": "/start/when-to-use.md",
    "CONTRIBUTING": "/contributing.md",
    "CHANGELOG": "/changes.md",
}
"""The site's front page says what else the README says, so a page has the rest of it."""
_LINK = re.compile(rf"\]\((?:\.\./)+({'|'.join(_PAGES)})\.md")


def rewrite(app: Sphinx, page: str, source: list[str]) -> None:
    """Let the links of ``page`` lead to pages of the site."""
    source[0] = _LINK.sub(lambda found: f"]({_PAGES[found[1]]}", source[0])


def setup(app: Sphinx) -> dict[str, bool]:
    """Have Sphinx call `rewrite` for each page that it reads."""
    app.connect("source-read", rewrite)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
