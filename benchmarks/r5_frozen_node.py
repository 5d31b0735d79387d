"""R5: a node of a Ray cluster is frozen; until the agent's next process answers elsewhere."""

from __future__ import annotations

import signal

from benchmarks.r4_killed_node import row
from benchmarks.rows import Scale
from procorch.demo.cluster import LocalCluster, Node, send


def freeze(cluster: LocalCluster, node: Node) -> None:
    """Stop all processes of a node, which then neither answers nor ends."""
    send(signal.SIGSTOP, node.processes())


ROW = row("R5", "is frozen", freeze, Scale(rounds=2, amount=1))
