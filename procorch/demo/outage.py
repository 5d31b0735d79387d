"""Where the demo's agents run on a cluster, and the node that is killed meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from procorch.demo.cluster import LocalCluster

NODES = 3
_AFTER = 3
"""The node is killed after one in so many of the candidates."""


class Outage:
    """A cluster for one evaluation.

    A context manager: a cluster of this machine ends with the block.

    Args:
        backend: "ray": a cluster of three nodes on this machine, of which one is killed;
            "ray:ADDRESS": that cluster, of which none is.
        candidates: how many are evaluated.

    Raises:
        MissingPackage: Ray is not installed.
        NodeNotStarted: the cluster does not start.
    """

    def __init__(self, backend: str, candidates: int) -> None:
        self._after = max(1, candidates // _AFTER)
        self._done = 0
        self._cluster: LocalCluster | None = None
        self.backend: str = backend
        self.killed: str | None = None
        """What was killed and when, as text."""
        with ExitStack() as stack:
            if backend == "ray":
                self._cluster = stack.enter_context(LocalCluster(NODES))
                stack.enter_context(self._cluster.entered())
                self.backend = f"ray:{self._cluster.address}"
            self._stack = stack.pop_all()

    def step(self, busy: Callable[[], list[int]]) -> bool:
        """A candidate is done; returns whether a node was killed now.

        Args:
            busy: tells which processes work. The node of the first of them is killed, as soon as
                one is not on the node of this program.
        """
        self._done += 1
        if self._cluster is None or self._done < self._after or self.killed is not None:
            return False
        far = self._cluster.nodes[1:]
        node = next((node for pid in busy() for node in far if node.has(pid)), None)
        if node is None:
            return False
        self._cluster.kill(node)
        self.killed = f"{node.name} of {NODES} was killed after {self._done} candidates"
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:  # fmt: skip
        self._stack.close()
