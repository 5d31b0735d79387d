"""A program of one request, without a worker around it."""

from __future__ import annotations

import os
import sys

from procorch.agents.child_program import CHUNK, ChildProgram


def run_when_ended(code: str) -> tuple[int, bytes, bytes]:
    """Start Python code, wait until it has ended, and only then feed and read it."""
    out: list[bytes] = []
    err: list[bytes] = []
    argv = [sys.executable, "-c", code]
    child = ChildProgram(sys.executable, argv, os.environ, b"input", out.append, err.append)
    try:
        child.start()
        assert child.pid is not None
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        ended = child.run()
    finally:
        child.end(0)
    return ended.code, b"".join(out), b"".join(err)


def test_all_that_was_written_before_the_end_is_read() -> None:
    code = (
        "import fcntl, os; fcntl.fcntl(1, fcntl.F_SETPIPE_SZ, 1 << 20); "
        "os.write(1, b'x' * 500_000); os.write(2, b'last'); os._exit(3)"
    )
    assert 2 * CHUNK < 500_000
    assert run_when_ended(code) == (3, b"x" * 500_000, b"last")


def test_nothing_is_left_open() -> None:
    before = os.listdir("/proc/self/fd")
    run_when_ended("pass")
    assert os.listdir("/proc/self/fd") == before


def test_a_program_that_never_started_leaves_nothing_open() -> None:
    before = os.listdir("/proc/self/fd")
    child = ChildProgram("/none", ["none"], os.environ, b"", print, print)
    try:
        child.start()
    except FileNotFoundError:
        child.end(0)
    assert os.listdir("/proc/self/fd") == before
