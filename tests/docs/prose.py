"""How the pages of the docs read: words a sentence, and the share of sentences in the passive.

    python -m tests.docs.prose                 # a line for each page, and the average
    python -m tests.docs.prose docs/index.md   # also the sentences that are long or passive

Only paragraphs and list items count. A piece of code in a line is one word. Tables, headings and
blocks of code are left out.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.docs.test_blocks import ROOT

MOST_WORDS = 20.0
"""Words that a sentence of a page may have on average; no page is exempt."""
MOST_PASSIVES = 0.10
"""Share of the sentences of a page that may be in the passive."""
LONG = 25
"""Words from which a single sentence is shown as long."""

_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]*(?:[A-Z0-9`]|procorch\b))")
_IRREGULAR = (
    "begun|bound|bought|broken|brought|built|caught|chosen|cut|done|drawn|driven|eaten|fed|felt|"
    "found|forgotten|frozen|given|gone|ground|grown|heard|held|hidden|hit|kept|known|laid|lent|let|"
    "lost|made|meant|met|paid|put|read|reset|rewritten|run|said|seen|sent|set|shared|shot|shown|"
    "shut|spawned|spent|split|spoken|spread|stolen|stopped|stored|struck|taken|taught|thought|"
    "thrown|told|understood|undone|won|written"
)
_PASSIVE = re.compile(
    r"\b(?:is|are|was|were|be|been|being|gets?|got)\s+"
    r"(?:(?:not|never|also|then|only|always|already|still|all|both|now|again|[a-z]+ly)\s+){0,2}"
    rf"(?:[a-z]{{2,}}(?:[^e]ed|eed)|{_IRREGULAR})\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Sentence:
    """One sentence of a page."""

    line: int
    text: str

    @property
    def words(self) -> int:
        """How many words it has."""
        return len(re.findall(r"[\w'/.-]*\w[\w'/.-]*", self.text))

    @property
    def is_passive(self) -> bool:
        """Whether a form of "be" and a participle stand in it."""
        return _PASSIVE.search(self.text) is not None


@dataclass(frozen=True)
class Figures:
    """What was counted on a page."""

    sentences: int
    words: int
    passives: int

    @property
    def length(self) -> float:
        """Words a sentence."""
        return self.words / max(self.sentences, 1)

    @property
    def passive(self) -> float:
        """Share of the sentences in the passive."""
        return self.passives / max(self.sentences, 1)


def sentences(page: Path) -> Iterator[Sentence]:
    """The sentences of the paragraphs and list items of ``page``."""
    tokens = MarkdownIt().enable("table").parse(page.read_text(encoding="utf-8"))
    in_paragraph = False
    for token in tokens:
        if token.type == "paragraph_open":
            in_paragraph = True
        elif token.type == "paragraph_close":
            in_paragraph = False
        elif token.type == "inline" and in_paragraph:
            line = token.map[0] + 1 if token.map else 0
            for text in _END.split(plain(token)):
                if text and len(text.split()) > 2:
                    yield Sentence(line, text.strip())


def plain(token: Token) -> str:
    """The text of a paragraph; each piece of code in it becomes one word."""
    parts = []
    for child in token.children or ():
        if child.type == "code_inline":
            parts.append("`code`" if " " in child.content.strip() else f"`{child.content}`")
        elif child.type == "softbreak":
            parts.append(" ")
        elif child.type == "text":
            parts.append(child.content)
    return "".join(parts)


def count(page: Path) -> Figures:
    """The figures of ``page``."""
    found = list(sentences(page))
    return Figures(
        len(found), sum(each.words for each in found), sum(each.is_passive for each in found)
    )


def pages() -> list[Path]:
    """The pages in prose: neither decisions nor the lists of the API."""
    every = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
    return [page for page in every if not {"decisions", "api"} & set(page.parts)]


def main(arguments: list[str]) -> None:
    """Print the figures of the pages that are named, or of all."""
    total = Figures(0, 0, 0)
    for page in [Path(each).resolve() for each in arguments] or pages():
        if arguments:
            for each in sentences(page):
                marks = [f"{each.words} words"] * (each.words > LONG) + [
                    "passive"
                ] * each.is_passive
                if marks:
                    print(f"{each.line:5}  {', '.join(marks)}: {each.text}")
        found = count(page)
        total = Figures(
            total.sentences + found.sentences,
            total.words + found.words,
            total.passives + found.passives,
        )
        name = page.relative_to(ROOT)
        print(f"{name!s:45} {found.words:6} {found.length:5.1f} {found.passive:5.0%}")
    print(f"{'all':45} {total.words:6} {total.length:5.1f} {total.passive:5.0%}")


if __name__ == "__main__":
    main(sys.argv[1:])
