"""What the tests of the fault matrix share.

``docs/reference/fault-matrix.md`` says which row is where.
Each of them runs over both start methods unless it says otherwise, and must leave behind neither
shared memory nor temporary files, beside what `nothing_left_behind` looks for.
"""

from __future__ import annotations

import ctypes
import os
import select
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from procorch import OrchestratedHandle
from tests.process.conftest import (
    gate,
    host,
    orchestrator,
    run_python,
    start,
    watched,
)

__all__ = ["gate", "host", "orchestrator", "run_python", "start", "watched"]

SHARED_MEMORY = Path("/dev/shm")
_PR_SET_CHILD_SUBREAPER = 36


@pytest.fixture(params=["zygote", "spawn"])
def start_method(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both start methods, for this process and for programs that the test runs."""
    monkeypatch.setenv("PROCORCH_START_METHOD", request.param)
    return str(request.param)


@pytest.fixture(autouse=True)
def no_memory_and_no_files_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Fail a test that leaves shared memory or temporary files.

    A directory of its own for temporary files, so what others do meanwhile is not blamed on it.
    """
    files = tmp_path / "temporary"
    files.mkdir()
    monkeypatch.setenv("TMPDIR", str(files))
    monkeypatch.setattr(tempfile, "tempdir", None)
    named, mapped = _shared_memory(), _mapped()
    yield
    left = [f"temporary file {path}" for path in files.rglob("*")]
    left += [f"shared memory {name}" for name in sorted(_kept(_shared_memory() - named))]
    if (more := _mapped() - mapped) > 0:
        left.append(f"{more} mappings of a status page or payload")
    if left:
        pytest.fail("the test left behind:\n  " + "\n  ".join(left), pytrace=False)


def _kept(names: set[str]) -> set[str]:
    """Those that stay: other tests that run at the same time have some for a moment."""
    until = time.monotonic() + 90
    while (names := names & _shared_memory()) and time.monotonic() < until:
        time.sleep(0.05)
    return names


def _shared_memory() -> set[str]:
    """Names in shared memory; but for semaphores, of which procorch has none: other tests have."""
    if not SHARED_MEMORY.is_dir():
        return set()
    return {name for name in os.listdir(SHARED_MEMORY) if not name.startswith("sem.")}


def _mapped() -> int:
    """How often this process maps memory of procorch's."""
    return Path("/proc/self/maps").read_text().count("memfd:procorch")


@pytest.fixture
def zygote_of() -> Callable[[OrchestratedHandle], psutil.Process]:
    """The process that an agent's worker was forked from."""

    def find(handle: OrchestratedHandle) -> psutil.Process:
        parent = psutil.Process(handle.pid).parent()
        assert parent is not None
        assert parent.pid != os.getpid()
        return parent

    return find


class Orphanage:
    """This process as the one that orphans below it come to, so none of them gets out of sight."""

    def __init__(self) -> None:
        self._here = psutil.Process()
        self._before = set(self._here.children(recursive=True))

    def empty(self, within: float) -> list[str]:
        """What is still below this process ``within`` seconds; its zombies are reaped."""
        deadline = time.monotonic() + within
        while True:
            left = set(self._here.children(recursive=True)) - self._before
            alive = [process for process in left if not self._reaped(process)]
            if not alive or time.monotonic() > deadline:
                return [_described(process) for process in alive]
            self._await_one(alive[0], deadline)

    def _reaped(self, process: psutil.Process) -> bool:
        try:
            if process.status() != psutil.STATUS_ZOMBIE:
                return False
            if process.ppid() == self._here.pid:
                os.waitpid(process.pid, 0)
                return True
        except (psutil.NoSuchProcess, ChildProcessError):
            return True
        return False

    @staticmethod
    def _await_one(process: psutil.Process, deadline: float) -> None:
        try:
            fd = os.pidfd_open(process.pid)
        except ProcessLookupError:
            return
        try:
            select.select([fd], [], [], max(0.0, deadline - time.monotonic()))
        finally:
            os.close(fd)


def _described(process: psutil.Process) -> str:
    try:
        return f"{process.pid} {process.status()} {' '.join(process.cmdline())[:100]}"
    except psutil.Error:
        return f"{process.pid}"


@pytest.fixture
def orphanage() -> Iterator[Callable[[], Orphanage]]:
    """Begin to look after everything that is started from now on, however often it forks."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    yield Orphanage
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def next_of(stream: Any, kind: type) -> Any:
    """The next event of that kind."""
    for event in stream:
        if isinstance(event, kind):
            return event
    raise AssertionError(f"the stream ended without {kind.__name__}")
