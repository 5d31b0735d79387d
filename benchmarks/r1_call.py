"""R1: one request at a time to an agent on a Ray cluster, beside a call of a Ray actor."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.ray_cluster import ACTOR, actor, agent, cluster, worker
from benchmarks.rows import OURS, Contender, Goal, Metric, Round, Row, Samples, Scale
from benchmarks.work import TEXT
from procorch import AgentOrchestrator

_LOCAL = "procorch, one machine"
_AHEAD = "procorch, prefetch=16"
_WARM_UP = 50


def rounds(
    amount: int, one: Callable[[], Any], many: Callable[[int], Any]
) -> Callable[[], Samples]:
    """Each call waited for, then all sent before the first answer is read."""
    for _ in range(_WARM_UP):
        one()

    def once() -> Samples:
        single = []
        for _ in range(amount):
            began = time.perf_counter()
            one()
            single.append(time.perf_counter() - began)
        began = time.perf_counter()
        many(amount)
        return {"call": single, "throughput": [amount / (time.perf_counter() - began)]}

    return once


def _of(handle: Any, amount: int) -> Callable[[], Samples]:
    def many(count: int) -> None:
        for future in [handle.deliver(("same", TEXT)) for _ in range(count)]:
            future.result()

    return rounds(amount, lambda: handle.deliver(("same", TEXT)).result(), many)


@contextmanager
def procorch(amount: int) -> Iterator[Round]:
    """An agent on a cluster of one node."""
    with cluster() as made, agent(made) as handle:
        yield _of(handle, amount)


@contextmanager
def sent_ahead(amount: int) -> Iterator[Round]:
    """The same agent, which is sent requests while it works on others."""
    with cluster() as made, agent(made, prefetch=16) as handle:
        yield _of(handle, amount)


@contextmanager
def local(amount: int) -> Iterator[Round]:
    """The same agent without Ray."""
    with AgentOrchestrator() as orchestrator:
        orchestrator.add_agent("worker", worker)
        yield _of(orchestrator.spawn("worker"), amount)


@contextmanager
def ray(amount: int) -> Iterator[Round]:
    """An actor on a cluster of one node."""
    with cluster() as made, actor(made) as (library, given):

        def many(count: int) -> None:
            library.get([given.same.remote(TEXT) for _ in range(count)])

        yield rounds(amount, lambda: library.get(given.same.remote(TEXT)), many)


ROW = Row(
    id="R1",
    work="request of 1 KiB to an agent on a Ray cluster",
    amount="requests",
    metrics={"call": Metric("s"), "throughput": Metric("1/s", better="high")},
    contenders={
        OURS: Contender(procorch, "ray"),
        _AHEAD: Contender(sent_ahead, "ray"),
        ACTOR: Contender(ray, "ray"),
        _LOCAL: Contender(local),
    },
    goals=(
        Goal("times", (ACTOR,), target=3.0, stretch=1.5, metric="call"),
        Goal("within", target=0.005, metric="call"),
    ),
    full=Scale(rounds=15, amount=200),
    quick=Scale(rounds=3, amount=100),
    smoke=Scale(rounds=1, amount=1),
    notes=(
        "A request goes to the agent through a bridge and a relay. For that the caller knows its "
        "exit status and can cancel it, and it ends with its lease.",
        "By default an agent on a cluster has one request at a time: if its node is lost, no other "
        "one may have been executed. `prefetch=16` sends more of them ahead.",
    ),
)
