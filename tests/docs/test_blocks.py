"""Every code block of the README, of CONTRIBUTING and of the docs does what the page says.

- A `python` block is a script of its own: it runs in an empty directory and must exit with 0.
- One that follows the comment `<!-- needs: PACKAGE ... -->` is skipped where that is not installed.
- A `text` block that follows it directly, with the comment `<!-- output -->` between the two, is
  its standard output, character for character.
- In `bash` and `console` blocks every `procorch VERB` must be a verb that exists.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shlex
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[2]
PROCORCH = Path(sysconfig.get_path("scripts"), "procorch")
OUTPUT_MARKER = "<!-- output -->"
LIMIT = 150.0  # seconds for one block
OPERATORS = {"&&", "||", "|", ";", "&", "(", ")"}


@dataclass(frozen=True)
class Block:
    """One fenced block of a page, and the output that the page promises for it."""

    where: str
    language: str
    code: str
    output: str | None
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Command:
    """One use of the command line tool in a shell block; `verb` is None for a bare `procorch`."""

    where: str
    verb: str | None


def pages() -> list[Path]:
    """The README, CONTRIBUTING and every page of the docs."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]


def parse(page: Path) -> list[Token]:
    """The leaves of the page's syntax tree: text, comments and fenced blocks, in order."""
    tokens = MarkdownIt().parse(page.read_text(encoding="utf-8"))
    return [token for token in tokens if token.nesting == 0]


def read_blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of `page` in order, those of lists and quotes included."""
    leaves = parse(page)
    for index, token in enumerate(leaves):
        if token.type == "fence":
            first_line = token.map[0] + 1 if token.map else 0
            yield Block(
                where=f"{page.relative_to(ROOT)}:{first_line}",
                language=language(token),
                code=token.content,
                output=promised_output(leaves[index + 1 : index + 3]),
                needs=needed(leaves[index - 1]) if index else (),
            )


def language(token: Token) -> str:
    """The first word of a fence's info string: `python` of `python title=x`."""
    words = token.info.split()
    return words[0] if words else ""


def needed(before: Token) -> tuple[str, ...]:
    """The packages that the comment before a block names."""
    found = re.fullmatch(r"<!-- needs: (.*) -->", before.content.strip())
    return tuple(found[1].split()) if found and before.type == "html_block" else ()


def is_output_marker(token: Token) -> bool:
    """Whether `token` is the comment that makes the next block an expected output."""
    return token.type == "html_block" and token.content.strip() == OUTPUT_MARKER


def promised_output(following: Sequence[Token]) -> str | None:
    """The text of the marked output block, if that is what the two tokens after a block are."""
    match following:
        case [marker, fence] if (
            is_output_marker(marker) and fence.type == "fence" and language(fence) == "text"
        ):
            return fence.content
    return None


def commands(block: Block) -> Iterator[Command]:
    """The uses of `procorch` in a shell block; in a `console` block commands have a `$` prompt."""
    text = block.code.replace("\\\n", " ")
    if block.language == "console":
        text = "\n".join(re.findall(r"^[ \t]*\$ (.*)$", text, flags=re.MULTILINE))
    for line in text.splitlines():
        for words in simple_commands(line):
            if words and Path(words[0]).name == "procorch":
                verb = next((word for word in words[1:] if not word.startswith("-")), None)
                yield Command(block.where, verb)


def simple_commands(line: str) -> Iterator[list[str]]:
    """The commands of one shell line, split at its operators, without variable assignments."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for token in lexer:
        if token in OPERATORS:
            yield words
            words = []
        elif words or not re.match(r"\w+=", token):
            words.append(token)
    yield words


BLOCKS = [block for page in pages() for block in read_blocks(page)]
SCRIPTS = [block for block in BLOCKS if block.language == "python"]
COMMANDS = [
    command
    for block in BLOCKS
    if block.language in {"bash", "console"}
    for command in commands(block)
]


@pytest.mark.timeout(LIMIT + 30)
@pytest.mark.parametrize("block", SCRIPTS, ids=lambda block: block.where)
def test_a_python_block_runs_as_a_script(block: Block, tmp_path: Path) -> None:
    """It exits with 0, and prints what the page says it prints."""
    for package in block.needs:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs {package}")
    script = tmp_path / "script"
    script.mkdir()
    (script / "block.py").write_text(block.code, encoding="utf-8")
    code, stdout, stderr = run([sys.executable, "block.py"], script, tmp_path)
    assert code == 0, f"{block.where} exited with {code}\n--- stdout\n{stdout}--- stderr\n{stderr}"
    if block.output is not None:
        assert stdout == block.output


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: f"{command.where}-{command.verb}")
def test_a_command_of_a_shell_block_exists(command: Command, tmp_path: Path) -> None:
    """`procorch VERB --help` knows every verb that a page uses."""
    assert PROCORCH.exists(), "install the checkout first: pip install -e . --group dev"
    verb = [] if command.verb is None else [command.verb]
    code, _, stderr = run([str(PROCORCH), *verb, "--help"], tmp_path, tmp_path)
    assert code == 0, stderr


def test_every_output_marker_stands_between_a_python_block_and_its_text() -> None:
    """A marker anywhere else would promise an output that nothing checks."""
    markers = [token for page in pages() for token in parse(page) if is_output_marker(token)]
    checked = [block.where for block in SCRIPTS if block.output is not None]
    assert len(markers) == len(checked), f"the outputs that are checked follow {checked}"


def run(command: list[str], cwd: Path, logs: Path) -> tuple[int, str, str]:
    """Run `command` in `cwd` and return its exit code, output and error output.

    The two go to files in `logs`: a pipe would stay open as long as any process that the command
    left behind, and a block that hangs could then not be ended within its time.
    """
    stdout, stderr = logs / "stdout", logs / "stderr"
    with stdout.open("wb") as out, stderr.open("wb") as err:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env={**os.environ, "NO_COLOR": "1", "COLUMNS": "100"},
            start_new_session=True,
        )
        try:
            code = process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            pytest.fail(
                f"{shlex.join(command)} did not end within {LIMIT:.0f} s\n"
                f"--- stdout\n{stdout.read_text(errors='replace')}"
                f"--- stderr\n{stderr.read_text(errors='replace')}",
                pytrace=False,
            )
    return code, stdout.read_text(errors="replace"), stderr.read_text(errors="replace")
