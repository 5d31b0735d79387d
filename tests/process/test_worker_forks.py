"""N21: a process that the agent's code forks is not a worker, whichever way its code ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from procorch import AgentOrchestrator, DefaultSupervisor, OrchestratedHandle, StartError

pytestmark = pytest.mark.fault

PATIENCE = 90.0
Start = Callable[..., OrchestratedHandle]


@pytest.fixture(params=["zygote", "spawn"])
def method(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("PROCORCH_START_METHOD", request.param)
    return str(request.param)


def forking() -> Any:
    """Each request names a way in which the child ends; the worker replies with its exit status."""
    import ctypes
    import multiprocessing
    import pty
    import threading

    import procorch

    def child_of(fork: Callable[[], int], then: Callable[[], Any]) -> Any:
        pid = fork()
        if pid == 0:
            return then()
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def fail() -> None:
        raise ValueError("in the child")

    def exec_missing() -> None:
        os.execvp("no-such-program", ["no-such-program"])

    def leave_twice() -> Any:
        # The grandchild returns, too.
        return child_of(os.fork, lambda: "grandchild")

    def in_thread() -> Any:
        seen: list[Any] = []

        def run() -> None:
            pid = os.fork()
            if pid:
                seen.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        return seen[0]

    def by_multiprocessing() -> Any:
        process = multiprocessing.get_context("fork").Process(target=fail)
        process.start()
        process.join()
        return process.exitcode

    def forbidden(act: Callable[[procorch.Context], Any]) -> Callable[[], Any]:
        def then() -> None:
            try:
                act(context)
            except RuntimeError as refused:
                os._exit(77 if "forked from the worker" in str(refused) else 78)
            os._exit(79)

        return lambda: child_of(os.fork, then)

    context = procorch.current()
    context.progress()
    ways: dict[str, Callable[[], Any]] = {
        "return": lambda: child_of(os.fork, lambda: "from the child"),
        "raise": lambda: child_of(os.fork, fail),
        "sys.exit": lambda: child_of(os.fork, lambda: sys.exit(5)),
        "os._exit": lambda: child_of(os.fork, lambda: os._exit(6)),
        "exec": lambda: child_of(os.fork, exec_missing),
        "forkpty": lambda: child_of(lambda: os.forkpty()[0], fail),
        "pty.spawn": lambda: os.waitstatus_to_exitcode(pty.spawn(["no-such-program"])),
        "twice": lambda: child_of(os.fork, leave_twice),
        "thread": in_thread,
        "multiprocessing": by_multiprocessing,
        "C": lambda: child_of(ctypes.CDLL(None).fork, lambda: "from the child"),
        "C raise": lambda: child_of(ctypes.CDLL(None).fork, fail),
        "emit": forbidden(lambda context: context.emit("x")),
        "ask": forbidden(lambda context: context.ask("a", "x")),
        "checkpoint": forbidden(lambda context: context.checkpoint("x")),
        "progress": forbidden(lambda context: context.progress()),
        "finish": forbidden(lambda context: context.finish()),
    }

    def handle(way: Any) -> Any:
        if isinstance(way, list):
            way = way[0].content[0].text
        return ("pid", os.getpid()) if way == "pid" else (way, ways[way]())

    return handle


STATUS = {
    "return": 0, "raise": 1, "sys.exit": 5, "os._exit": 6, "exec": 1, "forkpty": 1, "pty.spawn": 1,
    "twice": 0, "thread": 0, "multiprocessing": 1, "C": 0, "C raise": 1,
    "ask": 77, "checkpoint": 77, "progress": 77, "finish": 77,
}  # fmt: skip


def test_only_the_worker_answers(method: str, start: Start) -> None:
    handle = start(forking)
    pid = handle.pid
    for way, status in STATUS.items():
        assert handle.deliver(way, timeout=PATIENCE).result().output == (way, status)
    assert handle.deliver("pid", timeout=PATIENCE).result().output == ("pid", pid)


def test_only_the_worker_writes_to_a_reader(start: Start) -> None:
    stream = start(forking).stream("emit", timeout=PATIENCE)
    assert list(stream) == []
    assert stream.result().output == ("emit", 77)


def test_a_fork_holds_neither_socket_nor_page(method: str, start: Start) -> None:
    def factory() -> Any:
        def held() -> set[str]:
            links = set()
            for fd in os.listdir("/proc/self/fd"):
                try:
                    links.add(os.readlink(f"/proc/self/fd/{fd}"))
                except FileNotFoundError:
                    continue
            return {
                link for link in links if link.startswith(("socket:", "/memfd:procorch-status"))
            }

        def handle(_: Any) -> Any:
            own = held()
            reading, writing = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.write(writing, repr(held()).encode())
                os._exit(0)
            os.waitpid(pid, 0)
            return len(own), os.read(reading, 4096).decode()

        return handle

    own, of_fork = start(factory).deliver("x", timeout=PATIENCE).result().output
    assert own >= 2
    assert of_fork == "set()"


def test_a_fork_in_a_chunk_does_none_of_the_items_after_it(tmp_path: Path, method: str) -> None:
    done = tmp_path / "done"

    def factory() -> Any:
        def handle(item: int) -> tuple[int, int]:
            if item == 3:
                pid = os.fork()
                if pid:
                    os.waitpid(pid, 0)
            with done.open("a") as file:
                file.write(f"{os.getpid()} {item}\n")
            return item, os.getpid()

        return handle

    from procorch import AgentPool

    with AgentPool(factory, workers=1) as pool:
        results = list(pool.imap(range(8), chunksize=8))
    worker = results[0][1]
    assert results == [(item, worker) for item in range(8)]
    others = [line for line in done.read_text().splitlines() if not line.startswith(f"{worker} ")]
    assert [line.split()[1] for line in others] == ["3"]


def test_a_fork_in_a_coroutine_leaves_the_event_loop(method: str, start: Start) -> None:
    def factory() -> Any:
        import asyncio

        async def child_of(then: Callable[[], Any]) -> Any:
            pid = os.fork()
            if pid == 0:
                return await then()
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

        async def nothing() -> None:
            pass

        async def fail() -> None:
            raise ValueError

        async def handle(way: str) -> Any:
            if way == "task":
                return await asyncio.create_task(child_of(nothing))
            return await child_of(
                {"return": nothing, "raise": fail, "wait": lambda: asyncio.sleep(60)}[way]
            )

        return handle

    handle = start(factory)
    seen = {
        way: handle.deliver(way, timeout=PATIENCE).result().output
        for way in ("return", "raise", "wait", "task", "return")
    }
    assert seen == {"return": 0, "raise": 1, "wait": 1, "task": 1}


@pytest.mark.parametrize("where", ["factory", "ready", "close"])
def test_a_fork_outside_requests_is_no_worker(
    method: str, tmp_path: Path, orchestrator: Callable[..., AgentOrchestrator], where: str
) -> None:
    closed = tmp_path / "closed"

    def factory() -> Any:
        import atexit

        def fork(at: str) -> None:
            if at == where:
                pid = os.fork()
                if pid:
                    os.waitpid(pid, 0)

        def note(what: str) -> None:
            with closed.open("a") as file:
                file.write(f"{what} {os.getpid()}\n")

        class Agent:
            def ready(self) -> None:
                fork("ready")

            def __call__(self, message: Any) -> int:
                return os.getpid()

            def close(self) -> None:
                fork("close")

        atexit.register(note, "exit")
        fork("factory")
        return Agent()

    orch = orchestrator(supervisor=DefaultSupervisor())
    orch.add_agent("a", factory)
    handle = orch.spawn("a")
    pid = handle.pid
    assert [handle.deliver(n, timeout=PATIENCE).result().output for n in range(3)] == [pid] * 3
    orch.close()
    assert closed.read_text() == f"exit {pid}\n"


def test_a_start_that_fails_after_a_fork_fails_once(
    method: str, orchestrator: Callable[..., AgentOrchestrator]
) -> None:
    def factory() -> Any:
        pid = os.fork()
        if pid == 0:
            raise ValueError("in the child")
        raise ValueError(f"child exited with {os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}")

    orch = orchestrator(supervisor=DefaultSupervisor())
    orch.add_agent("a", factory)
    with pytest.raises(StartError, match="child exited with 1"):
        orch.spawn("a")


def test_a_child_that_fails_says_so_and_a_crash_in_it_is_not_the_workers(
    method: str, orchestrator: Callable[..., AgentOrchestrator], tmp_path: Path
) -> None:
    errors = tmp_path / "errors"

    def factory() -> Any:
        import ctypes
        import signal

        def handle(way: str) -> Any:
            pid = os.fork()
            if pid == 0:
                # Whatever number the page had is now this file's.
                os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
                files = [
                    os.open(errors.with_name(f"f{n}"), os.O_RDWR | os.O_CREAT) for n in range(9)
                ]
                if way == "segfault":
                    ctypes.string_at(0)
                raise ValueError(f"{len(files)} files")
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            return code == -signal.SIGSEGV, [
                errors.with_name(f"f{n}").stat().st_size for n in range(9)
            ]

        return handle

    orch = orchestrator(supervisor=DefaultSupervisor())
    orch.add_agent("a", factory)
    handle = orch.spawn("a")
    assert handle.deliver("raise", timeout=PATIENCE).result().output == (False, [0] * 9)
    assert "ValueError: 9 files" in errors.read_text()
    assert handle.deliver("segfault", timeout=PATIENCE).result().output == (True, [0] * 9)
    assert "Segmentation fault" in errors.read_text()
