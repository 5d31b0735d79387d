"""The Ray actor of a relay: it takes the bridge's calls to the thread that does the work.

It is an actor with threads, in one of which Ray runs each call. A call of an asynchronous actor of
Ray takes twice as long: it passes through two more threads. So no method is a coroutine.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

import ray

from procorch.launch.ray.relay import Relay
from procorch.launch.ray.transport import pack, unpacked

T = TypeVar("T")


class RelayActor:
    """One relay; the bridge calls its methods, which are those of `Relay`."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        node = ray.get_runtime_context().get_node_id()
        self._relay = Relay(self._loop, ray.util.get_node_ip_address(), node)
        threading.Thread(target=self._loop.run_forever, name="procorch-relay", daemon=True).start()

    def begin(
        self, version: str, length: float, begin: bytes, factory: Any
    ) -> tuple[str, str, str, str, int]:
        """See `Relay.begin`."""
        return self._run(self._relay.begin(version, length, begin, factory))

    def beat(self, token: int, taken: int) -> tuple[int, bytes]:
        """See `Relay.beat`."""
        return self._run(self._relay.beat(token, taken))

    def exchange(self, packet: Any) -> Any:
        """See `Relay.exchange`; both are packed (`transport.pack`)."""
        return pack(self._run(self._relay.exchange(unpacked(packet))))

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(call, self._loop).result()
