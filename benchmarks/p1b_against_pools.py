"""P1b: one request at a time, beside the pools; one worker each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.p1_send_message import WARM_UP, procorch, timed
from benchmarks.peers import EXECUTOR, PEERS, Kind
from benchmarks.rows import OURS, Contender, Goal, Metric, Round, Row, Scale
from benchmarks.work import TEXT, answer_in_full, messages


def contender(kind: Kind) -> Contender:
    """A peer that answers the same messages."""

    @contextmanager
    def opened(amount: int) -> Iterator[Round]:
        with kind.open(1) as peer:
            for _ in range(WARM_UP):
                assert peer.call(answer_in_full, messages()).text == TEXT
            yield lambda: timed(lambda: peer.call(answer_in_full, messages()), amount)

    return Contender(opened, kind.needs)


ROW = Row(
    id="P1b",
    work="send_message of 1 KiB, beside pools of one worker",
    amount="requests",
    metrics={"time": Metric("s")},
    contenders={
        OURS: Contender(procorch),
        **{name: contender(kind) for name, kind in PEERS.items()},
    },
    goals=(
        Goal("faster", tuple(PEERS), target=1.0),
        Goal("faster", (EXECUTOR,), stretch=2.0),
    ),
    full=Scale(rounds=15, amount=400),
    quick=Scale(rounds=5, amount=200),
    smoke=Scale(rounds=1, amount=3),
)
