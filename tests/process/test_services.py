"""Services: loops of the user's own, kept alive in a worker (N0, N2, N7, N8, N12)."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from procorch import (
    AgentFailure,
    AgentHung,
    AgentOrchestrator,
    AgentStatus,
    Backoff,
    CommandCrashed,
    CommandFailed,
    Crashed,
    DefaultSupervisor,
    Hung,
    Ready,
    RequestDone,
    Restarting,
    Shutdown,
    StartError,
    Stopped,
    SupervisorAction,
    TakesNoRequests,
    command,
)
from tests.process.loops import come_back, die, failing_at, hang, obedient, raise_error, stubborn
from tests.process.scenes import until

Orchestrator = Callable[..., AgentOrchestrator]
GateMaker = Callable[[], Any]
AT_ONCE = Backoff(initial=0.0)


def names(events: list[Any]) -> list[str]:
    return [type(event).__name__ for event in events]


def ready(orch: AgentOrchestrator, stream: Any, generation: int) -> list[Any]:
    """The events up to the readiness of that generation."""
    seen: list[Any] = []
    for event in stream:
        seen.append(event)
        if isinstance(event, Ready) and event.generation == generation:
            return seen
    raise AssertionError(seen)


# ---- how it ends, and begins again


def test_a_service_is_run_again_after_every_end(orchestrator: Orchestrator) -> None:
    """A death, an exception, a return and a hang, without any policy."""
    orch = orchestrator()
    run = failing_at(die, raise_error, come_back, hang)
    orch.add_service("loop", run, heartbeat_timeout=0.3, backoff=AT_ONCE, max_restarts=4)
    stream = orch.events(requests=False)
    handle = orch.spawn("loop")
    seen = ready(orch, stream, 5)
    assert names(seen) == [
        "Starting", "Ready", "Crashed", "Restarting",
        "Starting", "Ready", "Crashed", "Restarting",
        "Starting", "Ready", "Restarting",
        "Starting", "Ready", "Hung", "Crashed", "Restarting",
        "Starting", "Ready",
    ]  # fmt: skip
    death, failure, hung = (event.error for event in seen if isinstance(event, Crashed))
    assert (death.exitcode, death.request) == (3, None)
    assert isinstance(failure, AgentFailure)
    assert "no such queue" in str(failure)
    assert isinstance(hung, AgentHung)
    counts = [(event.counted, event.restart) for event in seen if isinstance(event, Restarting)]
    assert counts == [(True, 1), (True, 2), (True, 3), (True, 4)]
    assert handle.info().state == "RUNNING"
    assert handle.status() is AgentStatus.RUNNING


def test_a_service_that_returns_at_once_is_not_restarted_for_ever(
    orchestrator: Orchestrator,
) -> None:
    orch = orchestrator()
    orch.add_service("loop", come_back, backoff=AT_ONCE, max_restarts=2)
    handle = orch.spawn("loop")
    handle.wait()
    assert handle.status() is AgentStatus.FAILED
    assert "returned again and again" in str(handle.failure())
    assert "max_restarts = 2" in str(handle.failure())
    assert handle.info().restarts == 2


@pytest.mark.parametrize("restart", ["transient", "temporary"])
def test_a_service_that_returns_is_completed_unless_it_is_permanent(
    orchestrator: Orchestrator, restart: Any
) -> None:
    orch = orchestrator()
    orch.add_service("loop", come_back, restart=restart)
    stream = orch.monitor("loop")
    handle = orch.spawn("loop")
    handle.wait()
    assert handle.status() is AgentStatus.COMPLETED
    assert "Restarting" not in names(list(stream))


def test_a_service_that_fails_again_and_again_is_given_up(orchestrator: Orchestrator) -> None:
    """I3: within its budget."""
    orch = orchestrator()
    orch.add_service("loop", raise_error, max_restarts=2, backoff=AT_ONCE)
    stream = orch.monitor("loop")
    handle = orch.spawn("loop")
    handle.wait()
    seen = list(stream)
    assert names(seen).count("Restarting") == 2
    assert handle.status() is AgentStatus.FAILED
    assert "ValueError: no such queue" in str(handle.failure().__cause__)  # type: ignore[union-attr]


def test_time_in_which_a_service_was_ready_clears_its_budget(orchestrator: Orchestrator) -> None:
    """N2: nothing else is a success of a loop that never returns."""

    def live_and_fail() -> None:
        import time

        from procorch import current

        time.sleep(0.0 if current().generation < 3 else 0.3)
        raise ValueError("after a while")

    orch = orchestrator()
    orch.add_service(
        "loop", live_and_fail, max_restarts=2, backoff=Backoff(initial=0.0, reset_after=0.2)
    )
    stream = orch.monitor("loop")
    handle = orch.spawn("loop")
    restarts = [e.restart for e in ready(orch, stream, 6) if isinstance(e, Restarting)]
    assert restarts == [1, 2, 1, 1, 1]
    handle.stop()


@pytest.mark.parametrize(
    ("action", "status"),
    [
        (SupervisorAction.STOP, AgentStatus.FAILED),
        (SupervisorAction.ESCALATE, AgentStatus.RUNNING),
        (SupervisorAction.RESTART, AgentStatus.RUNNING),
    ],
)
def test_a_policy_decides_about_a_service(
    orchestrator: Orchestrator, action: SupervisorAction, status: AgentStatus
) -> None:
    """One whose function has raised cannot be kept: ESCALATE replaces it, as after a death."""
    orch = orchestrator(supervisor=lambda name, error: action)
    run = failing_at(raise_error)
    orch.add_service("loop", run, restart="transient", backoff=AT_ONCE)
    stream = orch.monitor("loop")
    handle = orch.spawn("loop")
    last = Stopped if status is AgentStatus.FAILED else Restarting
    seen = names(until(stream, last, "loop"))
    assert ("Escalated" in seen) == (action is SupervisorAction.ESCALATE)
    assert handle.status() is status


def test_a_process_of_a_service_has_a_largest_age(orchestrator: Orchestrator) -> None:
    orch = orchestrator()
    orch.add_service("loop", obedient, max_age=0.2)
    stream = orch.monitor("loop", requests=False)
    orch.spawn("loop")
    seen = ready(orch, stream, 2)
    (restart,) = [event for event in seen if isinstance(event, Restarting)]
    assert (restart.counted, restart.planned) == (False, True)


# ---- how it is stopped


def test_a_service_is_told_to_stop_and_has_its_grace(
    orchestrator: Orchestrator, tmp_path: Path
) -> None:
    """N8: it may finish what it does, for longer than a request that is cancelled."""
    done = str(tmp_path / "done")

    def slowly() -> None:
        obedient()
        import time

        time.sleep(0.3)  # longer than `Shutdown.cooperate`
        with open(done, "w") as file:
            file.write("in order")

    orch = orchestrator()
    orch.add_service("loop", slowly)
    for end in ("stop", "drain", "await_result", "close"):
        handle, stream = orch.spawn("loop"), orch.monitor("loop")
        if end == "close":
            orch.close()
        else:
            getattr(handle, end)()
        handle.wait()
        assert Path(done).read_text() == "in order", end
        os.remove(done)
        asked = AgentStatus.STOPPED if end in ("stop", "close") else AgentStatus.COMPLETED
        assert handle.status() is asked
        assert handle.failure() is None
        assert names(list(stream)) in (["RequestDone", "Stopped"], ["Stopped"])


def test_an_async_service_is_cancelled(orchestrator: Orchestrator, tmp_path: Path) -> None:
    done = str(tmp_path / "done")

    async def run() -> None:
        import asyncio

        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            with open(done, "w") as file:
                file.write("in order")

    orch = orchestrator()
    orch.add_service("loop", run)
    handle = orch.spawn("loop")
    handle.stop()
    assert Path(done).read_text() == "in order"


def test_a_service_that_does_not_stop_is_interrupted_and_cleans_up(
    orchestrator: Orchestrator, tmp_path: Path
) -> None:
    """N8: the flag, an exception, SIGTERM, SIGKILL."""
    done = str(tmp_path / "done")

    def run() -> None:
        try:
            stubborn()
        finally:
            with open(done, "w") as file:
                file.write("in order")

    orch = orchestrator()
    orch.add_service("loop", run)
    handle = orch.spawn("loop")
    began = time.monotonic()
    handle.stop(grace=0.2)
    assert 0.2 <= time.monotonic() - began < 4, "not the 5 s of its settings"
    assert Path(done).read_text() == "in order"


def test_a_service_that_hears_nothing_is_killed_in_time(orchestrator: Orchestrator) -> None:
    def deaf() -> None:
        import signal
        import time

        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            try:
                while True:
                    time.sleep(0.01)
            except BaseException:
                pass

    orch = orchestrator()
    times = Shutdown(grace=0.1, interrupt=0.1, terminate=0.1)
    orch.add_service("loop", deaf, shutdown=times)
    handle = orch.spawn("loop")
    pid = handle.pid
    assert pid is not None
    began = time.monotonic()
    orch.close(timeout=20)
    assert time.monotonic() - began < 10
    assert handle.status() is AgentStatus.STOPPED
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_close_with_a_deadline_kills_what_is_left(orchestrator: Orchestrator) -> None:
    orch = orchestrator()
    orch.add_service("loop", stubborn)
    handle = orch.spawn("loop")
    began = time.monotonic()
    orch.close(timeout=0.3)
    assert time.monotonic() - began < 4
    assert handle.is_done()


def test_a_restart_lets_it_finish_first(orchestrator: Orchestrator, tmp_path: Path) -> None:
    """I2: the next process begins after the last one has ended."""
    log = str(tmp_path / "log")

    def run() -> None:
        from procorch import current

        def write(word: str) -> None:
            with open(log, "a") as file:
                file.write(f"{word} {current().generation}\n")

        write("begin")
        obedient()
        write("end")

    orch = orchestrator()
    orch.add_service("loop", run)
    handle = orch.spawn("loop")
    handle.restart()
    handle.stop()
    assert Path(log).read_text().split("\n")[:3] == ["begin 1", "end 1", "begin 2"]


# ---- readiness


def test_a_service_that_says_when_it_is_ready(orchestrator: Orchestrator, gate: GateMaker) -> None:
    """N12."""
    begun, go = gate(), gate()
    tell, wait = begun.tell, go.wait

    def run() -> None:
        from procorch import current

        tell()
        wait()
        current().ready()
        current().ready()
        obedient()

    orch = orchestrator()
    orch.add_service("loop", run, says_ready=True)
    stream = orch.monitor("loop")
    handle = orch.spawn("loop", wait=False)
    begun.line()
    assert handle.info().state == "STARTING"
    go.open()
    assert names(ready(orch, stream, 1)) == ["Starting", "Ready"]
    handle.stop()


@pytest.mark.parametrize(
    ("run", "why"), [(raise_error, "ValueError: no such queue"), (come_back, "before it called")]
)
def test_a_service_that_ends_before_it_is_ready_has_not_started(
    orchestrator: Orchestrator, run: Any, why: str
) -> None:
    """N9."""
    orch = orchestrator()
    orch.add_service("loop", run, says_ready=True)
    with pytest.raises(StartError, match=why) as caught:
        orch.spawn("loop")
    assert caught.value.phase == "run"


def test_a_service_that_is_not_ready_in_time_has_not_started(orchestrator: Orchestrator) -> None:
    orch = orchestrator()
    orch.add_service("loop", obedient, says_ready=True, start_timeout=0.3)
    with pytest.raises(StartError, match="was not ready within"):
        orch.spawn("loop")


# ---- its place in the tree, and its handle


def test_nothing_can_be_sent_to_a_service(orchestrator: Orchestrator) -> None:
    def asking() -> Any:
        from procorch import current

        return lambda item: current().ask("loop", item)

    orch = orchestrator()
    orch.add_service("loop", obedient)
    orch.add_agent("asker", asking)
    handle, asker = orch.spawn("loop"), orch.spawn("asker")
    for call in (handle.send_message, handle.submit, handle.deliver, handle.stream):
        with pytest.raises(TakesNoRequests, match="agent 'loop': it is a service"):
            call("hello")
    with pytest.raises(TakesNoRequests, match="agent 'loop'"):
        handle.send_messages(["hello"])  # type: ignore[list-item]
    with pytest.raises(TakesNoRequests, match="agent 'loop'"):
        asker.deliver("hello").result()


def test_a_service_may_ask_agents(orchestrator: Orchestrator, tmp_path: Path) -> None:
    """N16."""
    answer = str(tmp_path / "answer")

    def run() -> None:
        from procorch import current

        with open(answer, "w") as file:
            file.write(current().ask("echo", "hello"))
        current().ready()
        obedient()

    orch = orchestrator()
    orch.add_agent("echo", lambda: lambda messages: messages[-1].text)
    orch.add_service("loop", run, says_ready=True)
    orch.spawn("echo")
    orch.spawn("loop")
    assert Path(answer).read_text() == "hello"


def test_a_service_goes_with_its_group(orchestrator: Orchestrator, tmp_path: Path) -> None:
    """N5: it is told to stop, and not killed."""
    log = str(tmp_path / "log")

    def run() -> None:
        from procorch import current

        obedient()
        with open(log, "a") as file:
            file.write(f"end {current().generation}\n")

    def mortal() -> Any:
        import os

        return lambda item: os._exit(1)

    orch = orchestrator(supervisor=DefaultSupervisor())
    orch.add_agent("top", lambda: lambda item: item, strategy="one_for_all")
    orch.add_service("loop", run, parent="top")
    orch.add_child("mortal", "top", mortal)
    handles = orch.spawn_tree("top")
    (child, _) = orch.which_children("top")
    assert (child.name, child.state, child.restart) == ("loop", "running", "permanent")
    stream = orch.monitor("mortal")
    handles["mortal"].deliver("die").exception()
    ready(orch, stream, 2)
    assert handles["loop"].generation == 2
    assert Path(log).read_text() == "end 1\n"
    orch.stop("top")
    assert handles["loop"].is_done(), "N7: with its parent, which has a strategy"


def test_a_service_has_children(orchestrator: Orchestrator) -> None:
    """N7: they end before it does."""
    orch = orchestrator()
    orch.add_service("loop", obedient)
    orch.add_child("below", "loop", lambda: lambda item: item, link="stop")
    handles = orch.spawn_tree("loop")
    stream = orch.events(requests=False)
    assert handles["below"].deliver("hello").result().output == "hello"
    handles["loop"].stop()
    ended = [event.agent for event in until(stream, Stopped, "loop") if isinstance(event, Stopped)]
    assert ended == ["below", "loop"]


def test_a_stopped_process_of_a_service_is_found_and_replaced(orchestrator: Orchestrator) -> None:
    """N12: whatever it hangs in."""
    orch = orchestrator()
    orch.add_service("loop", obedient, heartbeat_timeout=0.4, backoff=AT_ONCE)
    stream = orch.monitor("loop")
    handle = orch.spawn("loop")
    assert handle.pid is not None
    os.kill(handle.pid, signal.SIGSTOP)
    assert isinstance(until(stream, Hung, "loop")[-1], Hung)
    ready(orch, stream, 2)


# ---- programs


def test_a_program_is_kept_alive_and_stopped_with_sigterm(
    orchestrator: Orchestrator, tmp_path: Path
) -> None:
    script = tmp_path / "server.sh"
    # The trap first: what sees "up" may send the signal at once.
    script.write_text('trap "echo down; exit 0" TERM\necho "up $1"\nwhile :; do sleep 0.05; done\n')
    log = tmp_path / "log"
    orch = orchestrator()
    run = command(["sh", str(script), "now"], grace="5s")
    orch.add_service("server", run, output=log, backoff=AT_ONCE)
    stream = orch.monitor("server")
    handle = orch.spawn("server")
    wait_for(log, "up now")
    assert handle.pid is not None
    (program,) = children(handle.pid)
    os.kill(program, signal.SIGKILL)
    crash = next(event for event in ready(orch, stream, 2) if isinstance(event, Crashed))
    assert isinstance(crash.error, CommandCrashed)
    assert crash.error.signal == "SIGKILL"
    wait_for(log, "up now\nup now")
    handle.stop()
    assert log.read_text().splitlines()[2:].count("down") == 1, "what it writes at its end is kept"
    assert handle.status() is AgentStatus.STOPPED


def test_a_program_that_fails_is_named(orchestrator: Orchestrator) -> None:
    orch = orchestrator()
    orch.add_service("server", command(["sh", "-c", "exit 4"]), max_restarts=0)
    stream = orch.monitor("server")
    orch.spawn("server")
    done = next(event for event in stream if isinstance(event, RequestDone))
    assert isinstance(done.error, CommandFailed)
    assert done.error.code == 4


def wait_for(log: Path, text: str) -> None:
    until = time.monotonic() + 90
    while not (log.exists() and text in log.read_text()):
        assert time.monotonic() < until, f"{text!r} is not in {log}"
        time.sleep(0.01)


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


# ---- refusals


@pytest.mark.parametrize(
    ("run", "settings", "error", "text"),
    [
        (obedient, {"retries": 1}, TypeError, "retries is about requests"),
        (obedient, {"request_timeout": 3}, TypeError, "request_timeout is about requests"),
        (obedient, {"restrat": "permanent"}, TypeError, "did you mean 'restart'"),
        (obedient, {"parent": "nobody"}, ValueError, "'nobody' not registered"),
        (lambda item: item, {}, TypeError, "without arguments"),
        ("loop", {}, TypeError, "not str"),
        (command(["cat", "{path}"]), {}, ValueError, "runs cat without a request"),
        (command(["cat"], input="text"), {}, ValueError, "runs cat without a request"),
        (command(["cat"]), {"heartbeat_timeout": 3}, TypeError, "a program cannot"),
        (command(["cat"]), {"says_ready": True}, TypeError, "a program cannot"),
    ],
)
def test_what_makes_no_service_is_refused_when_it_is_added(
    run: Any, settings: dict[str, Any], error: type[Exception], text: str
) -> None:
    orch = AgentOrchestrator()
    with pytest.raises(error, match=text):
        orch.add_service("loop", run, **settings)
    assert orch.names() == []


def test_the_start_method_makes_no_difference(orchestrator: Orchestrator) -> None:
    orch = orchestrator(start_method="spawn")
    orch.add_service("loop", failing_at(die), backoff=AT_ONCE)
    stream = orch.monitor("loop")
    handle = orch.spawn("loop")
    crash = next(event for event in ready(orch, stream, 2) if isinstance(event, Crashed))
    assert (crash.generation, handle.generation) == (1, 2)
    handle.stop()
    assert handle.status() is AgentStatus.STOPPED
