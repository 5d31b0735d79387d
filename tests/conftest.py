"""Fixtures of the whole suite.

`nothing_left_behind` closes every test that starts real processes: the test fails when it leaves a
process, a zombie, a thread of procorch or a descriptor that was not there before it. What is merely
on its way out is given `PATIENCE` seconds, spent waiting for the exit itself, never polling.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import select
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil
import pytest

from procorch.runtime.direct import Direct
from procorch.supervision import dispatch, requests
from procorch.supervision.settings import AgentSettings

TESTS = Path(__file__).resolve().parent
GUARDED = {
    "process", "faults", "pool", "executor", "measure", "cli", "batch", "llm", "benchmarks",
    "daemon",
}  # fmt: skip
PATIENCE = 20.0  # seconds
DESCRIPTORS = Path("/proc/self/fd")

# These need packages that only some environments of tox install.
_NEEDED = {
    "notebook": ("nbclient",),
    "llm": ("pydantic_ai", "agents"),
    "peers": ("pyperf",),
    "ray": ("ray",),
    "typing": ("pyright",),
}
collect_ignore = [
    room for room, needs in _NEEDED.items() if not all(map(importlib.util.find_spec, needs))
]

# A worker gets the sys.path of its parent and imports test modules by name: tests.process.test_x.
# Appended, so that an installed procorch is the one under test, not the source beside the tests.
if str(TESTS.parent) not in sys.path:
    sys.path.append(str(TESTS.parent))


@pytest.fixture(autouse=True)
def another_way(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """`tox -e ways`: requests take another way through procorch, and come to the same.

    ``PROCORCH_TESTS_PREFETCH`` is the number to which ``prefetch`` is fixed for all agents that say
    nothing of it and run one request at a time, but for tests about what waits in the queue itself
    (marked so); with ``PROCORCH_TESTS_DIRECT=0`` callers that wait leave everything to the monitor;
    with ``PROCORCH_TESTS_SHORT=0`` the machine takes the long path of each request.
    """
    prefetch = os.environ.get("PROCORCH_TESTS_PREFETCH")
    if prefetch is not None and request.node.get_closest_marker("queue") is None:
        of, more = AgentSettings.of, {"prefetch": int(prefetch)}
        monkeypatch.setattr(
            AgentSettings,
            "of",
            lambda given: of(dict(given) if "concurrency" in given else more | dict(given)),
        )
    if os.environ.get("PROCORCH_TESTS_DIRECT") == "0":
        monkeypatch.setattr(Direct, "call", lambda self, request, reply: None)
    if os.environ.get("PROCORCH_TESTS_SHORT") == "0":
        monkeypatch.setattr(dispatch, "_idle_member", lambda core, request: None)
        monkeypatch.setattr(requests, "_is_healthy", lambda core, a, number: False)


@pytest.fixture(autouse=True)
def nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test under one of the `GUARDED` directories that leaves anything behind.

    Being autouse it is set up before the test's own fixtures and torn down after them, so an
    orchestrator that a fixture closes counts as closed. What outlived an earlier, failed test is
    not blamed on this one.
    """
    if not _is_guarded(request.path):
        yield
        return
    processes, threads, descriptors = set(_children()), set(_threads()), _descriptors()
    yield
    deadline = time.monotonic() + PATIENCE
    # In this order: a thread of procorch may still be reaping a child, and both hold descriptors.
    left_threads = _outlasting_threads(threads, deadline)
    left_processes = _outlasting_processes(processes, deadline)
    left_descriptors = _new_descriptors(descriptors)
    complaints = [f"thread {thread.name}" for thread in left_threads]
    complaints += [f"process {_describe(process)}" for process in left_processes]
    complaints += [f"descriptor {number} -> {target}" for number, target in left_descriptors]
    _remove(left_processes)
    if complaints:
        pytest.fail("the test left behind:\n  " + "\n  ".join(complaints), pytrace=False)


def _is_guarded(path: Path) -> bool:
    """Whether the test file `path` lies in one of the `GUARDED` directories."""
    inside = path.is_relative_to(TESTS)
    return inside and path.relative_to(TESTS).parts[0] in GUARDED


def _children() -> list[psutil.Process]:
    """Every descendant of this process, zombies included."""
    return psutil.Process().children(recursive=True)


def _threads() -> list[threading.Thread]:
    """The live threads that procorch started in this process."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("procorch-")]


def _descriptors() -> dict[int, str]:
    """The open descriptors of this process, each with what it refers to; none without /proc."""
    found = {}
    if DESCRIPTORS.is_dir():
        for name in os.listdir(DESCRIPTORS):
            # The descriptor that lists the directory is in the list, and closed by now.
            with contextlib.suppress(FileNotFoundError):
                found[int(name)] = os.readlink(DESCRIPTORS / name)
    return found


def _outlasting_threads(
    before: Iterable[threading.Thread], deadline: float
) -> list[threading.Thread]:
    """The threads of procorch that are not in `before` and still run at `deadline`."""
    new = set(_threads()).difference(before)
    for thread in new:
        # Another thread may be about to start it, and until then it cannot be joined.
        while thread in _threads() and not thread.is_alive() and time.monotonic() < deadline:
            time.sleep(0.001)
        if thread.is_alive():
            thread.join(max(0.0, deadline - time.monotonic()))
    return [thread for thread in new if thread.is_alive()]


def _outlasting_processes(
    before: Iterable[psutil.Process], deadline: float
) -> list[psutil.Process]:
    """The descendants that are not in `before` and have not gone by `deadline`.

    A zombie is not waited for: no thread that could reap it is left, and nothing announces a
    reaping. It is looked for once more, because a listing is not atomic: a worker may be listed
    just before its parent takes it along.
    """
    while True:
        new = set(_children()).difference(before)
        running = [process for process in new if not _is_zombie(process)]
        if not running or time.monotonic() >= deadline:
            return list(new.intersection(_children()))
        for process in running:
            _await_exit(process, deadline)


def _await_exit(process: psutil.Process, deadline: float) -> None:
    """Wait for `process` to end, until `deadline`.

    Through a pidfd where there is one: it does not reap, so a child that procorch forgot to reap
    is still seen.
    """
    if not hasattr(os, "pidfd_open"):
        psutil.wait_procs([process], timeout=max(0.0, deadline - time.monotonic()))
        return
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(process.pid)
        try:
            if process.is_running():  # else the number belongs to another process by now
                poll = select.poll()
                poll.register(descriptor, select.POLLIN)
                poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
        finally:
            os.close(descriptor)


def _is_zombie(process: psutil.Process) -> bool:
    """Whether `process` has ended and waits to be reaped, or is gone altogether."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _new_descriptors(before: dict[int, str]) -> list[tuple[int, str]]:
    """The descriptors that are not in `before`; 0, 1 and 2 are pytest's to redirect."""
    after = _descriptors()
    return [
        (number, target)
        for number, target in sorted(after.items())
        if number not in before or (number > 2 and before[number] != target)
    ]


def _describe(process: psutil.Process) -> str:
    """The process as a person looks for it: number, state, parent and command line."""
    try:
        state, parent, name = process.status(), process.ppid(), process.name()
        with contextlib.suppress(psutil.Error):
            name = " ".join(process.cmdline()) or name
    except psutil.Error:
        return f"{process.pid} (gone since)"
    return f"{process.pid} ({state}, child of {parent}): {name}"


def _remove(processes: list[psutil.Process]) -> None:
    """Kill and reap what a failed test left, so that it disturbs no other."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=PATIENCE)
