"""`configure`: other settings for an agent that is registered, and perhaps runs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from procorch import (
    AgentCrashed,
    AgentHung,
    AgentOrchestrator,
    AgentStatus,
    Backoff,
    DefaultSupervisor,
    Intensity,
    MailboxFull,
    MemoryLimitExceeded,
    PluginError,
    RequestTimeout,
    SerializationError,
    command,
)
from tests.process.loops import come_back, obedient
from tests.process.scenes import Aside

Orchestrator = Callable[..., AgentOrchestrator]
GateMaker = Callable[[], Any]
AT_ONCE = Backoff(initial=0.0)


def looks_around() -> Callable[[str], Any]:
    """Answers with what its process was started with."""

    def handle(request: str) -> Any:
        if request == "die":
            os._exit(3)
        if request == "hold":
            return len(bytearray(200 << 20))
        return os.environ.get("MODE"), os.getcwd(), os.nice(0), os.getpid()

    return handle


def newer() -> Callable[[str], Any]:
    return lambda request: "newer"


@pytest.fixture
def slow(gate: GateMaker) -> Any:
    """A factory whose agent tells that it has begun and waits to be let go."""
    begun, go = gate(), gate()
    tell, wait = begun.tell, go.wait

    def factory() -> Callable[[Any], Any]:
        def handle(request: Any) -> Any:
            tell(request)
            wait()
            return request

        return handle

    return factory, begun, go


def test_what_a_process_is_started_with_is_for_the_next_one(
    orchestrator: Orchestrator, tmp_path: Path
) -> None:
    orch = orchestrator(supervisor=DefaultSupervisor())
    orch.add_agent("a", looks_around, env={"MODE": "old"}, backoff=AT_ONCE)
    handle = orch.spawn("a")
    before = handle.deliver("").result().output
    orch.configure("a", env={"MODE": "new"}, cwd=tmp_path, priority=3, backoff=AT_ONCE)
    assert handle.deliver("").result().output == before
    assert before[:3] == ("old", os.getcwd(), os.nice(0))

    assert isinstance(handle.deliver("die").exception(), AgentCrashed)

    after = handle.deliver("").result().output
    assert after[:3] == ("new", str(tmp_path), os.nice(0) + 3)
    orch.configure("a", newer)
    assert handle.deliver("").result().output == after
    handle.restart()
    assert handle.deliver("").result().output == "newer"
    assert handle.info().restarts == 1  # what was counted stays counted
    orch.scale("a", 2)
    assert [each.state for each in handle.info().instances] == ["READY", "READY"]


def test_what_the_supervisor_decides_follows_at_once(orchestrator: Orchestrator, slow: Any) -> None:
    factory, begun, go = slow
    orch = orchestrator(channel_buffer=1)
    orch.add_agent("a", factory)
    handle = orch.spawn("a")
    pid = handle.pid
    first = handle.submit(1)
    assert begun.line() == "1"
    second = handle.submit(2)
    with pytest.raises(MailboxFull):
        handle.submit(3, wait=False)
    waiting = Aside(handle.submit, 3)

    orch.configure("a", channel_buffer=3, request_timeout=0.05)

    third = waiting.result()
    with pytest.raises(RequestTimeout):
        handle.send_message("later")
    go.open(3)
    assert [each.result().output for each in (first, second, third)] == [1, 2, 3]
    orch.configure("a", channel_buffer=3, heartbeat_timeout=0.1)
    assert isinstance(handle.submit(4).exception(), AgentHung)
    assert handle.pid == pid


def test_a_limit_of_memory_goes_with_the_process(orchestrator: Orchestrator) -> None:
    orch = orchestrator(supervisor=DefaultSupervisor())
    orch.add_agent("a", looks_around)
    handle = orch.spawn("a")
    orch.configure("a", memory_limit="100M", backoff=AT_ONCE)
    assert handle.deliver("hold").result().output == 200 << 20
    handle.restart()
    orch.configure("a", backoff=AT_ONCE)
    error = handle.deliver("hold").exception()
    assert isinstance(error, MemoryLimitExceeded)
    assert error.limit == 100 << 20
    assert handle.deliver("hold").result().output == 200 << 20


def test_an_agent_that_does_not_run_starts_with_them(orchestrator: Orchestrator) -> None:
    """Exactly with these: a setting that is not given has its default again."""
    orch = orchestrator()
    orch.add_agent("a", looks_around, env={"MODE": "old"}, priority=3)
    orch.configure("a", instances=2, env={"MODE": "new"})
    handle = orch.spawn("a")
    assert handle.deliver("").result().output[:3] == ("new", os.getcwd(), os.nice(0))
    assert handle.info().size == 2
    orch.configure("a", env={"MODE": "new"})
    assert handle.info().size == 2
    handle.stop()
    assert orch.spawn("a").info().size == 1


def test_what_is_refused_changes_nothing(orchestrator: Orchestrator, tmp_path: Path) -> None:
    orch = orchestrator()
    orch.add_agent("top", looks_around, intensity=Intensity(3, 10))
    orch.add_child("a", "top", looks_around, env={"MODE": "old"})
    handle = orch.spawn("a")
    env = {"MODE": "new"}
    generator = (number for number in range(3))

    def cannot_travel() -> Any:
        return lambda request: generator

    with pytest.raises(TypeError, match="unknown setting 'retry'"):
        orch.configure("a", env=env, retry=3)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="recycle_jitter must be from 0 to 1"):
        orch.configure("a", newer, env=env, recycle_jitter=2)
    with pytest.raises(SerializationError, match="agent 'a'"):
        orch.configure("a", cannot_travel, env=env)
    with pytest.raises(ValueError, match="output='capture' cannot change while it runs"):
        orch.configure("a", newer, env=env, output="capture")
    with pytest.raises(ValueError, match="no limit 'api' was declared"):
        orch.configure("a", newer, env=env, limit="api")
    with pytest.raises(ValueError, match="agent 'a' in the group of 'top'"):
        orch.configure("a", env=env, backoff=Backoff(initial=60, cap=60))
    with pytest.raises(ValueError, match="agent 'top' has no parent to link to"):
        orch.configure("top", link="stop")
    with pytest.raises(TypeError, match="says_ready is for a service"):
        orch.configure("a", newer, says_ready=True)
    with pytest.raises(PluginError, match="not registered: nobody"):
        orch.configure("nobody")
    handle.restart()
    assert handle.deliver("").result().output[0] == "old"
    handle.stop()
    assert orch.spawn("a").deliver("").result().output[0] == "old"


def test_the_output_changes_between_two_runs(orchestrator: Orchestrator, tmp_path: Path) -> None:
    orch = orchestrator()
    orch.add_agent("a", looks_around)
    orch.spawn("a").stop()
    orch.configure("a", output="capture")
    assert orch.spawn("a").output("stdout") == ""


def test_a_group_does_not_get_an_intensity_that_its_children_cannot_reach(
    orchestrator: Orchestrator,
) -> None:
    orch = orchestrator()
    orch.add_agent("top", looks_around)
    orch.add_child("a", "top", looks_around, backoff=Backoff(initial=60, cap=60))
    with pytest.raises(ValueError, match="agent 'a' in the group of 'top'"):
        orch.configure("top", intensity=Intensity(3, 10))


def test_a_service_runs_something_else_next(orchestrator: Orchestrator) -> None:
    orch = orchestrator()
    orch.add_service("loop", obedient, backoff=AT_ONCE)
    handle = orch.spawn("loop")
    with pytest.raises(TypeError, match="retries is about requests"):
        orch.configure("loop", retries=3)
    with pytest.raises(TypeError, match="without arguments"):
        orch.configure("loop", lambda request: None, restart="temporary")
    orch.configure("loop", come_back, restart="transient", backoff=AT_ONCE)
    assert handle.status() is AgentStatus.RUNNING
    handle.restart()
    handle.wait()
    assert handle.status() is AgentStatus.COMPLETED
    orch.configure("loop", command(["sleep", "60"]))
    with pytest.raises(TypeError, match="a program cannot"):
        orch.configure("loop", heartbeat_timeout=5)
    assert orch.spawn("loop").info().state == "RUNNING"
