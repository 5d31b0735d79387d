"""Agents with several instances, with real processes: ``instances=`` and ``scale``."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from procorch import (
    AgentCrashed,
    AgentOrchestrator,
    AgentPool,
    AgentStopped,
    OrchestratedHandle,
    PluginError,
    Ready,
    ServiceSupervisor,
    StartError,
    current,
    measure,
    run_batch,
)


def who() -> Callable[[Any], Any]:
    """Answers with its slot, its generation and its pid."""

    def handle(item: Any) -> Any:
        if item == "die":
            os._exit(1)
        return current().instance, current().generation, os.getpid()

    return handle


@pytest.fixture
def orch() -> Iterator[AgentOrchestrator]:
    with AgentOrchestrator(supervisor=ServiceSupervisor()) as orch:
        yield orch


@pytest.fixture
def waiting(gate: Any) -> Any:
    """A factory whose agent waits until it is let go, and the gates for that."""
    begun, go = gate(), gate()
    tell, wait = begun.tell, go.wait

    def factory() -> Callable[[Any], Any]:
        def handle(item: Any) -> Any:
            if item == "wait":
                tell()
                wait()
            return current().instance

        return handle

    return factory, begun, go


def slots(handle: OrchestratedHandle) -> list[int]:
    return [row.slot for row in handle.info().instances]


def pids(handle: OrchestratedHandle) -> list[int | None]:
    return [row.pid for row in handle.info().instances]


def test_requests_run_at_the_same_time_in_all_instances(
    orch: AgentOrchestrator, waiting: Any
) -> None:
    factory, begun, go = waiting
    orch.add_agent("a", factory, instances=3)
    handle = orch.spawn("a")
    replies = [handle.deliver("wait") for _ in range(3)]
    for _ in range(3):
        begun.line()
    info = handle.info()
    assert (info.state, info.size) == ("BUSY", 3)
    assert [row.state for row in info.instances] == ["BUSY"] * 3
    for _ in replies:
        go.open()
    assert sorted(reply.result().output for reply in replies) == [0, 1, 2]


def test_a_row_for_each_instance_and_the_sum_for_the_agent(orch: AgentOrchestrator) -> None:
    orch.add_agent("a", who, instances=2)
    handle = orch.spawn("a")
    info = handle.info()
    first, second = info.instances
    assert (first.slot, second.slot) == (0, 1)
    assert first.instance != second.instance
    assert first.pid != second.pid
    assert (info.pid, info.state) == (first.pid, "READY")
    assert info.rss == first.rss + second.rss > 0
    assert (first.instances, info.queue) == ((), 0)


def test_a_crash_replaces_one_instance_in_its_slot(orch: AgentOrchestrator) -> None:
    orch.add_agent("a", who, instances=2)
    handle = orch.spawn("a")
    before = pids(handle)
    events = orch.monitor("a")
    assert before[1] is not None
    os.kill(before[1], signal.SIGKILL)
    ready = next(event for event in events if type(event).__name__ == "Ready")
    assert (ready.instance, ready.generation) == (1, 2)
    after = handle.info().instances
    assert (after[0].pid, after[0].generation) == (before[0], 1)
    assert (after[1].generation, after[1].restarts) == (2, 1)
    assert handle.info().restarts == 1


def test_a_restart_waits_for_a_request_no_longer_than_it_was_told(
    orch: AgentOrchestrator, waiting: Any
) -> None:
    factory, begun, go = waiting
    orch.add_agent("a", factory)
    handle = orch.spawn("a")
    events, answer = orch.monitor("a"), handle.deliver("wait")
    begun.wait()
    with pytest.raises(TimeoutError, match="agent 'a' had no new process in time"):
        handle.restart(timeout="50ms")
    go.tell()
    assert answer.result() is not None  # the request was finished, and then it is replaced
    assert next(each.generation for each in events if isinstance(each, Ready)) == 2


def test_restart_replaces_one_after_the_other(orch: AgentOrchestrator) -> None:
    orch.add_agent("a", who, instances=2)
    handle = orch.spawn("a")
    events = orch.events()
    orch.restart("a")
    seen = []
    while len(seen) < 4:
        event = next(events)
        if type(event).__name__ in ("Restarting", "Ready"):
            seen.append((type(event).__name__, event.instance))
    assert seen == [("Restarting", 0), ("Ready", 0), ("Restarting", 1), ("Ready", 1)]
    assert [row.generation for row in handle.info().instances] == [2, 2]


def test_a_group_restart_is_one_of_all_instances(orch: AgentOrchestrator) -> None:
    orch.add_agent("root", who, strategy="one_for_all", instances=2)
    orch.add_child("a", "root", who, instances=2)
    orch.add_child("b", "root", who)
    handles = orch.spawn_tree("root")
    events = orch.events()
    assert isinstance(handles["b"].deliver("die").exception(), AgentCrashed)
    while not (type(event := next(events)).__name__ == "Ready" and event.agent == "b"):
        pass
    rows = {name: handle.info().instances for name, handle in handles.items()}
    assert [row.generation for row in rows["root"]] == [1, 1]
    assert [row.generation for row in (*rows["a"], *rows["b"])] == [2, 2, 2]
    shown = [(child.name, child.instance, child.state) for child in orch.which_children("root")]
    assert shown == [("a", 0, "running"), ("a", 1, "running"), ("b", 0, "running")]
    counts = orch.count_children("root")
    assert (counts.specs, counts.active, counts.supervisors, counts.workers) == (2, 3, 0, 3)


def test_scaling_up_starts_the_missing_slots(orch: AgentOrchestrator) -> None:
    orch.add_agent("a", who)
    handle = orch.spawn("a")
    first = handle.pid
    orch.scale("a", 3)
    assert slots(handle) == [0, 1, 2]
    assert handle.pid == first
    assert handle.info().size == 3


@pytest.mark.queue
def test_scaling_down_lets_the_highest_slots_finish(orch: AgentOrchestrator, waiting: Any) -> None:
    factory, begun, go = waiting
    orch.add_agent("a", factory, instances=2)
    handle = orch.spawn("a")
    busy = [handle.deliver("wait") for _ in range(2)]
    begun.line()
    begun.line()
    queued = handle.deliver("later")
    with pytest.raises(TimeoutError, match="1 of 1 instances still finish"):
        orch.scale("a", 1, timeout=0.05)
    assert [row.state for row in handle.info().instances] == ["BUSY", "DRAINING"]
    orch.scale("a", 2)
    rows = [(row.slot, row.state) for row in handle.info().instances]
    assert rows[:2] == [(0, "BUSY"), (1, "DRAINING")]
    assert rows[2][0] == 1
    assert queued.result().output == 1, "the one that leaves takes no more"
    for _ in busy:
        go.open()
    assert sorted(reply.result().output for reply in busy) == [0, 1]
    orch.scale("a", 1)
    assert slots(handle) == [0]


def test_a_new_instance_that_cannot_start_changes_nothing(
    orch: AgentOrchestrator, tmp_path: Any
) -> None:
    flag = str(tmp_path / "broken")

    def factory() -> Callable[[Any], Any]:
        if os.path.exists(flag) and current().instance == 2:
            raise ValueError("no")
        return lambda item: current().instance

    orch.add_agent("a", factory)
    handle = orch.spawn("a")
    first = handle.pid
    (tmp_path / "broken").touch()
    with pytest.raises(StartError, match="no"):
        orch.scale("a", 3)
    assert (slots(handle), pids(handle), handle.info().size) == ([0], [first], 1)
    assert handle.deliver("x").result().output == 0
    (tmp_path / "broken").unlink()
    handle.scale(3)
    assert slots(handle) == [0, 1, 2]


def test_new_instances_that_are_not_ready_in_time_change_nothing(
    orch: AgentOrchestrator, gate: Any
) -> None:
    go = gate()
    wait = go.wait

    def factory() -> Callable[[Any], Any]:
        if current().instance:
            wait()
        return lambda item: item

    orch.add_agent("a", factory)
    handle = orch.spawn("a")
    with pytest.raises(TimeoutError, match="not ready in time; it keeps its 1"):
        handle.scale(2, timeout=0.1)
    assert slots(handle) == [0]


def test_requests_wait_for_an_agent_that_is_scaled_to_none(orch: AgentOrchestrator) -> None:
    orch.add_agent("a", who, instances=2)
    handle = orch.spawn("a")
    orch.scale("a", 0)
    info = handle.info()
    assert (info.state, info.pid, info.size, info.instances) == ("EMPTY", None, 0, ())
    assert (handle.pid, handle.generation, handle.output()) == (None, 0, "")
    handle.restart()  # there is none
    reply = handle.deliver("x")
    assert not handle.is_done()
    orch.scale("a", 1)
    assert reply.result().output[0] == 0
    orch.scale("a", 0)
    left = handle.deliver("x")
    orch.stop("a")
    assert isinstance(left.exception(), AgentStopped)
    assert handle.is_done()


def test_a_slot_that_has_failed_is_filled_by_scale(orch: AgentOrchestrator) -> None:
    orch.add_agent("a", who, instances=2, restart="temporary")
    handle = orch.spawn("a")
    events = orch.monitor("a")
    assert isinstance(handle.deliver("die").exception(), AgentCrashed)
    assert next(event.instance for event in events if type(event).__name__ == "Stopped") == 0
    assert [row.state for row in handle.info().instances] == ["FAILED", "READY"]
    assert handle.deliver("x").result().output[0] == 1
    handle.scale(2)
    rows = handle.info().instances
    assert [(row.slot, row.state, row.restarts) for row in rows] == [
        (0, "READY", 0), (1, "READY", 0),
    ]  # fmt: skip


def test_what_cannot_be_scaled(orch: AgentOrchestrator, tmp_path: Path) -> None:
    orch.add_agent("a", who)
    with pytest.raises(PluginError, match="agent not registered: b"):
        orch.scale("b", 1)
    with pytest.raises(PluginError, match="agent 'a' is not running"):
        orch.scale("a", 1)
    handle = orch.spawn("a")
    for count in (-1, 1.5, "2", True):
        with pytest.raises((ValueError, TypeError), match="count"):
            orch.scale("a", count)  # type: ignore[arg-type]
    orch.stop("a")
    with pytest.raises(AgentStopped, match="'a' has ended"):
        handle.scale(2)
    orch.close()
    with pytest.raises(PluginError):
        orch.scale("a", 1)
    with pytest.raises(ValueError, match="instances must be 1 or more"):
        AgentOrchestrator().add_agent("b", who, instances=0)
    for refused in (
        lambda: AgentPool(who, 1, instances=2),  # type: ignore[call-overload]
        lambda: run_batch(who, ["x"], out=tmp_path / "run.db", instances=2),  # type: ignore
        lambda: measure(who, instances=2),  # type: ignore[call-overload]
    ):
        with pytest.raises(TypeError, match="instances"):
            refused()


def test_the_async_form_of_scale(orch: AgentOrchestrator) -> None:
    orch.add_agent("a", who)
    handle = orch.spawn("a")

    async def main() -> None:
        await orch.scale_async("a", 2)
        with pytest.raises(PluginError):
            await orch.scale_async("b", 2)

    asyncio.run(main())
    assert slots(handle) == [0, 1]


def test_one_instance_that_does_not_start_starts_none(orch: AgentOrchestrator) -> None:
    def factory() -> Callable[[Any], Any]:
        if current().instance == 1:
            raise ValueError("no")
        return lambda item: item

    orch.add_agent("a", factory, instances=3)
    with pytest.raises(StartError, match="no"):
        orch.spawn("a")
    assert orch.handle("a") is None


def test_a_stop_of_an_agent_ends_all_its_instances(orch: AgentOrchestrator) -> None:
    orch.add_agent("a", who, instances=3)
    handle = orch.spawn("a")
    events = orch.monitor("a")
    before = pids(handle)
    orch.stop("a")
    stopped = [event.instance for event in events if type(event).__name__ == "Stopped"]
    assert sorted(stopped) == [0, 1, 2]
    for pid in before:
        assert pid is not None
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_an_agent_asks_one_of_several_instances_and_its_own(orch: AgentOrchestrator) -> None:
    def asker() -> Callable[[Any], Any]:
        def handle(item: Any) -> Any:
            if item == "ask":
                return current().ask("a", ("where",))
            return current().instance

        return handle

    orch.add_agent("a", asker, instances=2)
    handle = orch.spawn("a")
    assert handle.deliver("ask").result().output in (0, 1)
    orch.scale("a", 1)
    error = handle.deliver("ask").exception()
    assert "agents would wait for each other for ever" in str(error)
