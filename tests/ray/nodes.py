"""What runs on the nodes of a local cluster, and what is left there."""

from __future__ import annotations

import contextlib
import os
import re
import select
import time

import psutil

from procorch.demo.cluster import LocalCluster, Node, is_alive

_OF_RAY = re.compile(r"/ray/|^ray::(IDLE|\w*Agent)\b|-m procorch\.demo")
_GONE = "/ray/"  # as if it were Ray's


def what_is_left(cluster: LocalCluster, deadline: float) -> list[str]:
    """What is not Ray's own on the nodes and has not ended by the deadline."""
    while True:
        left = [
            (node.name, each)
            for node in cluster.nodes
            for each in node.processes()
            if not _OF_RAY.search(_command(each))
        ]
        if not left or time.monotonic() > deadline:
            return [f"{name}: {shown(each)}" for name, each in left]
        _await_end(left[0][1], deadline)


def of_ray(node: Node) -> list[psutil.Process]:
    """The raylet of a node and Ray's workers, without the agents below them."""
    return [each for each in node.processes() if re.match("raylet|ray::", _title(each))]


def relays(node: Node) -> list[psutil.Process]:
    """The relays of agents on a node."""
    return [each for each in node.processes() if _command(each).startswith("ray::Relay")]


def bridges() -> list[psutil.Process]:
    """The processes of this program that are connected to a cluster."""
    children = psutil.Process().children()
    return [each for each in children if "procorch-bridge" in _command(each)]


def is_whole(node: Node, *, head: bool = False) -> bool:
    """Whether the services of Ray run there."""
    names = {_name(each) for each in node.processes()}
    return {"raylet", "gcs_server"} <= names if head else "raylet" in names


def shown(process: psutil.Process) -> str:
    """A process as a person looks for it."""
    with contextlib.suppress(psutil.Error):
        return f"{process.pid} {process.status()} {process.name()}: {_command(process)[:150]}"
    return f"{process.pid}"


def _await_end(process: psutil.Process, deadline: float) -> None:
    with contextlib.suppress(ProcessLookupError):
        fd = os.pidfd_open(process.pid)
        try:
            if is_alive(process):
                select.select([fd], [], [], max(0.0, deadline - time.monotonic()))
        finally:
            os.close(fd)


def _command(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())
    return _GONE


def _name(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return str(process.name())
    return _GONE


def _title(process: psutil.Process) -> str:
    name = _name(process)
    return name if name == "raylet" else _command(process)
