"""Many agents that fail at once, on real processes (N10)."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from procorch import (
    AgentOrchestrator,
    AgentStatus,
    Backoff,
    DefaultSupervisor,
    Shutdown,
)
from procorch.supervision import notices

Orchestrator = Callable[..., AgentOrchestrator]
GateMaker = Callable[[], Any]

AT_ONCE = os.cpu_count() or 1


class Stopwatch:
    """Fails when what is done inside takes longer than a second."""

    def __enter__(self) -> None:
        self.began = time.monotonic()

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        took = time.monotonic() - self.began
        assert took < 1 or error is not None, f"took {took:.2f} s"


def test_no_more_processes_start_at_once_than_there_are_cores(
    orchestrator: Orchestrator, gate: GateMaker
) -> None:
    """N10: the others wait for their turn, in order."""
    begun, go = gate(), gate()
    tell, wait = begun.tell, go.wait

    def factory():
        import procorch

        tell(procorch.current().agent)
        wait()
        return lambda x: x

    orch = orchestrator()
    names = [f"agent {n}" for n in range(3 * AT_ONCE)]
    for name in names:
        orch.add_agent(name, factory)
    handles = [orch.spawn(name, wait=False) for name in names]
    starting = [begun.line() for _ in range(AT_ONCE)]
    assert sorted(starting) == sorted(names[:AT_ONCE])
    for turn in names[AT_ONCE:]:
        assert sum(handle.generation for handle in handles) == len(starting)
        go.open()
        starting.append(begun.line())
        assert starting[-1] == turn
    go.open(AT_ONCE)
    for handle in handles:
        assert handle.deliver("hello").result().output == "hello"


@pytest.mark.timeout(180)  # over a hundred starts: 10 s of processor time with "spawn"
def test_a_hundred_agents_in_a_crash_loop_leave_the_orchestrator_responsive(
    orchestrator: Orchestrator,
) -> None:
    """N10: status, figures, stop, cancel and the work of others within a second each."""

    def factory():
        import os

        import procorch

        if procorch.current().generation > 1:
            os._exit(1)
        return lambda x: os._exit(1)

    def sound():
        return lambda x: x

    orch = orchestrator(supervisor=DefaultSupervisor())
    orch.add_agent("sound", sound)
    looping = {
        "max_restarts": 10**9,
        "backoff": Backoff(initial=0.01, cap=0.1),
        "shutdown": Shutdown(grace=0.5),
    }
    orch.add_agent("root", sound)
    for n in range(100):
        orch.add_child(f"child {n}", "root", factory, **looping)
    stream = orch.events()
    witness = orch.spawn("sound")
    handles = orch.spawn_tree("root")
    children = [handle for name, handle in handles.items() if name != "root"]
    crashes = [child.deliver("die") for child in children]

    restarts: Counter[str] = Counter()
    for notice in stream:
        if isinstance(notice, notices.Restarting):
            restarts[notice.agent] += 1
            if len(restarts) == 100 and restarts.total() >= 150:
                break
    assert all(reply.exception() is not None for reply in crashes)

    with Stopwatch():
        assert {child.status() for child in children} == {AgentStatus.RUNNING}
    with Stopwatch():
        assert sum(child.info().restarts for child in children) >= 150
    with Stopwatch():
        assert len(orch.which_children("root")) == 100
        assert orch.count_children("root").active == 100
    for n in range(3):
        with Stopwatch():
            assert witness.deliver(n).result().output == n
        with Stopwatch():
            children[n].stop()
        assert children[n].status() is AgentStatus.STOPPED
        with Stopwatch():
            children[-n - 1].cancel()
            children[-n - 1].wait()
        assert children[-n - 1].status() is AgentStatus.CANCELLED
    with Stopwatch():
        orch.close(drain=False)
    assert not any(child.status() is AgentStatus.RUNNING for child in children)
    assert witness.generation == 1


def test_agents_that_failed_together_do_not_come_back_together(
    orchestrator: Orchestrator,
) -> None:
    """N2, N10: full jitter spreads the delays, which without it are all the same."""

    def factory():
        import os

        return lambda x: os._exit(1)

    orch = orchestrator(supervisor=DefaultSupervisor())
    stream = orch.events()
    for n in range(4):
        orch.add_agent(f"spread {n}", factory, backoff=Backoff(initial=0.05))
        orch.add_agent(f"even {n}", factory, backoff=Backoff(initial=0.05, jitter=False))
    for handle in orch.spawn_all().values():
        for _ in range(2):  # the first restart is immediate
            handle.deliver("die")
    delays: dict[str, float] = {}
    for notice in stream:
        if isinstance(notice, notices.BackingOff):
            delays[notice.agent] = notice.delay
            if len(delays) == 8:
                break
    even = [delay for agent, delay in delays.items() if agent.startswith("even")]
    spread = [delay for agent, delay in delays.items() if agent.startswith("spread")]
    assert even == [0.05] * 4
    assert len(set(spread)) == 4
    assert all(0 <= delay <= 0.05 for delay in spread)
