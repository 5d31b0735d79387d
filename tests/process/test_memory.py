"""What counts against a memory limit: what a process and its descendants hold for themselves."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from procorch import AgentOrchestrator, AgentPool, MemoryLimitExceeded, memory
from procorch.runtime.sampler import Sampler

MIB = 1 << 20
Hold = Callable[..., int]

HOLD = """
import mmap, os, sys
{code}
print(flush=True)
sys.stdin.read()
"""


@pytest.fixture
def hold() -> Iterator[Hold]:
    """Starts a process that runs some code and then stays as it is; returns its pid."""
    running: list[subprocess.Popen[bytes]] = []

    def start(code: str, *args: str) -> int:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD.format(code=code), *args],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        running.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"\n", "it has failed"
        return process.pid

    yield start
    for process in running:
        process.communicate(timeout=30)


def fork(times: int) -> str:
    """Code for a process that forks; its children end with it."""
    child = "if os.fork() == 0:\n        sys.stdin.read()\n        os._exit(0)"
    return f"for _ in range({times}):\n    {child}"


def test_pages_that_are_shared_after_a_fork_count_once(hold: Hold) -> None:
    pid = hold(f"kept = b'x' * {60 * MIB}\n" + fork(3))
    assert len(memory.family(pid)) == 4
    assert sum(map(memory.upper_bound, memory.family(pid))) > 240 * MIB
    assert 60 * MIB < memory.held(pid, 100 * MIB) < 100 * MIB


def test_a_page_that_a_child_has_written_counts_again(hold: Hold) -> None:
    wrote = fork(1).replace("sys.stdin", f"kept[::4096] = b'y' * {60 * 256}; sys.stdin")
    pid = hold(f"kept = bytearray({60 * MIB})\nkept[::4096] = b'x' * {60 * 256}\n" + wrote)
    child = memory.family(pid)[1]
    while memory.share(child, 200 * MIB) < 60 * MIB:
        os.stat(f"/proc/{child}")  # it must not have ended
    assert memory.held(pid, 100 * MIB) > 120 * MIB


def test_pages_of_a_mapped_file_do_not_count(hold: Hold, tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(bytes(100 * MIB))
    pid = hold(
        "m = mmap.mmap(os.open(sys.argv[1], os.O_RDONLY), 0, prot=mmap.PROT_READ)\nsum(m[::4096])",
        str(path),
    )
    assert memory.held(pid, 0) < 50 * MIB


def test_shared_memory_counts(hold: Hold) -> None:
    pid = hold(f"m = mmap.mmap(-1, {100 * MIB})\nm[::4096] = b'x' * {100 * 256}\n" + fork(1))
    assert 100 * MIB < memory.held(pid, 0) < 150 * MIB


def test_a_process_that_has_ended_holds_nothing(hold: Hold) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert memory.held(ended.pid, 0) == 0


def test_what_cannot_be_looked_into_counts_as_the_cheap_way_says() -> None:
    assert memory.share(1 << 22, 5 * MIB) == 5 * MIB  # there is no such process


def test_only_what_may_be_too_much_is_looked_into(
    hold: Hold, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands of small descendants cost their cheap look, and no more."""
    asked: list[int] = []
    real = memory.share
    monkeypatch.setattr(memory, "share", lambda pid, most: asked.append(pid) or real(pid, most))
    pid = hold(f"kept = b'x' * {60 * MIB}\n" + fork(20))
    memory.held(pid, 2000 * MIB)
    assert asked == []
    memory.held(pid, 1200 * MIB)
    assert 0 < len(asked) < 5
    assert set(asked) <= set(memory.family(pid))


def test_a_child_of_an_agent_counts_and_its_figure_is_told() -> None:
    def factory():
        import subprocess
        import sys

        code = f"kept = b'x' * {200 * MIB}; import threading; threading.Event().wait()"
        return lambda item: subprocess.run([sys.executable, "-c", code], check=False)

    with AgentOrchestrator() as orch:
        orch.add_agent("a", factory, memory_limit="100M")
        error = orch.spawn("a").deliver(0).exception()
    assert isinstance(error, MemoryLimitExceeded)
    assert error.limit is not None
    assert error.observed is not None
    assert error.limit == 100 * MIB < error.observed < 300 * MIB


def test_a_grandchild_that_was_left_behind_counts() -> None:
    """The worker adopts it."""

    def factory():
        import subprocess
        import sys
        import threading

        code = f"kept = b'x' * {200 * MIB}; import threading; threading.Event().wait()"
        fork = "import os, sys; os.fork() or os.execv(sys.executable, sys.argv[1:])"

        def handle(item):
            subprocess.run([sys.executable, "-c", fork, sys.executable, "-c", code], check=True)
            threading.Event().wait()

        return handle

    with AgentOrchestrator() as orch:
        orch.add_agent("a", factory, memory_limit="100M")
        assert isinstance(orch.spawn("a").deliver(0).exception(), MemoryLimitExceeded)


def test_a_worker_that_maps_a_file_is_not_recycled_for_it(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(bytes(200 * MIB))

    def factory(path: str = str(path)):
        import mmap
        import os

        kept = []

        def handle(item):
            m = mmap.mmap(os.open(path, os.O_RDONLY), 0, prot=mmap.PROT_READ)
            kept.append((m, sum(m[::4096])))
            return os.getpid()

        return handle

    with AgentPool(factory, 1, max_memory="100M", memory_limit="150M") as pool:
        assert len(set(pool.map(range(5), timeout=30))) == 1


@pytest.mark.queue  # what was sent ahead goes on in the same worker
def test_a_worker_whose_child_has_grown_is_recycled() -> None:
    def factory():
        import os
        import subprocess
        import sys

        code = f"import sys; kept = b'x' * {100 * MIB}; print(flush=True); sys.stdin.read()"
        pipe = subprocess.PIPE
        started = []

        def handle(item):
            started.append(subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe))
            started[-1].stdout.readline()
            return os.getpid()

        return handle

    with AgentPool(factory, 1, max_memory="80M") as pool:
        assert len(set(pool.map(range(3), timeout=30))) == 3


def test_what_was_seen_of_a_worker_that_has_ended_meanwhile_is_not_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its number may be that of another process by then."""
    told: list[int] = []
    sampler = Sampler(lambda key, generation, seen: told.append(key))
    sampler._closed = True  # the thread that `watch` starts ends at once
    for key in (1, 2):
        sampler.watch(key, 1, os.getpid(), 1)
    looks = iter([dict(sampler._watched), None])
    monkeypatch.setattr(sampler, "_next", lambda wait: next(looks))
    monkeypatch.setattr(memory, "held", lambda pid, limit: sampler.forget(1, 1) or 2)
    sampler._run()
    assert told == [2]


def test_a_look_that_takes_long_makes_the_next_one_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """At most a tenth of one core is used."""
    spent = 0.0
    waits: list[float] = []
    sampler = Sampler(lambda key, generation, seen: None)

    def look(pid: int, limit: int) -> int:
        nonlocal spent
        spent += 1.0
        return 0

    def next_(wait: float) -> object:
        waits.append(wait)
        return {(1, 1): sampler._watched[1, 1]} if len(waits) < 3 else None

    sampler._closed = True  # the thread that `watch` starts ends at once
    sampler.watch(1, 1, os.getpid(), 1)
    monkeypatch.setattr(memory, "held", look)
    monkeypatch.setattr("time.thread_time", lambda: spent)
    monkeypatch.setattr(sampler, "_next", next_)
    sampler._run()
    assert waits == [0.05, 9.0, 9.0]
