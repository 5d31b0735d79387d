"""Errors of clusters, see docs/how-to/cluster.md."""

from __future__ import annotations

from procorch.errors.agents import StartError
from procorch.errors.base import known


@known
class ClusterError(StartError):
    """The cluster, or a node of it, cannot be used.

    `reason` is "missing" (Ray is not installed), "version" (Ray's version does not fit), "address"
    (it does not answer), "token" (it refuses the token), "node" (procorch is not installed there,
    or cannot be imported), "handshake" (the node has another version of procorch or Python) or
    "bridge" (the process that connects to it has ended). `address` is that of the cluster.

    Example:
        >>> ClusterError("the node does not answer", permanent=True).is_retryable
        False
    """

    phase: str = "connect"
    reason: str = ""
    address: str | None = None
    node: str | None = None

    def _describe(self) -> str:
        at = f" at {self.address}" if self.address else ""
        return f"the Ray cluster{at} cannot be used ({self.reason or 'unknown reason'})"
