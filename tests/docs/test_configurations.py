"""Every configuration that the docs show is one that the daemon accepts.

A block whose info string is `toml procorch` is a whole `procorch.toml`. Files that it names, such
as secrets, are made for it; absolute paths of them are moved below the folder of the test.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from markdown_it.token import Token

from procorch.daemon.config import loading as config
from tests.docs.test_blocks import ROOT, pages, parse

_NAMED = re.compile(r'(?:"file:|env_file = "|(?:factory|run) = "(?=[^":]+\.py:))([^":]+)')
"""The path of a file that a configuration names."""


def blocks() -> list[tuple[str, str]]:
    """The place and the text of each configuration."""
    return [
        (f"{page.relative_to(ROOT)}:{token.map[0] + 1 if token.map else 0}", token.content)
        for page in pages()
        for token in parse(page)
        if _is_configuration(token)
    ]


def _is_configuration(token: Token) -> bool:
    return token.type == "fence" and token.info.split() == ["toml", "procorch"]


@pytest.mark.parametrize(("place", "text"), blocks(), ids=[place for place, _ in blocks()])
def test_a_configuration_of_the_docs_has_no_error(place: str, text: str, tmp_path: Path) -> None:
    text = text.replace('"file:/', f'"file:{tmp_path}/')
    for name in _NAMED.findall(text):
        file = tmp_path / name
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.touch(mode=0o600)
        file.write_text("NAME=value\n")
    (tmp_path / "procorch.toml").touch(mode=0o600)
    (tmp_path / "procorch.toml").write_text(text)
    found = config.load(None, folder=tmp_path)
    assert found.warnings == ()
    assert found.agents
