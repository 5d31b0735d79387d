"""Where the demo's agents run on a cluster, and the node that is killed meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Protocol, Self, TypeVar

from procorch.demo.cluster import LocalCluster

NODES = 3
_AFTER = 3
"""The node is killed after one in so many of the candidates."""


class _Node(Protocol):
    def has(self, pid: int) -> bool: ...


_AnyNode = TypeVar("_AnyNode", bound=_Node)


def node_to_kill(nodes: Sequence[_AnyNode], busy: Mapping[int, bool]) -> _AnyNode | None:
    """The node of the first process whose candidate may be lost, and without one that may not.

    Args:
        busy: the processes that work, and whether their candidates may be lost.
    """
    fit = [node for node in nodes if not any(map(node.has, _with(busy, False)))]
    return next((node for pid in _with(busy, True) for node in fit if node.has(pid)), None)


def _with(busy: Mapping[int, bool], wanted: bool) -> list[int]:
    return [pid for pid, may_be_lost in busy.items() if may_be_lost is wanted]


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

    def step(self, busy: Callable[[], Mapping[int, bool]]) -> bool:
        """A candidate is done; returns whether a node was killed now.

        Args:
            busy: tells which processes work, see `node_to_kill`. A node is killed as soon as one
                is fit that is not the node of this program.
        """
        self._done += 1
        if self._cluster is None or self._done < self._after or self.killed is not None:
            return False
        node = node_to_kill(self._cluster.nodes[1:], busy())
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
