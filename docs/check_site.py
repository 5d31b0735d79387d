"""Checks a built site: every internal link and anchor, the index of names, and what pages load.

``python docs/check_site.py FOLDER`` prints what is wrong, and exits with 1 if anything is.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import procorch

LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src"}
"""What a browser loads by itself, as `link` with these relations: styles and icons."""
RELATIONS = {"stylesheet", "icon", "preload", "prefetch", "modulepreload"}


class Page(HTMLParser):
    """The ids and links of one page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep what one tag refers to."""
        given = {name: value or "" for name, value in attrs}
        self.ids |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag == "link" and RELATIONS & set(given.get("rel", "").split()):
            self.loads.append(given["href"])
        elif LOADED.get(tag) in given:
            self.loads.append(given[LOADED[tag]])


def read(folder: Path) -> dict[Path, Page]:
    """All pages of the site."""
    return {path: Page(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.html"))}


def problems(folder: Path) -> Iterator[str]:
    """What is wrong with the site in ``folder``, one text each."""
    pages = read(folder)
    for path, page in pages.items():
        where = path.relative_to(folder)
        for link in [*page.links, *page.loads]:
            parts = urlsplit(link)
            if parts.scheme in {"http", "https", "mailto", "data"} or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists():
                yield f"{where}: {link} leads to no file"
            elif target in pages and unquote(parts.fragment) not in {"", *pages[target].ids}:
                yield f"{where}: {link} leads to no anchor"
        for link in page.loads:
            if urlsplit(link).netloc:
                yield f"{where}: {link} is loaded from another host"
    yield from missing_names(folder / "objects.inv")
    if not (folder / "searchindex.js").is_file():
        yield "there is no index for the search"


def missing_names(inventory: Path) -> Iterator[str]:
    """The public names that other sites could not link to."""
    _, body = inventory.read_bytes().split(b"zlib.\n", 1)
    named = {line.split(" ", 1)[0] for line in zlib.decompress(body).decode().splitlines()}
    for name in procorch.__all__:
        if f"procorch.{name}" not in named:
            yield f"objects.inv has no procorch.{name}"


if __name__ == "__main__":
    found = list(problems(Path(sys.argv[1]).resolve()))
    print(*found, sep="\n", end="\n" if found else "")
    sys.exit(bool(found))
