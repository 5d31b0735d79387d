"""What a person sees: the demo on a terminal (a pty), and what a file gets in its place."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import psutil
import pytest

from tests.cli.conftest import LIMIT, Ended, environment

Run = Callable[..., Ended]

SMALL = ("demo", "--limit", "8", "--timeout", "2s", "--memory", "100M")
ON_ITS_TERMINAL = (
    sys.executable,
    "-c",
    "import fcntl, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "from procorch.cli.main import main; sys.exit(main())",
)
"""The command in the foreground of its terminal, so that Ctrl-C typed there reaches it."""

COLOUR = re.compile(r"\x1b\[(?:[\d;]*;)?(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])(?:;[\d;]*)?m")
MOVES = re.compile(
    r"\x1b\[\d*[A-K]|\x1b\[\?25l"
)  # the cursor goes up, lines are erased, it is hidden
ESCAPES = re.compile(r"\x1b\[[\d;?]*[A-Za-z]")


class Terminal:
    """A command on a terminal of its own."""

    def __init__(
        self,
        columns: int,
        arguments: tuple[str, ...],
        changes: dict[str, str],
        stdout: IO[bytes] | None,
    ) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        self.process = subprocess.Popen(
            [*ON_ITS_TERMINAL, *arguments],
            stdin=slave,
            stdout=slave if stdout is None else stdout,
            stderr=slave,
            env=environment(changes),
            start_new_session=True,
        )
        os.close(slave)
        self.screen = ""
        self._bytes = b""

    def read_until(self, text: str | None = None) -> str:
        """Read until the screen has `text`, or until the command has closed the terminal."""
        while text is None or text not in self.screen:
            try:
                data = os.read(self._master, 65536)
            except OSError:  # how Linux says that nobody holds the other side
                data = b""
            if not data:
                assert text is None, f"{text!r} is not on the screen:\n{self.screen}"
                break
            self._bytes += data
            self.screen = self._bytes.decode("utf-8", "replace").replace("\r\n", "\n")
        return self.screen

    def type(self, keys: bytes) -> None:
        """Type on its keyboard."""
        os.write(self._master, keys)

    def close(self) -> None:
        """Unplug it."""
        os.close(self._master)
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


@contextmanager
def terminal(
    *arguments: str, columns: int = 100, stdout: IO[bytes] | None = None, **changes: str
) -> Iterator[Terminal]:
    """A terminal on which procorch runs with `arguments`; keywords are its environment.

    With `stdout` its output goes to that file, as with `>` in a shell.
    """
    made = Terminal(columns, arguments, changes, stdout)
    try:
        yield made
    finally:
        made.close()


def shown(
    *arguments: str, columns: int = 100, stdout: IO[bytes] | None = None, **changes: str
) -> str:
    """All that a command wrote to its terminal; it must end with 0."""
    with terminal(*arguments, columns=columns, stdout=stdout, **changes) as it:
        screen = it.read_until()
        assert it.process.wait(LIMIT) == 0, screen
        return screen


def test_a_terminal_sees_the_work_go_on() -> None:
    screen = shown(*SMALL)
    assert MOVES.search(screen)
    assert COLOUR.search(screen)
    assert "8/8" in screen
    assert "HumanEval/3 (segfault) ended by SIGSEGV; solver (pid " in ESCAPES.sub("", screen)
    assert screen.count("\x1b[?25l") == screen.count("\x1b[?25h") == 1, "the cursor is back"


def test_no_color_is_honoured() -> None:
    screen = shown(*SMALL, NO_COLOR="1")
    assert COLOUR.search(screen) is None
    assert "8/8" in screen


@pytest.mark.parametrize("columns", [24, 40, 79])
def test_a_narrow_screen_is_enough(columns: int) -> None:
    """Nothing is wider than the screen, and nothing is cut off."""
    screen = shown(*SMALL, columns=columns)
    lines = [line.rpartition("\r")[2] for line in ESCAPES.sub("", screen).split("\n")]
    assert max(map(len, lines)) <= columns
    text = " ".join(" ".join(lines).split())
    assert "HumanEval/3 (segfault)" in text
    assert "ended by SIGSEGV" in text
    assert "4 passed, 0 failed, 4 killed of 8 candidates" in text
    assert "\u2026" not in text


def test_ci_gets_lines_though_it_has_a_terminal() -> None:
    screen = shown(*SMALL, CI="true")
    assert MOVES.search(screen) is None
    assert "candidates: 8 of 8" in screen


def test_a_dumb_terminal_gets_lines() -> None:
    screen = shown(*SMALL, TERM="dumb")
    assert "\x1b" not in screen
    assert "candidates: 8 of 8" in screen


def test_data_on_the_terminal_is_not_drawn_over() -> None:
    screen = shown(*SMALL, "--json")
    assert MOVES.search(screen) is None
    assert len(re.findall(r'^\{"index": \d, .*\}$', screen, flags=re.MULTILINE)) == 8


def test_data_goes_to_its_file_while_the_terminal_sees_the_work_go_on(tmp_path: Path) -> None:
    with (tmp_path / "rows.jsonl").open("wb") as rows:
        screen = shown(*SMALL, "--json", stdout=rows)
    assert MOVES.search(screen)
    assert '"index"' not in screen
    assert "4 passed, 0 failed, 4 killed of 8 candidates" in ESCAPES.sub("", screen)
    lines = (tmp_path / "rows.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["index"] for line in lines) == list(range(8))


def test_a_file_gets_colours_only_by_force_and_never_a_bar(run: Run) -> None:
    plain, forced = run(*SMALL), run(*SMALL, FORCE_COLOR="1")
    assert "\x1b" not in plain.stdout + plain.stderr
    assert COLOUR.search(forced.stdout)
    assert COLOUR.search(forced.stderr)
    assert MOVES.search(forced.stdout + forced.stderr) is None


@contextmanager
def its_workers(of: Terminal) -> Iterator[list[int]]:
    """The processes below a running demo, as pidfds: readable once the process has ended."""
    children = psutil.Process(of.process.pid).children(recursive=True)
    pidfds = [os.pidfd_open(child.pid) for child in children]
    try:
        yield pidfds
    finally:
        for pidfd in pidfds:
            os.close(pidfd)


def ended(pidfd: int) -> bool:
    """Whether the process ends within a few seconds."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(5000))


def test_ctrl_c_ends_the_demo_and_all_its_workers() -> None:
    with terminal("demo", "--timeout", "45s", "--workers", "2") as it:
        # What is left is the endless loop, for 45 seconds more.
        it.read_until("163/164")
        with its_workers(it) as workers:
            began = time.monotonic()
            it.type(b"\x03")
            screen = it.read_until()
            assert it.process.wait(LIMIT) == 130
            assert time.monotonic() - began < 15, "it waited for the endless loop"
            assert len(workers) >= 2
            assert all(map(ended, workers))
    assert re.search(
        r"interrupted after 163 of 164 candidates; "
        r"procorch demo --timeout 45s --workers 2 --resume goes on\n$",
        screen,
    )
    assert "Traceback" not in screen
    assert screen.rindex("\x1b[?25h") > screen.rindex("\x1b[?25l"), "the cursor is back"


def test_a_demo_goes_on_where_ctrl_c_has_ended_it() -> None:
    with terminal("demo", "--timeout", "45s", "--workers", "2") as it:
        it.read_until("163/164")
        it.type(b"\x03")
        it.read_until()
        assert it.process.wait(LIMIT) == 130
    screen = shown("demo", "--timeout", "1s", "--resume")
    assert "160 passed, 0 failed, 4 killed of 164 candidates" in ESCAPES.sub("", screen)
    assert "163 of them done before" in ESCAPES.sub("", screen)


def test_a_demo_that_is_killed_takes_its_workers_along() -> None:
    with terminal("demo", "--timeout", "45s", "--workers", "2") as it:
        it.read_until("163/164")
        with its_workers(it) as workers:
            it.process.kill()
            assert len(workers) >= 2
            assert all(map(ended, workers))
