"""Disks that take nothing: at the start one line and exit code 2, later they are waited for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

LIMITED = """
import resource, sys
from procorch import run_batch

def long():
    return lambda n: "v" * 3000

_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, most))
count, troubles = 0, []
with run_batch(long, range(150), out="run.db", workers=1) as run:
    while not run.over:
        count += len(run.step(0.1))
        if run.trouble and not troubles:
            troubles.append(run.trouble)
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
print(count, run.progress().ok, run.progress().ended, *troubles)
"""

STARTING = """
import resource, sys
from procorch.cli.main import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2)
sys.exit(main())
"""


def python(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    # -B: where files cannot be written whole, Python would leave half a .pyc file for all others.
    return subprocess.run(
        [sys.executable, "-B", "-c", script, *arguments],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=50,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "app.py").write_text("def app():\n    return lambda item: item\n")
    (tmp_path / "in.txt").write_text("a\nb\n")
    return tmp_path


def test_a_limit_on_the_size_of_files_is_waited_for(folder: Path) -> None:
    """As a quota is: to SQLite both are errors of writing, and no full disk."""
    ended = python(LIMITED)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == (
        "150 150 finished run.db cannot be written at the moment: files may have 200000 bytes "
        "(ulimit -f)\n"
    )
    assert {path.name for path in folder.iterdir()} == {"app.py", "in.txt", "run.db"}


OPENING = """
import resource, sys
from procorch import JournalError, run_batch
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)

def app():
    return lambda item: item

def attempt(size, **how):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
    try:
        with run_batch(app, [1, 2], out="run.db", workers=1, **how) as run:
            print(run.summary().ok)
    except JournalError as error:
        print(error)

attempt(int(sys.argv[1]))
attempt(most)
attempt(int(sys.argv[1]), resume=True)
attempt(most, resume=True)
"""


@pytest.mark.parametrize("size", ["0", "100"])
def test_a_journal_without_room_is_named(folder: Path, size: str) -> None:
    ended = python(OPENING, size)
    assert ended.returncode == 0, ended.stderr
    first, whole, again, resumed = ended.stdout.splitlines()
    assert first.startswith("run.db")
    assert again.startswith("run.db")
    assert (whole, resumed) == ("2", "2")
    assert not ended.stderr


@pytest.mark.parametrize("size", ["0", "100"])
def test_a_batch_that_starts_without_room_says_so_in_one_line(folder: Path, size: str) -> None:
    ended = python(STARTING, size, "batch", "app.py:app", "in.txt", "-o", "run.db")
    assert ended.returncode == 2
    assert ended.stderr.startswith("Error: ")
    assert ended.stderr.count("\n") == 1
    assert {path.name for path in folder.iterdir()} - {"__pycache__"} == {"app.py", "in.txt"}


@pytest.mark.parametrize("size", ["0", "100"])
def test_a_batch_that_resumes_without_room_says_so_in_one_line(folder: Path, size: str) -> None:
    how = ("batch", "app.py:app", "in.txt", "-o", "run.db")
    assert python(STARTING, "1000000000", *how).returncode == 0
    before = (folder / "run.db").read_bytes()
    ended = python(STARTING, size, *how, "--resume")
    assert ended.returncode == 2
    assert ended.stderr.startswith("Error: ")
    assert ended.stderr.count("\n") == 1
    assert (folder / "run.db").read_bytes() == before
    assert python(STARTING, "1000000000", *how, "--resume").returncode == 0


def test_a_lock_that_is_no_file_is_named(folder: Path) -> None:
    os.mkdir("run.db.lock")
    ended = python(STARTING, "1000000000", "batch", "app.py:app", "in.txt", "-o", "run.db")
    assert ended.returncode == 2
    assert ended.stderr == (
        "Error: run.db cannot be written: Is a directory (its lock, run.db.lock)\n"
    )


NO_THREADS = """
import sys, threading
from procorch.cli.main import main
start = threading.Thread.start
def refused(thread):
    if thread.name == sys.argv[-1]:
        raise RuntimeError("can't start new thread")
    start(thread)
threading.Thread.start = refused
sys.exit(main(sys.argv[1:-1]))
"""


@pytest.mark.parametrize("name", ["procorch-monitor", "procorch-policy", "procorch-callbacks"])
def test_a_thread_that_does_not_start_is_said_in_one_line(folder: Path, name: str) -> None:
    ended = python(NO_THREADS, "batch", "app.py:app", "in.txt", "-o", "run.db", name)
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.startswith("Error: the system grants no more memory, processes or threads")
    assert ended.stderr.count("\n") == 1
