"""R3: an agent on a Ray cluster is killed; until its next process answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.p5_recovery import recover
from benchmarks.ray_cluster import ACTOR, REPLACED, actor, agent, cluster
from benchmarks.rows import OURS, Contender, Goal, Metric, Round, Row, Scale


@contextmanager
def procorch(amount: int) -> Iterator[Round]:
    """See P5."""
    with cluster() as made, agent(made) as handle:

        def ask() -> int:
            pid: int = handle.deliver(("pid",), retries=2).result().output
            return pid

        yield lambda: {"time": [recover(ask(), ask) for _ in range(amount)]}


@contextmanager
def ray(amount: int) -> Iterator[Round]:
    """An actor that Ray restarts."""
    with cluster() as made, actor(made, **REPLACED) as (library, given):

        def ask() -> int:
            pid: int = library.get(given.pid.remote())
            return pid

        yield lambda: {"time": [recover(ask(), ask) for _ in range(amount)]}


ROW = Row(
    id="R3",
    work="SIGKILL of an agent on a Ray cluster until its next process answers",
    amount="kills",
    metrics={"time": Metric("s")},
    contenders={OURS: Contender(procorch, "ray"), ACTOR: Contender(ray, "ray")},
    goals=(Goal("within", target=10.0),),
    full=Scale(rounds=5, amount=2),
    quick=Scale(rounds=2, amount=1),
    smoke=Scale(rounds=1, amount=1),
)
