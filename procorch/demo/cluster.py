"""A Ray cluster of several nodes on this machine, for the demo, the tests and the benchmarks.

Each node has a raylet, an object store and workers of its own, and is killed as a machine is: all
of its processes at once. They are found by a variable in their environment and below those that
have it, because workers change their groups and their parents.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from procorch.demo.humaneval import MissingPackage

OBJECT_STORE = 80_000_000
"""Bytes of the object store of each node; Ray takes no less than 75 MB."""
PATIENCE = 120.0
"""Seconds for a node to start, on a machine that does other things, too."""

_MARK = "PROCORCH_CLUSTER_NODE"


class NodeNotStarted(Exception):
    """A node of a local cluster did not start; the text has what Ray said."""


class Node:
    """One node of a `LocalCluster`.

    Args:
        name: its name in this cluster, such as "node-2".
        mark: what all its processes have in their environment.
    """

    def __init__(self, name: str, mark: str) -> None:
        self.name: str = name
        self.mark: str = mark

    def __repr__(self) -> str:
        return f"Node({self.name!r})"

    def processes(self) -> list[psutil.Process]:
        """All processes of the node that are alive now: Ray's, and those of agents."""
        found = {each for each in psutil.process_iter() if self._is_marked(each)}
        for each in list(found):
            with contextlib.suppress(psutil.NoSuchProcess):
                found.update(each.children(recursive=True))
        return [each for each in found if is_alive(each)]

    def has(self, pid: int) -> bool:
        """Whether the process with that number runs on this node."""
        return any(each.pid == pid for each in self.processes())

    def kill(self) -> None:
        """Kill all processes of the node, as when its machine loses its power."""
        send(signal.SIGSTOP, self.processes())  # what is stopped starts nothing that is missed
        deadline = time.monotonic() + PATIENCE
        while left := self.processes():
            send(signal.SIGKILL, left)
            _await_end(left[0], deadline)

    def _is_marked(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get(_MARK) == self.mark
        except (psutil.Error, OSError):  # it is gone, or somebody else's
            return False


class LocalCluster:
    """A Ray cluster whose nodes all run on this machine, on its loopback interface.

    Its processors are numbers that Ray counts with: all nodes share those of the machine. Programs
    that use the cluster need `variables` in their environment (`entered`).

    A context manager: the end of the block kills all nodes and removes their files.

    Args:
        nodes: how many.
        cpus: processors that each node offers.

    Raises:
        MissingPackage: Ray is not installed.
        NodeNotStarted: a node did not start.

    Example:
        ``with LocalCluster(nodes=3) as cluster, cluster.entered(): ...``
    """

    def __init__(self, nodes: int = 3, *, cpus: int = 2) -> None:
        if importlib.util.find_spec("ray") is None:
            raise MissingPackage(
                "a cluster needs Ray, which is not installed: pip install 'procorch[ray]'"
            )
        self._cpus = cpus
        self._made = 0
        self._name = secrets.token_hex(4)
        # A short path: the sockets of Ray have to fit into 107 bytes below it.
        self._folder = Path(tempfile.mkdtemp(prefix="rc-", dir="/tmp"))
        self.variables: Mapping[str, str] = self.set_up()
        self.address: str = ""
        """What a driver connects to, such as "127.0.0.1:40123"."""
        self.nodes: list[Node] = []
        with open(self._folder / "said", "wb") as said:
            self._starter = subprocess.Popen(
                [sys.executable, "-m", "procorch.demo.ray_nodes"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said,
                env={**os.environ, **self.variables, "RAY_TMPDIR": str(self._folder)},
                start_new_session=True,
            )  # fmt: skip
        try:
            for _ in range(nodes):
                self.add()
        except BaseException:
            self.close()
            raise

    @property
    def head(self) -> Node:
        """The first node, which has the control plane. Programs of this machine belong to it."""
        return self.nodes[0]

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Set `variables` in the environment of this process."""
        before = {name: os.environ.get(name) for name in self.variables}
        os.environ.update(self.variables)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value

    def add(self, resources: Mapping[str, float] | None = None) -> Node:
        """Start one more node; returns when it has joined.

        Args:
            resources: further resources that it offers, such as ``{"shiny": 1}``.

        Raises:
            NodeNotStarted: it did not join.
        """
        self._made += 1
        name = f"node-{self._made}"
        node = Node(name, f"{self._name}-{name}")
        settings = {
            "num_cpus": self._cpus,
            "num_gpus": 0,
            "resources": dict(resources or {}),
            "object_store_memory": OBJECT_STORE,
            "include_dashboard": False,
            "include_log_monitor": False,
            "no_monitor": True,
        }
        try:
            self.ask("add", environment={_MARK: node.mark}, **settings, **self.place(name))
        except BaseException:
            node.kill()
            raise
        self.nodes.append(node)
        return node

    def set_up(self) -> dict[str, str]:
        """The variables for all processes of the cluster and programs that use it."""
        return {
            # Without it Ray's servers listen on all addresses of the machine.
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
        }

    def place(self, name: str) -> dict[str, Any]:
        """Where a node goes: its address, and its network namespace if that is another one."""
        return {"node_ip_address": "127.0.0.1"}

    def kill(self, node: Node) -> None:
        """Kill all processes of a node. The cluster does without it from then on."""
        node.kill()
        self.nodes.remove(node)
        self.ask("reap")

    def settle(self) -> None:
        """Wait until Ray lists exactly the nodes that are alive: it notices a death after seconds.

        Raises:
            NodeNotStarted: it has not noticed that within a minute.
        """
        self.ask("settle", number=len(self.nodes))

    def node_of(self, pid: int | None) -> Node:
        """The node on which a process runs.

        Raises:
            LookupError: it runs on none.
        """
        for node in self.nodes:
            if pid is not None and node.has(pid):
                return node
        raise LookupError(f"process {pid} runs on none of {self.nodes}")

    def close(self) -> None:
        """Kill all nodes and remove their files; idempotent."""
        self._starter.kill()
        self._starter.communicate()
        while self.nodes:
            self.nodes.pop().kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:  # fmt: skip
        self.close()

    def ask(self, command: str, **arguments: Any) -> None:
        """Have the process that starts the nodes do something (`procorch.demo.ray_nodes`).

        Raises:
            NodeNotStarted: it cannot, or does not answer.
        """
        stdin, stdout = self._starter.stdin, self._starter.stdout
        assert stdin is not None
        assert stdout is not None
        with contextlib.suppress(BrokenPipeError):
            stdin.write(json.dumps({"command": command, **arguments}).encode() + b"\n")
            stdin.flush()
        ready, _, _ = select.select([stdout], [], [], PATIENCE)
        line = stdout.readline() if ready else b""
        answer = json.loads(line) if line else {"error": self._last_words()}
        if "error" in answer:
            raise NodeNotStarted(f"{command} failed: {answer['error']}")
        self.address = answer["address"] or self.address

    def _last_words(self) -> str:
        how = f"no answer within {PATIENCE:g} s" if self._starter.poll() is None else "it has ended"
        said = (self._folder / "said").read_text(errors="replace")
        return f"{how}; the process that starts nodes said:\n{said}"


def is_alive(process: psutil.Process) -> bool:
    """Whether a process still runs; a zombie does not."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def send(signum: signal.Signals, processes: Iterable[psutil.Process]) -> None:
    """Send a signal to each of the processes that is still there."""
    for each in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.send_signal(signum)


def _await_end(process: psutil.Process, deadline: float) -> None:
    try:
        fd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        if is_alive(process):  # else the number may be another's
            select.select([fd], [], [], max(0.0, deadline - time.monotonic()))
    finally:
        os.close(fd)
    if time.monotonic() > deadline:
        raise TimeoutError(f"process {process.pid} does not end {PATIENCE:g} s after SIGKILL")
