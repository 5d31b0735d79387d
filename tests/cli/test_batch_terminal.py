"""A batch on a terminal: progress, workers at work, Ctrl-C once and twice."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest

from tests.cli.conftest import LIMIT
from tests.cli.test_terminal import COLOUR, ESCAPES, MOVES, ended, its_workers, terminal

APP = """
import os, time

def napper():
    def handle(seconds):
        if seconds < 0:
            os.abort()
        time.sleep(seconds)
        return seconds
    return handle
"""


@pytest.fixture
def naps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with an app; returns the input to be filled with naps."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "app.py").write_text(APP)
    return tmp_path / "naps.jsonl"


def fill(path: Path, *naps: float) -> None:
    path.write_text("".join(json.dumps(nap) + "\n" for nap in naps))


BATCH = ("batch", "app.py:napper", "naps.jsonl", "-o", "run.db")


def test_a_terminal_sees_the_batch_go_on(naps: Path) -> None:
    fill(naps, *[0.01] * 20, -1)
    with terminal(*BATCH, "-j", "2") as it:
        screen = it.read_until()
        assert it.process.wait(LIMIT) == 1
    assert MOVES.search(screen)
    assert COLOUR.search(screen)
    plain = ESCAPES.sub("", screen)
    assert "x 21 crashed: SIGABRT at app.py:7 in handle" in plain
    assert "21/21 items, 1 failed" in plain
    assert "20 ok, 1 failed of 21 items" in plain
    assert screen.count("\x1b[?25l") == screen.count("\x1b[?25h"), "the cursor is back"


@pytest.mark.parametrize("columns", [30, 59])
def test_a_narrow_screen_without_colour_is_enough(columns: int, naps: Path) -> None:
    fill(naps, 0.01, -1, 0.01)
    with terminal(*BATCH, columns=columns, NO_COLOR="1") as it:
        screen = it.read_until()
        assert it.process.wait(LIMIT) == 1
    assert COLOUR.search(screen) is None
    text = " ".join(ESCAPES.sub("", screen).split())
    assert "3/3 items" in text
    assert "SIGABRT at app.py:7 in handle" in text
    assert "2 ok, 1 failed of 3 items" in text


def test_ci_gets_lines(naps: Path) -> None:
    fill(naps, 0.01, 0.01)
    with terminal(*BATCH, CI="true") as it:
        screen = it.read_until()
        assert it.process.wait(LIMIT) == 0
    assert MOVES.search(screen) is None
    assert "batch: 2/2 items" in screen


def test_who_watches_sees_what_each_worker_is_doing(naps: Path) -> None:
    fill(naps, 0, 30)
    with terminal(*BATCH, "-j", "1", "--watch") as it:
        it.read_until("busy")
        screen = ESCAPES.sub("", it.read_until(" MiB"))
        assert re.search(r"pid +state +item +for +memory", screen)
        assert re.search(r"\d+ +busy +[12] +\d+\.\d s +\d+ MiB", screen)
        it.type(b"\x03")
        it.read_until("finishing what is under way")
        it.type(b"\x03")
        it.read_until()
        assert it.process.wait(LIMIT) == 130


def test_ctrl_c_lets_workers_finish_and_the_batch_goes_on_later(naps: Path) -> None:
    fill(naps, 0, 1.0, 0.0, *[1.0] * 9)
    with terminal(*BATCH, "-j", "1") as it:
        it.read_until("1/12")
        it.type(b"\x03")
        screen = ESCAPES.sub("", it.read_until())
        assert it.process.wait(LIMIT) == 130
    assert "finishing what is under way; Ctrl-C again ends it" in screen
    found = re.search(r"(\d+) ok, 0 failed of 12 items", screen)
    assert found is not None
    assert 2 <= int(found[1]) <= 4, "what was under way was finished, and no more was begun"
    assert re.search(r"to go on:\s+procorch batch app.py:napper .* --resume", screen)
    assert "Traceback" not in screen
    fill(naps, 0, 1.0, 0.0, *[1.0] * 9)
    with terminal(*BATCH, "-j", "8", "--resume") as it:
        screen = ESCAPES.sub("", it.read_until())
        assert it.process.wait(LIMIT) == 0
    assert "12 ok, 0 failed of 12 items" in screen
    assert f"{found[1]} of them in earlier runs" in screen


def test_ctrl_c_twice_ends_what_is_under_way(naps: Path) -> None:
    fill(naps, 0, 30, 30)
    with terminal(*BATCH, "-j", "2") as it:
        it.read_until("1/3")
        with its_workers(it) as workers:
            it.type(b"\x03")
            it.read_until("Ctrl-C again ends it")
            began = time.monotonic()
            it.type(b"\x03")
            screen = ESCAPES.sub("", it.read_until())
            assert it.process.wait(LIMIT) == 130
            assert time.monotonic() - began < 15
            assert all(map(ended, workers))
    assert "1 ok, 0 failed of 3 items" in screen
