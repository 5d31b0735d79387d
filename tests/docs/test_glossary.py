"""`docs/reference/glossary.md`: each word once, in order, with one sentence and a module."""

from __future__ import annotations

import re

from tests.docs.test_blocks import ROOT

ROW = re.compile(r"^\| (.+) \| (.+) \| `(.+)` \|$", re.MULTILINE)
ROWS = ROW.findall((ROOT / "docs" / "reference" / "glossary.md").read_text(encoding="utf-8"))


def test_each_word_is_there_once_in_the_order_of_the_alphabet() -> None:
    words = [word.lower() for word, _, _ in ROWS]
    assert words == sorted(set(words))
    assert len(words) > 50


def test_each_word_has_a_sentence_and_a_module_that_exists() -> None:
    for word, meaning, module in ROWS:
        assert re.fullmatch(r"[^.]+(\.\w[^.]*)*\.", meaning), f"{word}: {meaning}"
        assert (ROOT / "procorch" / module).exists(), f"{word}: {module}"
