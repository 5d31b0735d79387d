"""The tutorial of `docs/tutorials/batch.md`, followed step by step in one folder.

Blocks whose info string names a file (`python grader.py`) are saved under that name; the commands
of `console` blocks are run, and what they write is what the page shows. In it `...` stands for
anything (on a line of its own for any lines), and figures that are never the same may be others.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.test_blocks import LIMIT, PROCORCH, ROOT, parse, run

PAGE = ROOT / "docs" / "tutorials" / "batch.md"
FIGURES = {
    r"\d[\d.e-]* s\b( \(\d+/s\))?": r"[\d.e-]+ s( \([\d.]+/s\))?",
    r"\d+ MiB": r"\d+ MiB",
    r"pid \d+": r"pid \d+",
    r"\d{4}-\d\d-\d\d \d\d:\d\d": r"[\d: -]+",
    r"\d+ workers? replaced": r"\d+ workers? replaced",
}


def pattern(line: str) -> str:
    """A line of the page as a regular expression."""
    if line.strip() == "...":
        return r"(?:.*\n)*?"
    figures = "|".join(f"(?:{each})" for each in [r"\.\.\.", *FIGURES])
    parts, end = [], 0
    for found in re.finditer(figures, line):
        parts.append(re.escape(line[end : found.start()]))
        kinds = (kind for kind in FIGURES if re.fullmatch(kind, found[0]))
        parts.append(".*" if found[0] == "..." else FIGURES[next(kinds)])
        end = found.end()
    return "".join([*parts, re.escape(line[end:]), r" *\n"])


def without_progress(text: str) -> str:
    """How often progress is told depends on the machine."""
    lines = (line.rstrip() for line in text.splitlines())
    return "".join(line + "\n" for line in lines if not line.startswith("batch: "))


@pytest.mark.timeout(LIMIT + 30)
def test_the_tutorial_of_a_batch_does_what_the_page_shows(tmp_path: Path) -> None:
    folder, logs = tmp_path / "work", tmp_path / "logs"
    folder.mkdir()
    logs.mkdir()
    done = []
    for token in parse(PAGE):
        if token.type != "fence":
            continue
        kind, _, name = token.info.partition(" ")
        if name:
            (folder / name).write_text(token.content, encoding="utf-8")
        if kind != "console":
            continue
        for step in re.split(r"^\$ ", token.content, flags=re.MULTILINE)[1:]:
            line, _, shown = step.partition("\n")
            command = f"PATH={PROCORCH.parent}:$PATH; exec 2>&1; {line}"
            _, written, _ = run(["/bin/sh", "-c", command], folder, logs)
            wanted = "".join(map(pattern, without_progress(shown).splitlines()))
            said = without_progress(written)
            assert re.fullmatch(wanted, said), f"$ {line}\n{said}\n--- the page has\n{shown}"
            done.append(line)
    assert done[-1] == "cat report.csv"
