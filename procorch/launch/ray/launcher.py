"""The launcher that starts workers on the nodes of a Ray cluster: the parent's side.

A bridge (`bridge`) speaks with Ray, so that nothing Ray does to its process can harm this one. If
the bridge ends, no relay gets its lease prolonged any more: each ends its worker. The workers are
reported as lost when that is certain, and the next start of a worker starts a new bridge.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Sequence

from procorch.launch.base import Caps, Sink, Spec, Watcher, Where
from procorch.launch.ray import messages
from procorch.launch.ray.backend import RayBackend
from procorch.launch.ray.bridge_client import BridgeClient
from procorch.launch.ray.process import RemoteProcess


class RayLauncher:
    """See the top of this module.

    Args:
        backend: which cluster.
        max_frame: the largest frame accepted from a worker, in bytes.
        preload: modules that are imported in a node's process before the worker starts there.
    """

    caps: Caps = Caps(signals=True, exit_status=True, fd_passing=False, remote=True, direct=False)

    def __init__(self, backend: RayBackend, max_frame: int, preload: Sequence[str] = ()) -> None:
        self._backend = backend
        self._max_frame = max_frame
        self._preload = tuple(preload)
        self._bridge: BridgeClient | None = None
        self._numbers = itertools.count(1)

    def open(self, loop: Watcher, sink: Sink) -> None:
        """See `Launcher.open`."""
        self._loop = loop
        self._sink = sink

    def start(self, spec: Spec) -> RemoteProcess:
        """See `Launcher.start`."""
        bridge = self._bridge
        if bridge is None or bridge.dead:
            bridge = self._bridge = BridgeClient(self._backend, self._loop, self)
        process = RemoteProcess(spec, next(self._numbers), bridge, self._loop, self._sink)
        spread = self._backend.spread if spec.placement is None else spec.placement == "spread"
        begin = messages.Begin(
            spec.name, spec.key, spec.generation, spec.init_head, dict(spec.resources), spread,
            spec.memory_limit, self._max_frame, self._preload,
        )  # fmt: skip
        bridge.begin(process, begin, spec.factory)
        return process

    def bridge_ended(self) -> None:
        """See `bridge_client.Owner`: the next bridge connects while the leases of workers end."""
        with contextlib.suppress(OSError):  # the next start of a worker tries again
            self._bridge = BridgeClient(self._backend, self._loop, self)

    def node_changed(self, change: messages.NodeChange) -> None:
        """See `bridge_client.Owner`."""
        where = Where(0, change.host, change.node)
        self._sink.on_node(where, joined=change.joined, why=change.why)

    def retire(self, release: int) -> None:
        """See `Launcher.retire`: each worker loads its code on its node."""

    def close(self) -> None:
        """See `Launcher.close`: Ray ends what a bridge has started when the bridge ends."""
        if self._bridge is not None:
            self._bridge.close()
