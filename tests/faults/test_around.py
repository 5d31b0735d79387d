"""Rows 13, 17, 21, 26 and 27 of the fault matrix: the program, its system and its user."""

from __future__ import annotations

import ast
import os
import random
import signal
import subprocess
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import procorch
from procorch import (
    AgentError,
    AgentOrchestrator,
    DefaultSupervisor,
    OrchestratedHandle,
    SupervisorAction,
)
from procorch.supervision.notices import Lost
from tests.faults import trials
from tests.faults.programs import CLOCK

pytestmark = [pytest.mark.fault, pytest.mark.usefixtures("start_method")]

AT_ONCE = 2.0  # seconds

Make = Callable[..., AgentOrchestrator]
Start = Callable[..., OrchestratedHandle]
GateMaker = Callable[[], Any]
Run = Callable[..., "subprocess.CompletedProcess[str]"]
Host = Callable[..., "subprocess.Popen[str]"]
Watch = Callable[..., Any]


@pytest.mark.parametrize("state", trials.STATES)
def test_row_13_nothing_survives_a_program_that_is_killed(
    orphanage: Callable[[], Any], start_method: str, state: str
) -> None:
    chance = random.Random(f"{state} {start_method}")
    for _ in range(4):
        assert trials.kill_host(state, start_method, chance) == []


# Row 17: the wall clock


def test_row_17_the_wall_clock_may_move_by_a_day(run_python: Run) -> None:
    """It cannot be moved here for the whole machine; Python's view of it can."""
    done = run_python("settings = {}\n" + CLOCK)
    assert done.stderr == ""
    assert done.returncode == 0


def test_row_17_only_timestamps_come_from_the_wall_clock() -> None:
    """Of messages, events, and what journals, conversations, measurements and a daemon have for
    their readers: when a run began, an item ended, a turn was kept, something happened."""
    root = Path(procorch.__file__).parent
    users = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and ast.unparse(node) in ("time.time", "time.time_ns", "datetime.now", "datetime.utcnow")
    }
    names = ("failed_items", "journal", "merge", "outcomes", "salvage", "start")
    journal = {f"batch/{name}.py" for name in names}
    told = {path for path in users if path.startswith(("daemon/", "cli/daemon/"))}
    kept = {"messages.py", "clock.py", "bench/process.py", "api/conversations/file.py"}
    assert users <= kept | journal | told


# Row 21: nothing left


def test_row_21_a_program_without_descriptors_gets_typed_errors_and_loses_nothing(
    run_python: Run, start_method: str
) -> None:
    """With no descriptor left, with one left, with two: a start is refused at each of its steps."""
    # A start by "spawn" takes long on a busy machine: some of the steps have to do.
    steps = [*range(16)] if start_method == "zygote" else [0, 2, 5, 15]
    done = run_python(
        f"STEPS = {steps}\n"
        + textwrap.dedent("""
        import os, resource
        import psutil
        from procorch import AgentOrchestrator, StartError

        def factory():
            return lambda x: x

        def descriptors():
            return sorted(os.listdir("/proc/self/fd"))[:-1]

        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        outcomes = []
        for warm in (True, False):
            for free in STEPS:
                with AgentOrchestrator() as orch:
                    for name in ("first", "a", "b"):
                        orch.add_agent(name, factory)
                    orch.events().close()  # the monitor runs, without any process
                    handle = orch.spawn("first") if warm else None
                    before = len(descriptors())
                    resource.setrlimit(resource.RLIMIT_NOFILE, (128, limits[1]))
                    taken = []
                    try:
                        while True:
                            taken.append(os.dup(0))
                    except OSError:
                        pass
                    for fd in taken[:free]:
                        os.close(fd)
                    try:
                        started = orch.spawn("a")
                    except StartError as error:
                        outcomes.append("refused")
                    else:
                        outcomes.append("started")
                        assert started.deliver(1).result().output == 1
                        started.cancel()
                        started.wait()
                    if handle is not None:
                        assert handle.deliver(free).result(timeout=5).output == free
                    for fd in taken[free:]:
                        os.close(fd)
                    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
                    # All is well again, and nothing was lost on the way.
                    again = orch.spawn("b")
                    assert again.deliver(2).result().output == 2
                    again.cancel()
                    again.wait()
                    if warm:
                        assert len(descriptors()) == before, (free, outcomes, before)
                assert psutil.Process().children() == [], (free, outcomes)
            print(" ".join(outcomes))
            outcomes.clear()
        """),
        timeout=170,  # there are about 60 starts
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == 0
    for line in done.stdout.splitlines():
        assert line.startswith("refused")
        assert line.endswith("started")


# Row 26: signals


SIGNALLED = textwrap.dedent("""
    import os, queue, signal, sys, threading
    from procorch import AgentOrchestrator, DefaultSupervisor

    def tell(*words):
        os.write(1, (" ".join(map(str, words)) + "\\n").encode())

    def factory():
        def handle(x):
            if x == "work":
                tell("working")
                threading.Event().wait()
            return os.getpid()
        return handle

    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, lambda signum, frame: tell(signal.Signals(signum).name))
    interrupts = queue.SimpleQueue()
    signal.signal(signal.SIGINT, lambda signum, frame: interrupts.put(signum))
    orch = AgentOrchestrator(supervisor=DefaultSupervisor())
    orch.add_agent("a", factory)
    handle = orch.spawn("a")
    tell(handle.pid)
    sys.stdin.readline()
    assert handle.deliver("go").result().output == handle.pid and handle.generation == 1
    handle.deliver("work")
    interrupts.get()
    tell("draining")
    draining = threading.Thread(target=orch.close, kwargs={"timeout": 60})
    draining.start()
    interrupts.get()
    tell("killing")
    orch.close(drain=False, timeout=1)
    draining.join()
    tell("closed")
""")


def test_row_26_signals_to_the_whole_group_are_for_the_program_alone(
    host: Host, watched: Watch
) -> None:
    process = host(SIGNALLED, process_group=0)
    assert process.stdout is not None
    assert process.stdin is not None

    def line() -> str:
        assert process.stdout is not None
        return process.stdout.readline().strip() or process.communicate()[1]

    worker = watched(int(line()))
    for signum in (signal.SIGHUP, signal.SIGTERM):
        os.killpg(process.pid, signum)
        assert line() == signum.name
    process.stdin.write("\n")
    process.stdin.flush()
    assert line() == "working"
    os.killpg(process.pid, signal.SIGINT)
    assert line() == "draining"
    assert worker.alive(within=0) != []
    os.killpg(process.pid, signal.SIGINT)
    assert line() == "killing"
    assert line() == "closed"
    _, errors = process.communicate(timeout=10)
    assert "Traceback" not in errors, errors
    assert process.returncode == 0
    assert worker.alive(within=AT_ONCE) == []


# Row 27: user code in the supervisor


def test_row_27_a_policy_that_sleeps_holds_up_its_own_agent_only(orchestrator: Make) -> None:
    think = threading.Event()
    asked = threading.Event()

    def policy(name: str, error: AgentError) -> SupervisorAction:
        asked.set()
        think.wait()
        return SupervisorAction.RESTART

    def factory():
        import os

        return lambda x: os._exit(3) if x == "die" else x

    orch = orchestrator(supervisor=policy)
    orch.add_agent("dying", factory)
    orch.add_agent("living", factory)
    dying, living = orch.spawn("dying"), orch.spawn("living")
    error = dying.deliver("die")
    behind = dying.deliver("go")
    assert asked.wait(5)
    for n in range(20):
        assert living.deliver(n).result(timeout=AT_ONCE).output == n
    late = orch.spawn("living")
    assert late.deliver("hi").result(timeout=AT_ONCE).output == "hi"
    assert not behind.done()
    think.set()
    assert error.exception() is not None
    assert behind.result().output == "go"


def test_row_27_a_reader_of_events_that_never_reads_slows_nobody(orchestrator: Make) -> None:
    orch = orchestrator(supervisor=DefaultSupervisor())
    orch.add_agent("a", lambda: lambda x: x)
    handle = orch.spawn("a")
    stream = orch.events()
    replies = [handle.deliver(n) for n in range(1000)]
    assert [reply.result().output for reply in replies] == list(range(1000))
    first = next(stream)
    assert isinstance(first, Lost)
    assert first.count > 0
