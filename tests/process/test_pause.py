"""`pause` and `resume`: requests wait while an agent is paused by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from procorch import (
    AgentOrchestrator,
    AgentStatus,
    DefaultSupervisor,
    RequestTimeout,
    TakesNoRequests,
)
from tests.process.loops import obedient

Orchestrator = Callable[..., AgentOrchestrator]


@pytest.fixture
def slow(gate: Callable[[], Any]) -> Any:
    """A factory whose agent tells what it has begun and waits to be let go."""
    begun, go = gate(), gate()
    tell, wait = begun.tell, go.wait

    def factory() -> Callable[[Any], Any]:
        def handle(request: Any) -> Any:
            tell(request)
            wait()
            return request

        return handle

    return factory, begun, go


def test_what_runs_is_finished_and_nothing_more_is_begun(
    orchestrator: Orchestrator, slow: Any
) -> None:
    factory, begun, go = slow
    orch = orchestrator(supervisor=DefaultSupervisor(), start_method="zygote")  # it reloads
    orch.add_agent("a", factory, prefetch=4)
    handle = orch.spawn("a")
    requests = [handle.submit(number) for number in range(3)]
    assert begun.line() == "0"
    handle.pause()
    go.open(3)
    assert requests[0].result().output == 0
    with pytest.raises(RequestTimeout):
        handle.send_message("late", timeout=0.05)
    assert handle.info().state == "PAUSED"

    handle.restart()
    orch.scale("a", 2)
    orch.reload()

    assert handle.info().state == "PAUSED"
    assert begun.told() == []
    handle.resume()
    assert sorted(each.result().output for each in requests[1:]) == [1, 2]
    assert handle.info().state == "READY"
    assert sorted(begun.told()) == ["1", "2"]


def test_a_stop_finishes_what_waits(orchestrator: Orchestrator) -> None:
    orch = orchestrator()
    orch.add_agent("a", lambda: lambda messages: messages[-1].text)
    handle = orch.spawn("a")
    handle.pause()
    request = handle.submit("waits")
    handle.stop()
    assert request.result().output == "waits"
    assert handle.status() is AgentStatus.STOPPED
    handle.pause()
    handle.resume()


def test_a_service_cannot_be_paused(orchestrator: Orchestrator) -> None:
    orch = orchestrator()
    orch.add_service("loop", obedient)
    handle = orch.spawn("loop")
    with pytest.raises(TakesNoRequests):
        handle.pause()
