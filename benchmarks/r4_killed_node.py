"""R4: a node of a Ray cluster is killed; until the agent's next process answers elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from benchmarks.ray_cluster import ACTOR, FAR, REPLACED, actor, agent, cluster
from benchmarks.rows import OURS, Contender, Goal, Metric, Round, Row, Scale
from procorch.demo.cluster import LocalCluster, Node

Harm: TypeAlias = Callable[[LocalCluster, Node], None]


def harmed(
    made: LocalCluster, ask: Callable[[], int], harm: Callable[[LocalCluster, Node], None]
) -> float:
    """Seconds from the harm to a node until the next agent on another one answers."""
    node = made.node_of(ask())
    began = time.perf_counter()
    harm(made, node)
    ask()
    elapsed = time.perf_counter() - began
    if node in made.nodes:
        made.kill(node)
    made.add({FAR: 1})
    return elapsed


def _ours(harm: Harm) -> Contender:
    @contextmanager
    def opened(amount: int) -> Iterator[Round]:
        with cluster(2) as made, agent(made, {FAR: 1}) as handle:

            def ask() -> int:
                pid: int = handle.deliver(("pid",), retries=2).result().output
                return pid

            yield lambda: {"time": [harmed(made, ask, harm) for _ in range(amount)]}

    return Contender(opened, "ray")


def _theirs(harm: Harm) -> Contender:
    @contextmanager
    def opened(amount: int) -> Iterator[Round]:
        with cluster(2) as made, actor(made, resources={FAR: 1}, **REPLACED) as (library, given):

            def ask() -> int:
                pid: int = library.get(given.pid.remote())
                return pid

            yield lambda: {"time": [harmed(made, ask, harm) for _ in range(amount)]}

    return Contender(opened, "ray")


def row(id: str, what: str, harm: Harm, full: Scale) -> Row:
    """The row of one way to harm a node."""
    return Row(
        id=id,
        work=f"a node of a Ray cluster {what} until the agent's next process answers",
        amount="nodes",
        metrics={"time": Metric("s")},
        contenders={OURS: _ours(harm), ACTOR: _theirs(harm)},
        goals=(Goal("within", target=10.0),),
        full=full,
        quick=Scale(rounds=1, amount=1),
        smoke=Scale(rounds=1, amount=1),
        notes=("With the default lease of 4 s, and Ray's own defaults for its actor.",),
    )


ROW = row("R4", "is killed", LocalCluster.kill, Scale(rounds=4, amount=1))
