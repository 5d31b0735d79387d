"""The bridge: a process beside the parent, and the only one of its that uses Ray.

Ray ends the process of a driver whose control plane has gone, and it has threads and signal
handlers of its own. So the bridge is a process that the parent can lose. It ends when the parent
does, and Ray then ends all that it has started.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from procorch.launch.ray import lease, messages
from procorch.launch.ray.asyncio_loop import AsyncioLoop
from procorch.launch.ray.link import Link
from procorch.launch.ray.member import CALLS, Member
from procorch.launch.ray.placement import Node, environment, options, why_waiting
from procorch.launch.ray.relay_actor import RelayActor
from procorch.launch.ray.transport import explain_connection
from procorch.wire.payload import Content
from procorch.worker.limits import own_group, own_signals, set_death_signal

_LOOK = 1.0
"""Seconds between two looks at the nodes."""
_REACH = 5.0
"""Seconds within which the address has to accept a connection."""
_TAIL = 4000
"""Bytes of the end of what Ray has written that count when it could not connect."""
_STORE = 100_000_000
"""Bytes of the object store of a cluster that belongs to the bridge."""


def main(link_fd: int, log_fd: int, parent: int, connect: bytes) -> None:
    """Serve until the parent ends.

    Args:
        link_fd: the socket to the parent.
        log_fd: takes the output of Ray.
        parent: pid of the parent.
        connect: a `messages.Connect`.
    """
    own_group()
    own_signals()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for standard in (1, 2):
        os.dup2(log_fd, standard)
    sock = socket.socket(fileno=link_fd)
    os.set_inheritable(link_fd, False)
    parent_fd = os.pidfd_open(parent)
    target = messages.decode_connect(connect)
    failure = _connect(target, log_fd)
    asyncio.run(_serve(sock, parent_fd, target, failure))
    ray.shutdown()
    os._exit(0)


def _connect(target: messages.Connect, log_fd: int) -> tuple[str, str] | None:
    """Join the cluster; returns why that is impossible."""
    more: dict[str, Any] = {}
    try:
        if target.address == "local":
            # On loopback: servers of Ray otherwise listen on every address of the machine.
            os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
            more = {"include_dashboard": False, "object_store_memory": _STORE}
        elif target.address != "auto":
            host, _, port = target.address.rpartition(":")
            socket.create_connection((host.strip("[]"), int(port)), _REACH).close()
        ray.init(
            address=target.address,
            runtime_env=environment(target.runtime_env),
            log_to_driver=False,
            logging_level="WARNING",
            configure_logging=True,
            **more,
        )
    except (Exception, SystemExit) as error:
        size = os.fstat(log_fd).st_size
        said = os.pread(log_fd, _TAIL, max(0, size - _TAIL)).decode("utf-8", "replace")
        return explain_connection(error, target.address, said)
    return None


async def _serve(
    sock: socket.socket, parent_fd: int, target: messages.Connect, failure: tuple[str, str] | None
) -> None:
    # From here on the end of the parent is an event of the loop. The signal continues a bridge that
    # was stopped.
    set_death_signal(signal.SIGCONT)
    bridge = Bridge(sock, parent_fd, target)
    if failure is None:
        await bridge.serve()
    else:
        bridge.refuse(*failure)


class Bridge:
    """The bridge's loop.

    Args:
        parent_fd: the parent's pidfd.

    Attributes:
        connect: what it was started with.
        lost: the nodes on which nothing is placed, with their addresses by their ids: they did not
            answer, and have not since.
    """

    def __init__(self, sock: socket.socket, parent_fd: int, connect: messages.Connect) -> None:
        self.connect: messages.Connect = connect
        self.lost: dict[str, str] = {}
        self._reported: set[str] = set()
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        self._members: dict[int, Member] = {}
        self._nodes: list[Node] = []
        self._tasks: set[asyncio.Future[Any]] = set()
        loop = AsyncioLoop(self._loop)
        loop.watch(parent_fd, self._over.set)
        self._link = Link(sock, loop, self._take, self._over.set)
        self._relay = ray.remote(RelayActor)

    def refuse(self, reason: str, text: str) -> None:
        """Tell the parent why the cluster cannot be used."""
        self._link.send(0, messages.Refused(reason, text))

    async def serve(self) -> None:
        """Serve until the parent ends."""
        self._link.send(0, messages.Connected(ray.get_runtime_context().gcs_address))
        for task in (self._watch_nodes(), self._show_life()):
            self._keep(asyncio.ensure_future(task))
        await self._over.wait()
        self._link.close()

    def _keep(self, task: asyncio.Future[Any]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _take(self, worker: int, head: bytes, body: Content) -> None:
        member = self._members.get(worker)
        if member is not None:
            member.take(head, body)
            return
        command = messages.decode_command(head)
        if isinstance(command, messages.Begin):
            self._members[worker] = Member(worker, command, body, self)

    async def _show_life(self) -> None:
        while True:
            self._link.send(0, messages.Alive())
            await asyncio.sleep(lease.interval(self.connect.lease))

    # ---- for members, see `member.Cluster`

    def create(self, begin: messages.Begin) -> Any:
        """See `member.Cluster`."""
        wanted = options(begin.resources, spread=begin.spread, avoid=self.lost)
        return self._relay.options(
            max_restarts=0, max_task_retries=0, max_concurrency=CALLS + 2, **wanted
        ).remote()

    def destroy(self, actor: Any) -> None:
        """See `member.Cluster`."""
        self._keep(self._loop.run_in_executor(None, lambda: ray.kill(actor, no_restart=True)))

    async def why_waiting(self, begin: messages.Begin) -> str:
        """See `member.Cluster`."""
        free = await asyncio.to_thread(ray.available_resources)
        return why_waiting(begin.resources, self._nodes, free, self.lost)

    async def is_there(self, node: str) -> bool:
        """See `member.Cluster`."""
        for each in self._nodes:
            if each.id == node:
                try:
                    async with asyncio.timeout(_REACH):
                        _, writer = await asyncio.open_connection(each.host, each.port)
                except OSError:  # TimeoutError is one
                    return False
                writer.close()
                return True
        return False

    def lose(self, node: str, host: str, why: str) -> None:
        """See `member.Cluster`."""
        # If Ray knows that it is gone, that was reported, and nothing is placed there anyway.
        if node not in self.lost and any(each.id == node for each in self._nodes):
            self.lost[node] = host
            self._reported.add(node)
            self._link.send(0, messages.NodeChange(False, node, host, why))
            self._keep(asyncio.ensure_future(self._await_answer(node, host)))

    def report(self, number: int, head: bytes | messages.Report, body: Any = b"") -> None:
        """See `member.Cluster`."""
        self._link.send(number, head, [body])
        if self._members[number].over:
            del self._members[number]

    # ---- nodes

    async def _watch_nodes(self) -> None:
        self._nodes = await asyncio.to_thread(_nodes)
        known = {node.id: node for node in self._nodes}
        while True:
            self._nodes = await asyncio.to_thread(_nodes)
            alive = {node.id: node for node in self._nodes}
            for node in self._nodes:
                if node.id not in known:
                    self._link.send(0, messages.NodeChange(True, node.id, node.host))
            for gone in known.keys() - alive.keys():
                self.lost.pop(gone, None)
                if gone not in self._reported:
                    why = "Ray reports that it has died or left"
                    change = messages.NodeChange(False, gone, known[gone].host, why)
                    self._link.send(0, change)
                self._reported.discard(gone)
            known = alive
            await asyncio.sleep(_LOOK)

    async def _await_answer(self, node: str, host: str) -> None:
        """Use a node again as soon as it answers."""
        where = NodeAffinitySchedulingStrategy(node_id=node, soft=False)
        knock = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=where)(_answer)
        while node in self.lost:
            answer = asyncio.ensure_future(_result(knock.remote()))
            while node in self.lost and not answer.done():
                await asyncio.wait({answer}, timeout=_LOOK)
            if not answer.done():
                answer.cancel()
            elif answer.exception() is not None:
                await asyncio.sleep(_LOOK)
            elif self.lost.pop(node, None) is not None:
                self._reported.discard(node)
                self._link.send(0, messages.NodeChange(True, node, host))


def _nodes() -> list[Node]:
    return [
        Node(
            each["NodeID"],
            each["NodeManagerAddress"],
            each["Resources"],
            each["NodeManagerPort"],
        )
        for each in ray.nodes()
        if each["Alive"]
    ]


def _answer() -> bool:
    return True


async def _result(reference: Any) -> Any:
    return await reference
