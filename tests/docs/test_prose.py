"""The pages are in plain English: short sentences that say who does what (decision 060)."""

from __future__ import annotations

from pathlib import Path

from tests.docs import prose


def sentence(text: str) -> prose.Sentence:
    return prose.Sentence(1, text)


def test_a_sentence_in_the_passive_is_found() -> None:
    assert sentence("The worker is killed.").is_passive
    assert sentence("Requests are never sent again.").is_passive
    assert sentence("It was not asked about.").is_passive
    assert not sentence("procorch kills the worker.").is_passive
    assert not sentence("The agent is idle.").is_passive


def test_sentences_are_those_of_paragraphs_and_lists_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A heading is left out\n\nOne is here. `code` begins the second one.\n\n"
        "- A third one is\n  in a list.\n\n| a table | is left out |\n| --- | --- |\n\n"
        "```python\nprint('This is left out.')\n```\n"
    )
    assert [(each.line, each.words) for each in prose.sentences(page)] == [(3, 3), (3, 5), (5, 7)]


def test_each_page_is_easy_to_read() -> None:
    """``python -m tests.docs.prose PAGE`` shows the sentences that are long or passive."""
    counted = {page.name: prose.count(page) for page in prose.pages()}
    assert [name for name, found in counted.items() if found.length > prose.MOST_WORDS] == []
    assert [name for name, found in counted.items() if found.passive > prose.MOST_PASSIVES] == []
