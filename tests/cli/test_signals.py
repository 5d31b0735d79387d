"""SIGTERM, SIGHUP and Ctrl-C: what is under way is finished, within limits, and nothing is lost."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from procorch.batch.reader import Reader
from tests.cli.conftest import COMMAND, LIMIT, Ended, environment

Run = Callable[..., Ended]

APP = """
import os, time

def napper():
    def handle(item):
        if isinstance(item, str):
            return item * 100_000
        with open("begun", "a") as file:
            file.write(f"{item}\\n")
        until = time.monotonic() + abs(item)
        while time.monotonic() < until:
            try:
                time.sleep(0.05)
            except BaseException:
                if item > 0:
                    raise
        return item
    return handle

def slow():
    open("begun", "a").close()
    time.sleep(60)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


def fill(folder: Path, *items: object) -> None:
    (folder / "in.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))


def await_file(path: Path, content: str = "") -> None:
    until = time.monotonic() + LIMIT
    while not (path.exists() and content in path.read_text()):
        assert time.monotonic() < until
        time.sleep(0.01)


@contextmanager
def started(*arguments: str, **how: object) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, env=environment({}), **how,
    )  # type: ignore[call-overload] # fmt: skip
    with process:
        try:
            yield process
        finally:
            process.kill()


BATCH = ("batch", "app.py:napper", "in.jsonl", "-o", "run.db", "-j", "1")


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)]
)
def test_a_signal_has_a_batch_finish_what_is_under_way(
    number: signal.Signals, code: int, folder: Path, run: Run
) -> None:
    fill(folder, 1.5, *[30] * 5)
    with started(*BATCH) as process:
        await_file(folder / "begun")
        process.send_signal(number)
        out, err = process.communicate(timeout=LIMIT)
    assert (process.returncode, "finishing what is under way" in err) == (code, True)
    assert "1 ok, 0 failed of 6 items" in out
    assert f"{' '.join(('procorch', *BATCH))} --resume" in out
    fill(folder, 1.5, *[0] * 5)
    assert run(*BATCH, "--resume", "--accept-changes").code == 0


@pytest.mark.parametrize("nap", [30, -30], ids=["willing", "ignoring every request to end"])
def test_after_the_grace_what_is_under_way_is_left_to_the_next_run(nap: int, folder: Path) -> None:
    fill(folder, 0, nap)
    with started(*BATCH, "--grace", "500ms") as process:
        await_file(folder / "begun", str(nap))
        began = time.monotonic()
        process.terminate()
        out, err = process.communicate(timeout=LIMIT)
        took = time.monotonic() - began
    assert process.returncode == 143, err
    assert 0.5 <= took < 5
    assert "for at most 0.5 s; a second signal ends it" in err
    assert "1 ok, 0 failed of 2 items" in out
    with Reader(folder / "run.db") as journal:
        assert journal.counts() == (1, 0)


def test_a_second_signal_does_not_wait(folder: Path) -> None:
    fill(folder, 30)
    with started(*BATCH) as process:
        await_file(folder / "begun")
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        while "finishing" not in process.stderr.readline():
            pass
        process.terminate()
        process.communicate(timeout=LIMIT)
    assert process.returncode == 130, "the first signal says why it ended"


def test_a_reader_that_has_stopped_reading_does_not_hold_up_the_end(folder: Path) -> None:
    fill(folder, 0, *["x"] * 50)
    with started(*BATCH, "--json", "--grace", "0") as process:
        await_file(folder / "begun")
        assert process.stdout is not None
        process.stdout.read(1000)
        process.terminate()
        assert process.wait(LIMIT) == 143


def test_a_hang_up_that_was_ignored_at_the_start_stays_ignored(folder: Path) -> None:
    """As `nohup` starts a command."""
    fill(folder, 0.5, 0)
    ignore = "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); "
    with subprocess.Popen(
        [COMMAND[0], "-c", ignore + "os.execv(sys.argv[1], sys.argv[1:])", *COMMAND, *BATCH],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment({}),
    ) as process:  # fmt: skip
        await_file(folder / "begun")
        process.send_signal(signal.SIGHUP)
        out, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 0
    assert "2 ok" in out


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
@pytest.mark.parametrize("verb", ["batch", "bench"])
def test_a_signal_ends_a_command_that_has_begun_nothing(
    verb: str, number: signal.Signals, code: int, folder: Path
) -> None:
    """The command exits by itself: the default disposition would not end process 1."""
    fill(folder, 0)
    batch = ("in.jsonl", "-o", "run.db") if verb == "batch" else ()
    with started(verb, "app.py:slow", *batch) as process:
        await_file(folder / "begun")
        process.send_signal(number)
        _, err = process.communicate(timeout=LIMIT)
    assert process.returncode == code
    assert "interrupted" in err
    assert "Traceback" not in err
    assert not (folder / "run.db").exists()
