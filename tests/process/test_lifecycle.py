"""Beginning and end of workers, orchestrators and programs: nothing stays behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import textwrap
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from procorch import (
    Aborted,
    AgentOrchestrator,
    AgentStatus,
    AgentStopped,
    OrchestratedHandle,
    Shutdown,
)

AT_ONCE = 2.0  # seconds
QUICK = Shutdown(cooperate=0.05, interrupt=0.05, grace=0.2, terminate=0.2)

Make = Callable[..., AgentOrchestrator]
Start = Callable[..., OrchestratedHandle]
GateMaker = Callable[[], Any]
Factory = Callable[[], Any]
Host = Callable[..., "subprocess.Popen[str]"]
Run = Callable[..., "subprocess.CompletedProcess[str]"]
Watch = Callable[..., Any]

AGENT = textwrap.dedent("""
    import os, signal, sys, threading, time
    from procorch import AgentOrchestrator, DefaultSupervisor, Shutdown, SupervisorAction

    def tell(*words):
        # In one piece: the program and its workers write to one pipe.
        os.write(1, (" ".join(map(str, words)) + "\\n").encode())

    def factory():
        def handle(x):
            if x == "hang":
                tell("hanging")
                threading.Event().wait()
            return os.getpid()
        return handle

    def wedged():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        def handle(x):
            tell("wedged")
            while True:
                try:
                    threading.Event().wait()
                except BaseException:
                    pass
        return handle

    def agent(make=factory, **settings):
        orch.add_agent("a", make, **settings)
        return orch.spawn("a")
""")


def program(text: str) -> str:
    return AGENT + textwrap.dedent(text)


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise AssertionError("the host ended:\n" + process.communicate()[1])
    return line.strip()


def go_on(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


@pytest.fixture
def echo() -> Factory:
    return lambda: lambda x: x


@pytest.fixture
def stubborn(gate: GateMaker) -> tuple[Factory, Any]:
    """An agent that nothing but SIGKILL ends, and the gate through which it tells of its work."""
    begun = gate()
    tell = begun.tell

    def factory():
        import contextlib
        import signal
        import threading

        signal.signal(signal.SIGTERM, signal.SIG_IGN)

        def handle(x):
            tell()
            while True:
                with contextlib.suppress(BaseException):
                    threading.Event().wait()

        return handle

    return factory, begun


# Programs


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_a_program_that_never_closes_ends_by_itself_and_leaves_nothing(
    host: Host, watched: Watch, busy: bool
) -> None:
    process = host(
        program(f"""
        orch = AgentOrchestrator()
        handle = agent()
        if {busy}:
            handle.deliver("hang")
        tell(handle.pid)
        sys.stdin.readline()
        """)
    )
    lines = {line_of(process) for _ in range(1 + busy)} - {"hanging"}
    worker = watched(int(lines.pop()))
    go_on(process)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 0
    assert errors == ""
    assert worker.alive(within=AT_ONCE) == []


@pytest.mark.parametrize("how", ["file", "-c", "stdin"])
def test_a_program_needs_no_main_guard(run_python: Run, how: str) -> None:
    done = run_python(
        program("""
        from dataclasses import dataclass

        @dataclass
        class Point:
            x: int

        LIMIT = 10

        def double(point):
            assert type(point) is Point, type(point)
            return Point(min(2 * point.x, LIMIT))

        print("main runs")
        with AgentOrchestrator() as orch:
            handle = agent(lambda: double)
            outputs = [handle.deliver(Point(n)).result().output for n in (1, 7)]
        assert [type(point) for point in outputs] == [Point, Point]
        print(outputs)
        """),
        how=how,
    )
    assert done.stderr == ""
    assert done.stdout == "main runs\n[Point(x=2), Point(x=10)]\n"
    assert done.returncode == 0


def test_exit_with_a_wedged_worker_is_bounded(host: Host, watched: Watch) -> None:
    process = host(
        program("""
        orch = AgentOrchestrator()
        quick = Shutdown(cooperate=0.05, interrupt=0.05, grace=0.2, terminate=0.2)
        handle = agent(wedged, shutdown=quick)
        handle.deliver("go")
        tell(handle.pid)
        sys.stdin.readline()
        """)
    )
    lines = {line_of(process), line_of(process)} - {"wedged"}
    worker = watched(int(lines.pop()))
    go_on(process)
    _, errors = process.communicate(timeout=5)
    assert (process.returncode, errors) == (0, "")
    assert worker.alive(within=AT_ONCE) == []


def test_exit_with_several_orchestrators_takes_the_time_of_one(run_python: Run) -> None:
    done = run_python(
        program("""
        import atexit

        atexit.register(lambda: tell(time.monotonic() - end))  # hooks run in reverse order
        quick = Shutdown(cooperate=0.05, interrupt=0.05, grace=0.2, terminate=1)
        for n in range(5):
            orch = AgentOrchestrator()
            agent(wedged, shutdown=quick).deliver("go")
        end = time.monotonic()
        """)
    )
    assert (done.returncode, done.stderr) == (0, "")
    took = float(done.stdout.split()[-1])
    assert 1 <= took < 5


def test_a_thread_that_outlives_the_main_program_can_still_use_its_agents(run_python: Run) -> None:
    done = run_python(
        program("""
        orch = AgentOrchestrator(supervisor=DefaultSupervisor())
        handle = agent()

        def late():
            threading.main_thread().join()  # from here on the interpreter is exiting
            reply = handle.deliver("go")
            called = threading.Event()
            reply.add_done_callback(lambda reply: called.set())
            assert reply.result().output == handle.pid
            assert called.wait(10)
            os.kill(handle.pid, signal.SIGKILL)
            tell(handle.deliver("go").exception() or "answered")

        threading.Thread(target=late).start()
        """)
    )
    assert done.returncode == 0
    assert "monitor failed" not in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.strip()


def test_sys_exit_in_a_caller_thread_harms_nobody(run_python: Run) -> None:
    done = run_python(
        program("""
        with AgentOrchestrator() as orch:
            handle = agent()
            def call():
                handle.send_message("hi")
                sys.exit(5)
            caller = threading.Thread(target=call)
            caller.start()
            caller.join()
            assert handle.send_message("hi").output == handle.pid
        """)
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_sys_exit_in_the_main_program_aborts_and_keeps_its_code(run_python: Run) -> None:
    done = run_python(
        program("""
        with AgentOrchestrator() as orch:
            handle = agent()
            reply = handle.deliver("hang")
            reply.add_done_callback(lambda reply: tell(type(reply.exception()).__name__))
            sys.exit(3)
        """)
    )
    assert done.returncode == 3
    assert done.stderr == ""
    assert "Aborted" in done.stdout.split()


def test_ctrl_c_reaches_the_program_and_not_its_workers(host: Host, watched: Watch) -> None:
    process = host(
        program("""
        orch = AgentOrchestrator()
        with orch:
            handle = agent()
            tell(handle.pid)
            try:
                handle.deliver("hang").result()
            except KeyboardInterrupt:
                tell("interrupted", handle.status().name)
                raise
        """),
        process_group=0,
    )
    worker = watched(int(line_of(process)))
    assert line_of(process) == "hanging"
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    assert line_of(process) == "interrupted RUNNING"
    process.communicate(timeout=10)
    assert process.returncode == -signal.SIGINT
    assert worker.alive(within=AT_ONCE) == []


# The program is killed


HOSTS = {
    "idle": """
        handle = agent()
        tell("pid", handle.pid)
    """,
    "busy": """
        handle = agent()
        handle.deliver("hang")
        tell("pid", handle.pid)
    """,
    "with a child that has its descriptors": """
        handle = agent()
        if os.fork() == 0:
            sys.stdin.read()  # until the test, not the program, is done
            os._exit(0)
        tell("pid", handle.pid)
    """,
    "building": """
        def slow():
            tell("pid", os.getpid())
            threading.Event().wait()
        orch.add_agent("a", slow)
        orch.spawn("a", wait=False)
    """,
    "booting": """
        orch.add_agent("a", factory)
        handle = orch.spawn("a", wait=False)
        while handle.pid is None:
            pass
        tell("pid", handle.pid)
    """,
}


@pytest.mark.fault
@pytest.mark.parametrize("state", HOSTS)
def test_no_worker_survives_a_program_that_is_killed(
    host: Host, watched: Watch, state: str
) -> None:
    process = host(
        AGENT
        + "orch = AgentOrchestrator()\n"
        + textwrap.dedent(HOSTS[state])
        + "threading.Event().wait()\n"
    )
    line = line_of(process)
    while not line.startswith("pid "):
        line = line_of(process)
    worker = watched(int(line.removeprefix("pid ")))
    process.kill()
    process.wait()
    assert worker.alive(within=AT_ONCE) == []


@pytest.mark.fault
def test_fork_in_the_program_does_not_touch_its_agents(run_python: Run) -> None:
    done = run_python(
        program("""
        import warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        from procorch import AgentStopped

        with AgentOrchestrator() as orch:
            handle = agent()
            first = handle.deliver("go").result().output
            child = os.fork()
            if child == 0:
                for use in (
                    lambda: handle.send_message("hi"),
                    handle.await_result,
                    handle.cancel,
                    lambda: orch.spawn("a"),
                ):
                    try:
                        use()
                    except AgentStopped as error:
                        assert f"belong to process {os.getppid()}" in str(error), error
                    else:
                        raise AssertionError("the child of a fork used its parent's agents")
                sys.exit(0)  # leaves the block, and runs the exit hooks of the interpreter
            assert os.waitpid(child, 0)[1] == 0
            if os.fork() == 0:
                with AgentOrchestrator() as own:
                    own.add_agent("a", factory)
                    assert own.spawn("a").deliver("go").result().output != first
                os._exit(0)
            assert os.wait()[1] == 0
            assert handle.deliver("go").result().output == first
        tell("done")
        """)
    )
    assert done.stderr == ""
    assert done.stdout == "done\n"


# Around the program


def test_workers_start_with_the_usual_signals_whatever_the_program_ignores(
    run_python: Run,
) -> None:
    done = run_python(
        program("""
        import subprocess

        def policy(name, error):
            tell(error.signal)
            died.set()
            return SupervisorAction.STOP

        def shells():
            return lambda x: subprocess.run(["sh", "-c", "exit 7"]).returncode

        died = threading.Event()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        with AgentOrchestrator(supervisor=policy) as orch:
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
            handle = agent(shells)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            assert handle.deliver("go").result().output == 7
            os.kill(handle.pid, signal.SIGTERM)
            assert died.wait(10)
        """)
    )
    assert done.stdout == "SIGTERM\n", done.stderr


def test_a_program_with_a_long_command_line_and_odd_paths_works(
    run_python: Run, tmp_path: Any
) -> None:
    done = run_python(
        program("""
        import pathlib
        sys.path += [pathlib.Path("somewhere"), "", os.fsdecode(b"/not/utf-8/\\xff")]
        with AgentOrchestrator() as orch:
            handle = agent(lambda: lambda x: len(sys.argv))
            print(handle.deliver("go").result().output)
        """),
        *["x" * 1000] * 300,
    )
    assert done.stderr == ""
    assert done.stdout == "301\n"


def test_a_program_whose_directory_is_gone_starts_agents_all_the_same(run_python: Run) -> None:
    done = run_python(
        program("""
        import tempfile

        with AgentOrchestrator() as orch:
            orch.add_agent("a", factory)
            os.chdir(tempfile.mkdtemp())
            os.rmdir(os.getcwd())
            tell(bool(orch.spawn("a").send_message("hi").output))
        """)
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "True"
    assert done.stderr == ""


def test_a_blocked_standard_output_does_not_block_the_monitor(host: Host) -> None:
    """Starting a process flushes nothing of the parent's: its reader may have stopped reading."""
    process = host(
        program("""
        with AgentOrchestrator() as orch:
            flooded = threading.Event()

            def flood():
                flooded.set()
                print("x" * (1 << 20), flush=True)  # nobody reads: stays here, holding stdout

            threading.Thread(target=flood, daemon=True).start()
            flooded.wait()
            orch.add_agent("a", factory)
            pid = orch.spawn("a").deliver("go").result().output
        os.write(2, b"answered")
        os._exit(0)
        """)
    )
    assert process.stderr is not None
    assert process.stderr.read() == "answered"


# Closing


def test_closing_twice_is_one_close(orchestrator: Make, echo: Factory) -> None:
    orch = orchestrator()
    orch.add_agent("a", echo)
    handle = orch.spawn("a")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: orch.close(), range(4)))
    orch.close()
    orch.close(drain=False)
    assert handle.status() is AgentStatus.STOPPED


def test_an_orchestrator_that_started_nothing_closes(orchestrator: Make) -> None:
    with orchestrator() as orch:
        assert len(orch) == 0
    orch.close()


def test_close_finishes_what_was_accepted(orchestrator: Make, gate: GateMaker) -> None:
    begun, go = gate(), gate()
    tell, wait = begun.tell, go.wait

    def factory():
        def handle(x):
            tell()
            wait()
            return x

        return handle

    orch = orchestrator()
    orch.add_agent("a", factory)
    handle = orch.spawn("a")
    replies = [handle.deliver(n) for n in range(3)]
    begun.line()
    with ThreadPoolExecutor(1) as closer:
        closing = closer.submit(orch.close)
        go.open(3)
        closing.result()
    assert [reply.result().output for reply in replies] == [0, 1, 2]
    assert handle.status() is AgentStatus.STOPPED


@pytest.mark.parametrize("how", ["close", "with"])
def test_close_without_drain_and_an_exception_in_the_block_abort(
    orchestrator: Make, gate: GateMaker, watched: Watch, how: str
) -> None:
    begun, never = gate(), gate()
    tell, wait = begun.tell, never.wait

    def factory():
        def handle(x):
            tell()
            wait()

        return handle

    orch = orchestrator()
    orch.add_agent("a", factory, shutdown=QUICK)
    handle = orch.spawn("a")
    worker = watched(handle.pid)
    replies = [handle.deliver(n) for n in range(3)]
    begun.line()
    if how == "close":
        orch.close(drain=False)
    else:
        with pytest.raises(ZeroDivisionError), orch:
            raise ZeroDivisionError
    assert [type(reply.exception()) for reply in replies] == [Aborted] * 3
    assert handle.status() is AgentStatus.STOPPED
    assert worker.alive(within=0) == []
    assert begun.told() == []


def test_close_returns_within_its_deadline_whatever_the_agents_do(
    orchestrator: Make, stubborn: tuple[Factory, Any], watched: Watch
) -> None:
    factory, begun = stubborn
    orch = orchestrator()
    orch.add_agent("a", factory)
    handle = orch.spawn("a")
    worker = watched(handle.pid)
    reply, queued = handle.deliver("go"), handle.deliver("go")
    begun.line()
    before = time.monotonic()
    orch.close(timeout=0.2)
    assert time.monotonic() - before < 0.2 + AT_ONCE
    assert worker.alive(within=0) == []
    assert isinstance(reply.exception(), Aborted)
    assert isinstance(queued.exception(), Aborted)


def test_use_after_close_raises_a_clear_error(orchestrator: Make, echo: Factory) -> None:
    with orchestrator() as orch:
        orch.add_agent("a", echo)
        handle = orch.spawn("a")
    with pytest.raises(AgentStopped, match="the orchestrator is closed"):
        orch.spawn("a")
    with pytest.raises(AgentStopped, match="agent channel closed"):
        handle.send_message("hi")
    with pytest.raises(AgentStopped, match="agent channel closed"):
        handle.submit("hi").result()
    handle.cancel()
    assert handle.status() is AgentStatus.STOPPED
    assert orch.names() == ["a"]


def test_many_threads_submit_while_the_orchestrator_closes(
    orchestrator: Make, echo: Factory
) -> None:
    """Each request gets exactly one outcome, however close it came to the end."""
    for _ in range(3):
        orch = orchestrator()
        orch.add_agent("a", echo)
        handle = orch.spawn("a")
        outcomes: list[Any] = []
        under_way = threading.Event()

        def send(handle: Any = handle, outcomes: Any = outcomes, seen: Any = under_way) -> None:
            for n in range(10_000):
                reply = handle.deliver(n)
                outcomes.append(reply)
                seen.set()
                if isinstance(reply.exception(), AgentStopped):
                    break

        threads = [threading.Thread(target=send) for _ in range(4)]
        for thread in threads:
            thread.start()
        under_way.wait()
        orch.close()
        for thread in threads:
            thread.join()
        assert all(reply.done() for reply in outcomes)
        assert sum(reply.exception() is not None for reply in outcomes) >= 4


def test_an_asynchronous_program_closes_without_blocking_its_loop(echo: Factory) -> None:
    async def main() -> list[Any]:
        async with AgentOrchestrator() as orch:
            orch.add_agent("a", echo)
            handle = await asyncio.to_thread(orch.spawn, "a")
            replies = [handle.submit([n]) for n in range(10)]
            ticks = asyncio.create_task(ticking())
        ticks.cancel()
        return [(await reply).output for reply in replies]

    async def ticking() -> None:
        while True:
            await asyncio.sleep(0)

    assert asyncio.run(main()) == [[n] for n in range(10)]


# Cancelling and waiting


def test_cancel_goes_up_to_sigkill(
    start: Start, stubborn: tuple[Factory, Any], watched: Watch
) -> None:
    factory, begun = stubborn
    handle = start(factory, shutdown=QUICK)
    worker = watched(handle.pid)
    reply = handle.deliver("go")
    begun.line()
    before = time.monotonic()
    handle.cancel()
    assert time.monotonic() - before < 0.1  # it does not wait
    assert isinstance(reply.exception(timeout=AT_ONCE), Aborted)
    with pytest.raises(Aborted):
        handle.await_result()
    assert handle.status() is AgentStatus.CANCELLED
    assert worker.alive(within=0) == []


def test_an_idle_worker_that_does_not_leave_is_ended(start: Start, watched: Watch) -> None:
    def factory():
        import signal
        import threading

        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        threading.Thread(target=threading.Event().wait).start()  # keeps the interpreter alive
        return lambda x: x

    handle = start(factory, shutdown=QUICK)
    worker = watched(handle.pid)
    handle.await_result()
    assert handle.status() is AgentStatus.COMPLETED
    assert worker.alive(within=0) == []


def test_spawn_without_waiting_takes_requests_before_the_agent_is_ready(
    orchestrator: Make, gate: GateMaker
) -> None:
    go = gate()
    wait = go.wait

    def factory():
        wait()
        return lambda x: x

    orch = orchestrator()
    orch.add_agent("a", factory)
    handle = orch.spawn("a", wait=False)
    assert handle.status() is AgentStatus.RUNNING
    reply = handle.deliver("early")
    go.open()
    assert reply.result().output == "early"


def test_an_agent_that_is_cancelled_while_it_starts_ends_at_once(
    orchestrator: Make, gate: GateMaker, watched: Watch
) -> None:
    begun, never = gate(), gate()
    tell, wait = begun.tell, never.wait

    def factory():
        import os

        tell(os.getpid())
        wait()

    orch = orchestrator()
    orch.add_agent("a", factory)
    handle = orch.spawn("a", wait=False)
    worker = watched(int(begun.line()))
    handle.cancel()
    with pytest.raises(Aborted):
        handle.await_result()
    assert worker.alive(within=0) == []


def test_two_spawns_of_one_name_are_two_agents(orchestrator: Make) -> None:
    def factory():
        import os

        return lambda x: os.getpid()

    orch = orchestrator()
    orch.add_agent("a", factory)
    one, two = orch.spawn("a"), orch.spawn("a")
    assert one.name == two.name == "a"
    assert one.instance != two.instance
    assert one.pid != two.pid
    one.cancel()
    with pytest.raises(Aborted):
        one.await_result()
    assert two.deliver("go").result().output == two.pid


def test_a_handle_shows_its_name_and_status(start: Start, echo: Factory) -> None:
    handle = start(echo)
    assert repr(handle) == "<OrchestratedHandle name='a' status=RUNNING>"
    assert not handle.is_done()
    handle.await_result()
    assert repr(handle) == "<OrchestratedHandle name='a' status=COMPLETED>"
    assert handle.is_done()


def test_a_monitor_that_takes_no_events_is_told_from_one_that_does(orchestrator: Any) -> None:
    orch = orchestrator()
    assert orch.is_responsive(1)
    orch.add_agent("a", lambda: lambda message: "answer")
    orch.spawn("a")
    assert orch.is_responsive(30)
    held = threading.Event()
    orch.running_monitor().post(held.wait)
    try:
        assert not orch.is_responsive(0.05)
    finally:
        held.set()
    assert orch.is_responsive(30)
