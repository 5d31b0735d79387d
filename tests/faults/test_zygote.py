"""The zygote: what becomes of the agents when it dies, is stopped, runs out of something (row 14,
row 21), and of everything below it when the program or a worker dies (rows 10, 13)."""

from __future__ import annotations

import logging
import os
import resource
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from procorch import (
    AgentCrashed,
    AgentOrchestrator,
    DefaultSupervisor,
    OrchestratedHandle,
    Shutdown,
    StartError,
)
from procorch.supervision.notices import Crashed, Ready, Stopped
from tests.faults.conftest import next_of

pytestmark = pytest.mark.fault

AT_ONCE = 2.0  # seconds
QUICK = Shutdown(cooperate=0.05, interrupt=0.05, grace=0.2, terminate=0.2, kill=0.5)

Make = Callable[..., AgentOrchestrator]
Start = Callable[..., OrchestratedHandle]
GateMaker = Callable[[], Any]
Factory = Callable[[], Any]
ZygoteOf = Callable[[OrchestratedHandle], psutil.Process]
Watch = Callable[..., Any]


@pytest.fixture(autouse=True)
def zygote(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROCORCH_START_METHOD", "zygote")


@pytest.fixture
def mortal() -> Factory:
    """An agent that leaves with the code it is sent, and answers all else with its pid."""

    def factory():
        import os

        def handle(x):
            if isinstance(x, int):
                os._exit(x)
            return os.getpid()

        return handle

    return factory


# It dies


def test_row_14_a_zygote_that_is_killed_is_replaced_and_all_its_agents_with_it(
    orchestrator: Make, gate: GateMaker, zygote_of: ZygoteOf
) -> None:
    begun, never = gate(), gate()
    tell, wait = begun.tell, never.wait

    def factory():
        import os

        def handle(x):
            if x == "work":
                tell()
                wait()
            return os.getpid()

        return handle

    orch = orchestrator(supervisor=DefaultSupervisor())
    for name in "abc":
        orch.add_agent(name, factory)
    handles = [orch.spawn(name) for name in "abc"]
    streams = [orch.monitor(name) for name in "abc"]
    zygote = zygote_of(handles[0])
    assert [zygote_of(handle) for handle in handles] == [zygote] * 3
    working = handles[0].deliver("work")
    begun.line()
    queued = handles[0].deliver("later")

    zygote.kill()

    why = f"its zygote (pid {zygote.pid}) was killed by SIGKILL"
    error = working.exception(timeout=AT_ONCE)
    assert isinstance(error, AgentCrashed)
    assert why in str(error)
    assert error.may_have_executed
    for stream in streams:
        crash = next_of(stream, Crashed).error
        assert why in str(crash)
    assert queued.result().output == handles[0].pid
    assert {handle.deliver("go").result().metrics.generation for handle in handles} == {2}
    successor = zygote_of(handles[0])
    assert [zygote_of(handle) for handle in handles] == [successor] * 3
    assert successor != zygote


def test_row_14_it_may_be_killed_again_and_again(
    orchestrator: Make, mortal: Factory, zygote_of: ZygoteOf
) -> None:
    orch = orchestrator(supervisor=DefaultSupervisor())
    orch.add_agent("a", mortal)
    handle = orch.spawn("a")
    for generation in range(2, 7):
        stream = orch.monitor("a")
        killed = zygote_of(handle)
        killed.kill()
        # Sent before, while or after the death is seen: each gets an outcome.
        replies = [handle.deliver("go") for _ in range(5)]
        assert next_of(stream, Ready).generation == generation
        for reply in replies:
            assert isinstance(reply.exception(), AgentCrashed | None)
        assert handle.deliver("go").result().output == handle.pid
        assert zygote_of(handle) != killed
        stream.close()


def test_row_14_a_zygote_that_dies_during_a_start_fails_that_start_with_the_cause(
    orchestrator: Make, gate: GateMaker
) -> None:
    building, never = gate(), gate()
    tell, wait = building.tell, never.wait

    def factory():
        import os

        tell(os.getppid())
        wait()

    orch = orchestrator()
    orch.add_agent("a", factory)
    orch.spawn("a", wait=False)
    stream = orch.monitor("a")
    zygote = psutil.Process(int(building.line()))
    zygote.kill()
    error = next_of(stream, Stopped).error
    assert isinstance(error, StartError)
    assert f"its zygote (pid {zygote.pid}) was killed by SIGKILL" in str(error)


# It is stopped


def test_row_14_a_stopped_zygote_blocks_nothing(
    orchestrator: Make, mortal: Factory, zygote_of: ZygoteOf
) -> None:
    orch = orchestrator(supervisor=DefaultSupervisor())
    orch.add_agent("dying", mortal, shutdown=QUICK)
    orch.add_agent("living", mortal)
    orch.add_agent("late", mortal, start_timeout=0.3, shutdown=QUICK)
    dying, living = orch.spawn("dying"), orch.spawn("living")
    zygote = zygote_of(living)
    zygote.suspend()
    try:
        deadly = dying.deliver(7)
        before = time.monotonic()
        with pytest.raises(StartError, match=r"not ready within 0\.3 s"):
            orch.spawn("late")
        assert time.monotonic() - before < 5
        error = deadly.exception(timeout=5)
        assert isinstance(error, AgentCrashed)
        assert error.may_have_executed
        assert living.deliver("go").result(timeout=AT_ONCE).output == living.pid
    finally:
        zygote.resume()
    orch.add_agent("new", mortal)
    assert orch.spawn("new").deliver("go").result().metrics.generation == 1


def test_row_14_close_does_not_wait_for_a_stopped_zygote(
    orchestrator: Make, mortal: Factory, zygote_of: ZygoteOf, watched: Watch
) -> None:
    orch = orchestrator()
    orch.add_agent("a", mortal, shutdown=QUICK)
    handle = orch.spawn("a")
    zygote = zygote_of(handle)
    both = watched(zygote.pid, handle.pid)
    zygote.suspend()
    before = time.monotonic()
    orch.close(timeout=1)
    assert time.monotonic() - before < 10
    assert both.alive(within=0) == []


# It runs out of something


def test_row_21_a_zygote_without_descriptors_refuses_a_start_and_lives(
    orchestrator: Make, mortal: Factory, zygote_of: ZygoteOf
) -> None:
    orch = orchestrator(supervisor=DefaultSupervisor())
    orch.add_agent("a", mortal)
    orch.add_agent("b", mortal)
    handle = orch.spawn("a")
    zygote = zygote_of(handle)
    limit = resource.prlimit(zygote.pid, resource.RLIMIT_NOFILE)
    # Room for what it has, and for none of the two descriptors that come with a command.
    resource.prlimit(zygote.pid, resource.RLIMIT_NOFILE, (lowest_free_fd(zygote), limit[1]))
    with pytest.raises(StartError, match="no descriptors left in the zygote"):
        orch.spawn("b")
    # A death is reaped and told all the same; its replacement is refused until there is room.
    error = handle.deliver(7).exception()
    assert isinstance(error, AgentCrashed)
    assert error.exitcode == 7
    resource.prlimit(zygote.pid, resource.RLIMIT_NOFILE, limit)
    assert handle.deliver("go").exception() is None or handle.is_done()
    survivor = orch.spawn("b")
    assert survivor.deliver("go").result().output == survivor.pid
    assert zygote_of(survivor) == zygote


def lowest_free_fd(process: psutil.Process) -> int:
    taken = {int(name) for name in os.listdir(f"/proc/{process.pid}/fd")}
    return min(set(range(len(taken) + 1)) - taken)


def test_row_21_a_refused_fork_is_a_start_error_and_tried_again(
    orchestrator: Make,
    mortal: Factory,
    zygote_of: ZygoteOf,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The module preloaded has ``os.fork`` refuse: what limits processes does not bind root."""
    refuse = tmp_path / "refuse"
    monkeypatch.setenv("PROCORCH_TEST_REFUSE", str(refuse))
    orch = orchestrator(supervisor=DefaultSupervisor(), preload=["tests.faults.refusing"])
    orch.add_agent("a", mortal, max_restarts=100)
    orch.add_agent("b", mortal)
    handle = orch.spawn("a")
    zygote = zygote_of(handle)
    refuse.touch()
    with pytest.raises(StartError, match="Resource temporarily unavailable"):
        orch.spawn("b")
    stream = orch.monitor("a")
    error = handle.deliver(7).exception()
    assert isinstance(error, AgentCrashed)
    assert error.exitcode == 7
    refuse.unlink()
    next_of(stream, Ready)
    assert handle.deliver("go").result().output == handle.pid
    assert zygote_of(handle) == zygote


# What it preloads


def preloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, source: str) -> None:
    (tmp_path / f"{name}.py").write_text(textwrap.dedent(source))
    monkeypatch.syspath_prepend(str(tmp_path))


def test_a_module_that_does_not_import_is_named_in_the_log_and_workers_start_without_it(
    orchestrator: Make,
    mortal: Factory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    preloads(tmp_path, monkeypatch, "broken_preload", "raise SystemExit('not today')")
    orch = orchestrator(preload=["broken_preload", "no_such_module", "json"])
    orch.add_agent("a", lambda: lambda x: "json" in __import__("sys").modules)
    with caplog.at_level(logging.WARNING, "procorch"):
        assert orch.spawn("a").deliver("go").result().output
    assert "'broken_preload'" in caplog.text
    assert "not today" in caplog.text
    assert "'no_such_module'" in caplog.text


def test_a_module_that_starts_a_thread_is_not_in_the_process_that_forks(
    orchestrator: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    zygote_of: ZygoteOf,
) -> None:
    preloads(
        tmp_path,
        monkeypatch,
        "threaded_preload",
        """
        import threading
        threading.Thread(target=threading.Event().wait, daemon=True, name="collector").start()
        """,
    )
    orch = orchestrator(preload=["json", "threaded_preload", "decimal"])

    def factory():

        return lambda name: name in sys.modules

    orch.add_agent("a", factory)
    with caplog.at_level(logging.WARNING, "procorch"):
        handle = orch.spawn("a")
        loaded = [name for name in ("json", "threaded_preload", "decimal")
                  if handle.deliver(name).result().output]  # fmt: skip
    assert zygote_of(handle).num_threads() == 1
    assert loaded == ["json", "decimal"]
    assert "'threaded_preload'" in caplog.text
    assert "'collector'" in caplog.text


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_a_preloaded_module_that_opens_a_connection_is_left_out_and_the_rest_stays(
    orchestrator: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    kind: str,
) -> None:
    """All workers would send on it, and receive each other's answers."""
    with socket.socket(socket.AF_UNIX if kind == "unix" else socket.AF_INET) as server:
        server.bind(str(tmp_path / "server") if kind == "unix" else ("127.0.0.1", 0))
        server.listen()
        (tmp_path / "connected_preload.py").write_text(
            "import socket\n"
            "pair = socket.socketpair()\n"
            f"line = socket.socket(socket.AF_UNIX if {kind == 'unix'} else socket.AF_INET)\n"
            f"line.connect({server.getsockname()!r})\n"
        )
        monkeypatch.syspath_prepend(tmp_path)

        def factory() -> Any:
            seen = {"json" in sys.modules, "decimal" in sys.modules}
            import connected_preload  # type: ignore[import-not-found]

            return lambda x: (seen, connected_preload.line.fileno() >= 0)

        orch = orchestrator(preload=["json", "connected_preload", "decimal"])
        orch.add_agent("a", factory)
        agents = [orch.spawn("a"), orch.spawn("a")]
        server.settimeout(30)
        lines = [server.accept()[0] for _ in range(3)]  # the first is the zygote's
        assert [each.deliver(1).result(30).output for each in agents] == [({True}, True)] * 2
        lines[0].settimeout(30)
        assert lines[0].recv(1) == b"", "the first one is closed"
        for line in lines:
            line.close()
    assert "'connected_preload'" in caplog.text
    assert "opens a connection" in caplog.text


def test_a_module_that_ends_the_zygote_is_a_start_error_with_the_cause(
    orchestrator: Make, mortal: Factory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preloads(tmp_path, monkeypatch, "deadly_preload", "import os; os._exit(3)")
    orch = orchestrator(preload=["deadly_preload"])
    orch.add_agent("a", mortal)
    with pytest.raises(StartError, match=r"its zygote \(pid \d+\) exited with code 3"):
        orch.spawn("a")


def test_a_module_that_never_finishes_importing_ends_with_the_start_timeout(
    orchestrator: Make, mortal: Factory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preloads(tmp_path, monkeypatch, "endless_preload", "import threading as t; t.Event().wait()")
    orch = orchestrator(preload=["endless_preload"])
    orch.add_agent("a", mortal, start_timeout=0.5, shutdown=QUICK)
    before = time.monotonic()
    with pytest.raises(StartError, match=r"not ready within 0\.5 s"):
        orch.spawn("a")
    orch.close()
    assert time.monotonic() - before < 10


# The end of everything below it


def test_row_10_what_a_worker_has_hidden_twice_goes_when_the_worker_dies_by_itself(
    start: Start, gate: GateMaker, watched: Watch
) -> None:
    begun, die = gate(), gate()
    tell, wait = begun.tell, die.wait

    def factory():
        import os

        def handle(x):
            if x == "go":
                return os.getpid()
            if os.fork() == 0:  # as a daemon does it
                os.setsid()
                if os.fork() == 0:
                    os.setsid()
                    signal.signal(signal.SIGTERM, signal.SIG_IGN)
                    tell(os.getpid())
                    while True:
                        signal.pause()
                os._exit(0)
            os.wait()
            wait()
            os._exit(7)

        return handle

    handle = start(factory, supervisor=DefaultSupervisor())
    reply = handle.deliver("hide")
    hidden = watched(int(begun.line()))
    die.open()
    error = reply.exception(timeout=AT_ONCE)
    assert isinstance(error, AgentCrashed)
    assert error.exitcode == 7
    assert hidden.alive(within=AT_ONCE) == []
    assert handle.deliver("go").result().output == handle.pid


def test_row_10_descendants_that_hid_themselves_are_gone_after_stop(
    start: Start, gate: GateMaker, watched: Watch
) -> None:
    begun = gate()
    tell = begun.tell

    def factory():
        import os

        def handle(x):
            for _ in range(3):
                if os.fork() == 0:
                    os.setsid()
                    if os.fork() == 0:
                        os.setsid()
                        signal.signal(signal.SIGTERM, signal.SIG_IGN)
                        signal.signal(signal.SIGHUP, signal.SIG_IGN)
                        tell(os.getpid())
                        while True:
                            signal.pause()
                    os._exit(0)
                os.wait()

        return handle

    handle = start(factory)
    handle.deliver("go").result()
    hidden = watched(*[int(begun.line()) for _ in range(3)])
    handle.cancel()
    handle.wait()
    assert hidden.alive(within=AT_ONCE) == []


def test_row_13_no_worker_survives_a_killed_program_though_the_zygote_is_stopped(
    host: Callable[..., subprocess.Popen[str]], watched: Watch
) -> None:
    process = host(
        textwrap.dedent("""
        import os, threading
        from procorch import AgentOrchestrator

        def factory():
            def handle(x):
                threading.Event().wait()
            return handle

        orch = AgentOrchestrator()
        orch.add_agent("a", factory)
        handle = orch.spawn("a")
        handle.deliver("work")
        print(handle.pid, flush=True)
        threading.Event().wait()
        """)
    )
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    zygote = psutil.Process(pid).parent()
    assert zygote is not None
    both = watched(pid, zygote.pid)
    zygote.suspend()
    process.kill()
    process.wait()
    assert both.alive(within=AT_ONCE) == []


def test_no_zygote_survives_a_program_that_is_killed_while_it_preloads(
    host: Callable[..., subprocess.Popen[str]], watched: Watch, gate: GateMaker, tmp_path: Path
) -> None:
    begun = gate()
    fifo = begun.tell.__closure__[0].cell_contents
    (tmp_path / "endless_preload.py").write_text(
        "import os, threading\n"
        f"with open({fifo!r}, 'w') as told:\n"
        "    print(os.getpid(), file=told)\n"
        "threading.Event().wait()\n"
    )
    process = host(
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from procorch import AgentOrchestrator\n"
        "orch = AgentOrchestrator(preload=['endless_preload'])\n"
        "orch.add_agent('a', lambda: lambda x: x)\n"
        "orch.spawn('a')\n"
    )
    zygote = watched(int(begun.line()))
    process.kill()
    process.wait()
    assert zygote.alive(within=AT_ONCE) == []
