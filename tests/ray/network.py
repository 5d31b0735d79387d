"""A network of namespaces: one for each node, with a cable to a switch in a namespace of its own.

Nothing of it is reachable from outside, and nothing in it reaches the outside. It needs root and
the program ``ip`` (Debian: iproute2).
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

_CLONE_NEWNET = 0x40000000
_SUBNET = "10.98.77"


def why_not() -> str | None:
    """Why there can be no such network here; None: there can."""
    if shutil.which("ip") is None:
        return "a network of namespaces needs the program ip (apt-get install iproute2)"
    name = f"rc{os.getpid()}-try"
    made = _ip("netns", "add", name, check=False)
    if made.returncode:
        return f"network namespaces are not allowed here: {made.stderr.strip()}"
    _ip("netns", "delete", name)
    return None


class Network:
    """Namespaces by the names of nodes, which are added as they are asked for."""

    def __init__(self) -> None:
        self._prefix = f"rc{os.getpid()}"
        self._hosts: dict[str, int] = {}
        _ip("netns", "add", self._switch)
        _ip("-n", self._switch, "link", "add", "switch", "type", "bridge")
        _ip("-n", self._switch, "link", "set", "switch", "up")

    @property
    def _switch(self) -> str:
        return f"{self._prefix}-switch"

    def address(self, name: str) -> str:
        """The address of a node, which gets its namespace now if it has none."""
        if name not in self._hosts:
            self._hosts[name] = len(self._hosts) + 1
            self._plug_in(name)
        return f"{_SUBNET}.{self._hosts[name]}"

    def path(self, name: str) -> str:
        """The file by which a process gets into the namespace of a node."""
        return f"/run/netns/{self._namespace(name)}"

    def cut(self, name: str) -> None:
        """Pull the cable of a node: packets to and from it are lost, and nobody is told."""
        _ip("-n", self._switch, "link", "set", self._cable(name), "nomaster")

    def mend(self, name: str) -> None:
        """Put the cable back."""
        _ip("-n", self._switch, "link", "set", self._cable(name), "master", "switch")

    @contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """This thread, and what it starts, in the namespace of a node."""
        with open("/proc/thread-self/ns/net") as before, open(self.path(name)) as there:
            _enter(there.fileno())
            try:
                yield
            finally:
                _enter(before.fileno())

    def close(self) -> None:
        """Remove all namespaces; what still runs in one keeps it until it ends."""
        for name in self._hosts:
            _ip("netns", "delete", self._namespace(name))
        self._hosts.clear()
        _ip("netns", "delete", self._switch)

    def _plug_in(self, name: str) -> None:
        there, cable = self._namespace(name), self._cable(name)
        _ip("netns", "add", there)
        _ip(
            "-n", self._switch, "link", "add", cable, "type", "veth",
            "peer", "name", "eth0", "netns", there,
        )  # fmt: skip
        _ip("-n", self._switch, "link", "set", cable, "master", "switch", "up")
        _ip("-n", there, "address", "add", f"{self.address(name)}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _ip("-n", there, "link", "set", device, "up")

    def _namespace(self, name: str) -> str:
        return f"{self._prefix}-{name}"

    @staticmethod
    def _cable(name: str) -> str:
        return f"to-{name}"  # 15 characters at most


def _ip(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["ip", *arguments], check=check, capture_output=True, text=True)


def _enter(namespace: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, _CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"setns: {os.strerror(code)}")
