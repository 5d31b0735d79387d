"""P2: many requests of 1 KiB to one worker, all submitted before the first result is taken."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.peers import PEERS, Kind
from benchmarks.rows import OURS, Contender, Goal, Metric, Round, Row, Samples, Scale
from benchmarks.work import TEXT, answer_in_full, answerer, messages
from procorch import AgentOrchestrator

WARM_UP = 100
PREFETCH = 32


def rate(work: Callable[[int], list[Any]], amount: int) -> Samples:
    """Answers a second."""
    began = time.perf_counter()
    answers = work(amount)
    elapsed = time.perf_counter() - began
    assert len(answers) == amount
    assert answers[-1].text == TEXT
    return {"rate": [amount / elapsed]}


@contextmanager
def procorch(
    amount: int, *, prefetch: int = PREFETCH, channel_buffer: int | None = None
) -> Iterator[Round]:
    """`OrchestratedHandle.submit`; the queue has room for all, as those of the peers have."""
    room = amount + WARM_UP if channel_buffer is None else channel_buffer
    with AgentOrchestrator(channel_buffer=room) as orchestrator:
        orchestrator.add_agent("answerer", answerer, prefetch=prefetch)
        handle = orchestrator.spawn("answerer")

        def work(count: int) -> list[Any]:
            futures = [handle.submit(TEXT) for _ in range(count)]
            return [future.result() for future in futures]

        work(WARM_UP)
        yield lambda: rate(work, amount)


def contender(kind: Kind) -> Contender:
    """A peer that answers the same messages."""

    @contextmanager
    def opened(amount: int) -> Iterator[Round]:
        with kind.open(1) as peer:

            def work(count: int) -> list[Any]:
                return peer.many(answer_in_full, [messages() for _ in range(count)])

            work(WARM_UP)
            yield lambda: rate(work, amount)

    return Contender(opened, kind.needs)


ROW = Row(
    id="P2",
    work="pipelined requests of 1 KiB, one agent",
    amount="requests",
    metrics={"rate": Metric("1/s", better="high")},
    contenders={
        OURS: Contender(procorch),
        "procorch, channel of 32": Contender(lambda amount: procorch(amount, channel_buffer=32)),
        "procorch, prefetch 1": Contender(lambda amount: procorch(amount, prefetch=1)),
        **{name: contender(kind) for name, kind in PEERS.items()},
    },
    goals=(Goal("faster", tuple(PEERS), target=4.0, stretch=8.0, metric="rate"),),
    full=Scale(rounds=7, amount=20_000),
    quick=Scale(rounds=3, amount=4_000),
    smoke=Scale(rounds=1, amount=5),
    notes=(
        "The queues of the peers have no limit, so procorch's `channel_buffer` has room for all "
        "requests. With the default of 32 the sender waits for places. Its worker has up to "
        f"{PREFETCH} requests at hand (`prefetch`); the peers' workers take theirs from a common "
        "pipe, where those of a worker that dies are lost or end the pool.",
    ),
)
