"""A worker whose agent has taken all descriptors away keeps its exact account."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from procorch import (
    AgentCrashed,
    AgentError,
    AgentFailure,
    AgentOrchestrator,
    AgentPool,
    SerializationError,
    SupervisorAction,
)

pytestmark = pytest.mark.fault

PATIENCE = 90.0
Orchestrator = Callable[..., AgentOrchestrator]


@pytest.fixture(params=["zygote", "spawn"])
def method(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("PROCORCH_START_METHOD", request.param)
    return str(request.param)


class KeepsTheLiving:
    """Restarts after a death, and leaves an agent alone whose request failed."""

    def on_agent_error(self, name: str, error: AgentError) -> SupervisorAction:
        died = isinstance(error, AgentCrashed)
        return SupervisorAction.RESTART if died else SupervisorAction.ESCALATE


def greedy() -> Any:
    import resource
    import threading

    import procorch

    held: list[int] = []

    def used_up() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        while True:
            try:
                held.append(os.open("/dev/null", os.O_RDONLY))
            except OSError:
                return

    async def later(message: Any) -> Any:
        return message

    def ask() -> Any:
        # Two at a time: the main thread waits for the answer that the other one reads.
        context, answers = procorch.current(), []
        other = threading.Thread(target=lambda: answers.append(context.ask("b", "other")))
        other.start()
        answers.append(context.ask("b", "main"))
        other.join()
        return sorted(answers)

    def handle(message: Any) -> Any:
        match message:
            case "zero":
                resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
            case "used up":
                used_up()
            case "raise":
                raise ValueError("boo")
            case "async":
                return later(message)
            case "large":
                return b"x" * 2_000_000
            case "ask":
                return ask()
            case "checkpoint":
                procorch.current().checkpoint("kept")
            case "restored":
                return procorch.current().restored
            case "pid":
                return os.getpid()
            case "crash":
                os.kill(os.getpid(), signal.SIGSEGV)
            case bytes():
                return len(message)
        return message

    return handle


def echo() -> Any:
    return lambda message: message[0].content[0].text


@pytest.mark.parametrize("how", ["zero", "used up"])
def test_requests_go_on_and_a_death_is_told_exactly(
    method: str, orchestrator: Orchestrator, how: str
) -> None:
    orch = orchestrator(supervisor=KeepsTheLiving())
    orch.add_agent("a", greedy)
    orch.add_agent("b", echo)
    orch.spawn("b")
    handle = orch.spawn("a")
    pid = handle.pid

    def send(message: Any) -> Any:
        return handle.deliver(message, timeout=PATIENCE).result().output

    assert send("async") == "async"  # Its event loop has its descriptors.
    for message in (how, "next", "async", "checkpoint", "next"):
        assert send(message) == message
    assert send("large") == b"x" * 2_000_000
    assert send("ask") == ["main", "other"]
    with pytest.raises(AgentFailure, match="boo"):
        send("raise")
    # The memory of a large request needs a descriptor: this one alone fails, and says why.
    with pytest.raises(SerializationError, match="no descriptors left"):
        send(b"x" * 2_000_000)
    assert send("next") == "next"
    assert handle.pid == pid
    reply = handle.deliver("crash", timeout=PATIENCE)
    crashed = reply.exception()
    assert isinstance(crashed, AgentCrashed)
    assert (crashed.signal, crashed.pid, crashed.may_have_executed) == ("SIGSEGV", pid, True)
    assert "in handle" in (crashed.last_stack or "")
    assert send("restored") == "kept"


@pytest.mark.parametrize("how", ["zero", "used up"])
def test_the_items_of_a_chunk_are_all_answered(method: str, how: str) -> None:
    with AgentPool(greedy, workers=1) as pool:
        items = ["first", how, *map(str, range(20))]
        (pid,) = pool.map(["pid"])
        assert list(pool.imap(items, chunksize=11)) == items
        assert pool.map(["pid"]) == [pid], "it is the same worker"
