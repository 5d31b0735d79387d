"""The process that starts the nodes of a `LocalCluster`: ``python -m procorch.demo.ray_nodes``.

It alone imports Ray. It reads a command a line from standard input, as JSON, and answers each with
a line on standard output: ``{"address": ...}`` or ``{"error": ...}``. At the end of its input it
ends all nodes.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

_CLONE_NEWNET = 0x40000000
_NOTICED = 60.0
"""Seconds within which Ray has to notice that a node is dead."""
_LOOK = 0.1
"""Seconds between two looks at the nodes that Ray lists."""

Starter = Callable[..., Any]


def main() -> None:
    """Serve until the end of the input."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # Ray prints, too
    from ray.cluster_utils import Cluster

    cluster = Cluster(shutdown_at_exit=False)
    nodes: list[Any] = []

    def add(environment: dict[str, str], namespace: str | None = None, **settings: Any) -> None:
        os.environ.update(environment)
        if namespace is not None:
            _enter(namespace)
        nodes.append(cluster.add_node(**settings))

    def reap() -> None:
        for process in [each for node in nodes for each in _processes(node)]:
            process.poll()

    def restart_control_plane() -> None:
        cluster.head_node.kill_gcs_server()
        cluster.head_node.start_gcs_server()

    def forget_head() -> None:
        cluster.head_node = None

    def settle(number: int) -> None:
        deadline = time.monotonic() + _NOTICED
        while (listed := len(cluster.global_state._live_node_ids())) != number:
            if time.monotonic() > deadline:
                raise TimeoutError(f"Ray lists {listed} nodes, and {number} are alive")
            time.sleep(_LOOK)

    commands: dict[str, Starter] = {
        each.__name__: each for each in (add, reap, restart_control_plane, forget_head, settle)
    }
    for line in sys.stdin:
        given = json.loads(line)
        try:
            commands[given.pop("command")](**given)
            answer = {"address": cluster.address}
        except Exception:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), file=answers, flush=True)
    for node in nodes:
        node.kill_all_processes(check_alive=False, allow_graceful=False, wait=False)


def _processes(node: Any) -> list[Any]:
    return [each.process for group in node.all_processes.values() for each in group]


def _enter(namespace: str) -> None:
    """Go into a network namespace; what is started from now on is in it, too."""
    with open(namespace) as there:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(there.fileno(), _CLONE_NEWNET) != 0:
            code = ctypes.get_errno()
            raise OSError(code, f"setns: {os.strerror(code)}")


if __name__ == "__main__":
    main()
