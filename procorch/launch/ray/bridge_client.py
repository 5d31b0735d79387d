"""The parent's side of a bridge: starts it, sees it end, and shares its link among the workers."""

from __future__ import annotations

import os
import signal
import socket
import time
from typing import Protocol

from procorch.launch.base import Cause, ExitInfo, Watcher
from procorch.launch.death import has_ended
from procorch.launch.interpreter import Child
from procorch.launch.ray import lease, messages
from procorch.launch.ray.backend import RayBackend
from procorch.launch.ray.link import Link
from procorch.launch.ray.process import RemoteProcess
from procorch.wire.payload import Content, Parts

_CONNECT_TIMEOUT = 45.0
"""Seconds until a bridge must belong to the cluster."""
_LAST_WAIT = 5.0
"""Seconds that a bridge gets to leave the cluster."""
_TAIL = 2000
"""Bytes of the end of its log that an error shows."""


class Owner(Protocol):
    """What a bridge reports to, beside its workers."""

    def node_changed(self, change: messages.NodeChange) -> None:
        """A node has joined the cluster or was lost."""
        ...

    def bridge_ended(self) -> None:
        """A bridge that was connected has ended."""
        ...


class BridgeClient:
    """One bridge.

    Args:
        owner: told of what concerns no worker.

    Attributes:
        dead: it has ended, or cannot be used.

    Raises:
        OSError: the system refuses a process or a descriptor.
    """

    def __init__(
        self,
        backend: RayBackend,
        loop: Watcher,
        owner: Owner,
    ) -> None:
        self.dead: bool = False
        self.is_connected: bool = False
        self._backend = backend
        self._loop = loop
        self._owner = owner
        self._workers: dict[int, RemoteProcess] = {}
        self._address = backend.target
        self._refused: messages.Refused | None = None
        self._heard = time.monotonic()
        ours, theirs = socket.socketpair()
        self._log = os.memfd_create("procorch-bridge-log", os.MFD_CLOEXEC)
        try:
            connect = messages.Connect(
                backend.target, backend.lease_seconds, dict(backend.runtime_env or {}), _version()
            )
            passed = [theirs.fileno(), self._log]
            args = [*passed, os.getpid(), messages.encode(connect)]
            self._child = Child("procorch-bridge", "procorch.launch.ray.bridge:main", args, passed)
            pid = self._child.launch()
            try:
                self._pidfd = os.pidfd_open(pid)
            except OSError:
                os.kill(pid, signal.SIGKILL)
                self._child.join()
                raise
        except BaseException:
            ours.close()
            os.close(self._log)
            raise
        finally:
            theirs.close()
        self._link = Link(ours, loop, self._take, lambda: None)
        loop.watch(self._pidfd, self._ended)
        loop.call_later(_CONNECT_TIMEOUT, self._connect_overdue)

    def begin(self, process: RemoteProcess, begin: messages.Begin, factory: bytes) -> None:
        """Have a worker placed and started."""
        self._workers[process.number] = process
        self._link.send(process.number, begin, [factory])
        joins = f"the bridge has not joined the cluster at {self._address} yet"
        why = "its node is being chosen" if self.is_connected else joins
        self._loop.call_later(0, lambda: process.wait_for(why))

    def tell(self, process: RemoteProcess, message: messages.Command, body: Parts = ()) -> None:
        """See `process.Line`."""
        self._link.send(process.number, message, body)

    def forget(self, process: RemoteProcess) -> None:
        """See `process.Line`."""
        self._workers.pop(process.number, None)

    def _take(self, worker: int, head: bytes, body: Content) -> None:
        report = messages.decode_report(head)
        if worker:
            process = self._workers.get(worker)
            if process is not None:
                process.take(report, body)
            return
        self._heard = time.monotonic()
        match report:
            case messages.Connected(address):
                self.is_connected, self._address = True, address
                for process in list(self._workers.values()):
                    process.wait_for("its node is being chosen")
                self._watch_over()
            case messages.Refused():
                self._refused = report
            case messages.NodeChange():
                self._owner.node_changed(report)

    def _connect_overdue(self) -> None:
        if not self.dead and not self.is_connected:
            self._refused = messages.Refused(
                "address",
                f"the Ray cluster at {self._address} did not answer within {_CONNECT_TIMEOUT:g} s",
            )
            self._kill()

    def _watch_over(self) -> None:
        """Kill a bridge that gives no sign of life: nobody prolongs leases any more, and nobody
        would say so."""
        if self.dead:
            return
        length = self._backend.lease_seconds
        if time.monotonic() - self._heard > length + lease.margin(length):
            self._kill()
        else:
            self._loop.call_later(lease.interval(length), self._watch_over)

    def _kill(self) -> None:
        if not has_ended(self._pidfd):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def _ended(self) -> None:
        """It has exited."""
        self._loop.unwatch(self._pidfd)
        self._link.read_rest()
        self.dead = True
        connected, self.is_connected = self.is_connected, False
        code = self._child.reap()
        refused = self._refused or messages.Refused("bridge", self._how_it_ended(code))
        self._release()
        if not connected:  # so no worker runs
            info = ExitInfo(Cause.START_FAILED, detail=refused.text, reason=refused.reason)
            self._loop.call_later(0, lambda: self._end_all(info))
            return
        self._owner.bridge_ended()
        length = self._backend.lease_seconds
        self._loop.call_later(length + lease.margin(length), lambda: self._all_lost(refused.text))

    def _how_it_ended(self, code: int | None) -> str:
        size = os.fstat(self._log).st_size
        text = os.pread(self._log, _TAIL, max(0, size - _TAIL)).decode("utf-8", "replace").strip()
        last = text.splitlines()[-1] if text else ""
        how = "ended" if code is None else f"ended with status {code}"
        return f"the bridge to the Ray cluster {how}" + (f"; it wrote: {last}" if last else "")

    def _end_all(self, info: ExitInfo) -> None:
        for process in list(self._workers.values()):
            process.end(info)

    def _all_lost(self, why: str) -> None:
        for process in list(self._workers.values()):
            process.end(process.lost(why))

    def _release(self) -> None:
        self._link.close()
        os.close(self._pidfd)
        os.close(self._log)

    def close(self) -> None:
        """End it and wait for its end; no worker is left."""
        if self.dead:
            return
        self.dead = True
        self._loop.unwatch(self._pidfd)
        self._link.close()
        if not has_ended(self._pidfd, _LAST_WAIT if self.is_connected else 0.0):
            self._kill()
        self._child.join()
        self._release()


def _version() -> str:
    from importlib import metadata

    return metadata.version("procorch")
