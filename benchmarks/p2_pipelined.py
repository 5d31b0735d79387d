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
def procorch(amount: int, *, tuned: bool = False) -> Iterator[Round]:
    """`OrchestratedHandle.submit`.

    Args:
        tuned: the queue has room for all requests, and the worker has some of them at hand.
    """
    room: dict[str, Any] = {"channel_buffer": amount + WARM_UP} if tuned else {}
    ahead: dict[str, Any] = {"prefetch": PREFETCH} if tuned else {}
    with AgentOrchestrator(**room) as orchestrator:
        orchestrator.add_agent("answerer", answerer, **ahead)
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
        f"procorch, prefetch {PREFETCH}": Contender(lambda amount: procorch(amount, tuned=True)),
        **{name: contender(kind) for name, kind in PEERS.items()},
    },
    goals=(Goal("faster", tuple(PEERS), target=2.0, stretch=4.0, metric="rate"),),
    full=Scale(rounds=7, amount=20_000),
    quick=Scale(rounds=3, amount=4_000),
    smoke=Scale(rounds=1, amount=5),
    notes=(
        "All with their defaults. The queues of the peers have no limit; procorch's has room for "
        "32 requests, so the sender waits for places. With `prefetch` it has room for all "
        "(`channel_buffer`), and the worker has some requests at hand. The peers' workers take "
        "theirs from a common pipe, where a worker that dies loses its requests or ends the pool.",
    ),
)
