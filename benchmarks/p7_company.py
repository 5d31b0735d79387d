"""P7: what a request costs when a thousand other agents are alive."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.p1_send_message import WARM_UP, timed
from benchmarks.p6_scale import populate, raise_limits
from benchmarks.rows import OURS, Contender, Goal, Metric, Round, Row, Scale
from benchmarks.work import TEXT, answerer
from procorch import AgentOrchestrator

_ALONE = "procorch, one agent"
_REQUESTS = 200
"""Requests in a round."""


@contextmanager
def procorch(others: int) -> Iterator[Round]:
    """`OrchestratedHandle.send_message` to one of many."""
    raise_limits()
    with AgentOrchestrator() as orchestrator:
        populate(orchestrator, others)
        orchestrator.add_agent("answerer", answerer)
        handle = orchestrator.spawn("answerer")
        for _ in range(WARM_UP):
            handle.send_message(TEXT)
        yield lambda: timed(lambda: handle.send_message(TEXT), _REQUESTS)


ROW = Row(
    id="P7",
    work="send_message of 1 KiB with 1,000 other agents alive",
    amount="other agents",
    metrics={"time": Metric("s")},
    contenders={OURS: Contender(procorch), _ALONE: Contender(lambda others: procorch(0))},
    goals=(Goal("times", (_ALONE,), target=1.1, stretch=1.02),),
    full=Scale(rounds=25, amount=1_000),
    quick=Scale(rounds=9, amount=1_000),
    smoke=Scale(rounds=1, amount=3),
)
