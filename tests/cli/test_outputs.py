"""Files that a verb writes: never one that it reads, never half of one; and full disks."""

from __future__ import annotations

import json
import os
import shlex
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import COMMAND, LIMIT, Ended, environment

Run = Callable[..., Ended]


@pytest.fixture
def done(tmp_path: Path, run: Run) -> Path:
    """A working directory with a batch that is done, `run.db`."""
    (tmp_path / "app.py").write_text("def app():\n    return lambda item: item['n']\n")
    lines = [json.dumps({"id": str(n), "n": n}) + "\n" for n in range(5)]
    (tmp_path / "in.jsonl").write_text("".join(lines))
    ended = run("batch", "app.py:app", "in.jsonl", "-o", "run.db", "-j", "1")
    assert ended.code == 0, ended.stderr
    return tmp_path


def shell(line: str) -> Ended:
    done = subprocess.run(
        line.replace("procorch", shlex.join(COMMAND)), shell=True, capture_output=True,
        encoding="utf-8", timeout=LIMIT, env=environment({}), stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return Ended(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    "how",
    ["itself", "relative", "link", "chain", "hard link", "wal", "wal to be", "shm", "lock",
     "input", "folder"],
)  # fmt: skip
def test_an_output_that_is_read_is_refused(done: Path, run: Run, how: str) -> None:
    (done / "sub").mkdir()
    out = "out"
    match how:
        case "itself":
            out = "run.db"
        case "relative":
            out = "sub/../run.db"
        case "link":
            os.symlink("run.db", out)
        case "chain":
            os.symlink(done / "run.db", "sub/first")
            os.symlink("sub/first", out)
        case "hard link":
            os.link("run.db", out)
        case "wal":
            (done / "run.db-wal").touch()
            os.symlink("run.db-wal", out)
        case "wal to be":
            out = "sub/../run.db-wal"
        case "shm":
            out = "run.db-shm"
        case "lock":
            out = "run.db.lock"
        case "input":
            out = "in.jsonl"
        case "folder":
            out = "sub"
    before = (done / "run.db").read_bytes(), (done / "in.jsonl").read_bytes()
    ended = run("export", "run.db", "-o", out)
    assert ended.code == 2
    assert f"{out} cannot be written" in ended.stderr
    assert ((done / "run.db").read_bytes(), (done / "in.jsonl").read_bytes()) == before


def test_stdout_that_is_the_journal_is_refused(done: Path) -> None:
    before = (done / "run.db").read_bytes()
    ended = shell("procorch export run.db >> run.db")
    assert ended.code == 2
    assert "standard output cannot be written: it is the same file as run.db" in ended.stderr
    assert shell("procorch export run.db -o /dev/stdout >> run.db").code == 2
    assert (done / "run.db").read_bytes() == before


def test_a_file_is_replaced_and_keeps_its_mode_and_its_links(done: Path, run: Run) -> None:
    (done / "old").write_text("old")
    (done / "old").chmod(0o640)
    os.symlink("old", "latest")
    assert run("export", "run.db", "-o", "latest").code == 0
    assert len((done / "old").read_text().splitlines()) == 5
    assert stat.S_IMODE((done / "old").stat().st_mode) == 0o640
    assert (done / "latest").is_symlink()
    assert run("export", "run.db", "-o", "new").code == 0
    assert stat.S_IMODE((done / "new").stat().st_mode) == 0o666 & ~current_umask()
    assert not list(done.glob(".*.tmp"))


def current_umask() -> int:
    mask = os.umask(0o22)
    os.umask(mask)
    return mask


FILE_LIMIT = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))
from procorch.cli.main import main
sys.exit(main())
"""


def test_what_was_there_stays_when_the_new_file_cannot_be_completed(done: Path) -> None:
    (done / "out").write_text("old")
    ended = subprocess.run(
        [sys.executable, "-B", "-c", FILE_LIMIT, "export", "run.db", "-o", "out"],
        capture_output=True, encoding="utf-8", timeout=LIMIT, env=environment({}),
    )  # fmt: skip
    assert ended.returncode == 1
    assert ended.stderr == "Error: out cannot be written: File too large\n"
    assert (done / "out").read_text() == "old"
    assert not list(done.glob(".*.tmp"))


@pytest.mark.parametrize("out", ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "stdout"])
def test_standard_output_has_many_names(done: Path, out: str) -> None:
    os.symlink("/dev/stdout", "stdout")
    assert len(shell(f"procorch export run.db -o {out}").stdout.splitlines()) == 5
    (done / "log").write_text("before\n")
    assert shell(f"procorch export run.db -o {out} >> log").code == 0
    lines = (done / "log").read_text().splitlines()
    assert lines[0] == "before"
    assert len(lines) == 6


def test_pipes_and_devices_are_written_as_they_are(done: Path, run: Run) -> None:
    os.mkfifo("pipe")
    found: list[str] = []
    reader = threading.Thread(target=lambda: found.append((done / "pipe").read_text()))
    reader.start()
    assert run("export", "run.db", "-o", "pipe").code == 0
    reader.join(30)
    assert len(found[0].splitlines()) == 5
    assert stat.S_ISFIFO((done / "pipe").stat().st_mode)
    assert run("export", "run.db", "-o", "/dev/null").code == 0
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


FULL = (
    "export run.db > /dev/full",
    "export run.db -o /dev/full",
    "export run.db -o - > /dev/full",
    "show run.db --json > /dev/full",
    "show run.db 1 > /dev/full",
    "runs . --json > /dev/full",
    "batch app.py:app in.jsonl -o run.db --resume > /dev/full",
    "batch app.py:app in.jsonl -o new.db --json > /dev/full",
    "batch app.py:app in.jsonl -o new.db --dry-run > /dev/full",
)


@pytest.mark.parametrize("line", FULL)
def test_a_full_disk_behind_the_output_is_said_in_one_line(done: Path, line: str) -> None:
    ended = shell(f"procorch {line}")
    assert ended.code == 1
    last = ended.stderr.splitlines()[-1]
    assert "cannot be written: No space left on device" in last
    assert "Traceback" not in ended.stderr
    assert "Exception ignored" not in ended.stderr


def test_a_batch_whose_output_has_no_room_is_resumed(done: Path, run: Run) -> None:
    shell("procorch batch app.py:app in.jsonl -o new.db --json > /dev/full")
    ended = run("batch", "app.py:app", "in.jsonl", "-o", "new.db", "--resume")
    assert ended.code == 0, ended.stderr
    assert "5 ok, 0 failed of 5 items" in ended.stdout


def test_the_input_is_refused_from_another_folder_too(
    done: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    (done / "elsewhere").mkdir()
    monkeypatch.chdir(done / "elsewhere")
    before = (done / "in.jsonl").read_text()
    ended = run("export", "../run.db", "-o", "../in.jsonl")
    assert ended.code == 2
    assert "is the same file" in ended.stderr
    assert (done / "in.jsonl").read_text() == before


def test_a_dry_run_takes_an_empty_file_as_the_run_does(done: Path, run: Run) -> None:
    (done / "new.db").touch()
    for more in (["--dry-run"], []):
        ended = run("batch", "app.py:app", "in.jsonl", "-o", "new.db", *more)
        assert ended.code == 0, ended.stderr
