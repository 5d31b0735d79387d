"""The control socket: serves the verbs of the daemon to its own user and to root.

The socket has a thread with an event loop of its own, so a daemon that is busy still says that it
is there. Verbs run on further threads, whose number is bounded.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Mapping
from pathlib import Path

from procorch.daemon.control.calls import Call
from procorch.daemon.control.connection import Connection, Limits
from procorch.daemon.control.socket_file import ListeningSocket, peer_of
from procorch.daemon.control.threads import Threads
from procorch.daemon.control.verbs import VERBS, Verb
from procorch.daemon.errors import AccessRefused, DaemonBusy, DaemonEnding, DaemonError
from procorch.daemon.ports import CorePort

_GRACE = 2.0
"""Seconds that calls have for their last line when the server is closed."""


_WAY_BACK = 0.2
"""Seconds that threads have to end after that; one whose verb does not return is left."""


class ControlServer:
    """The control socket of a daemon.

    Args:
        path: the socket's file, in a folder of mode 0700. The caller holds the lock of the folder:
            what is left of an earlier socket there is removed.
        core: the daemon.
        verbs: what can be asked for.
        limits: what clients are held to.
    """

    def __init__(
        self,
        path: Path,
        core: CorePort,
        verbs: Mapping[str, Verb] = VERBS,
        *,
        limits: Limits | None = None,
    ) -> None:
        self.limits: Limits = limits or Limits()
        self._path = path
        self._core = core
        self._verbs = verbs
        # A thread may still be on its way back when the next request of its connection is there.
        self._threads = Threads(2 * self.limits.connections, "procorch-control-call")
        self._connections: set[Connection] = set()
        self._ending: DaemonEnding | None = None
        self._listening: ListeningSocket
        self._loop: asyncio.AbstractEventLoop
        self._closing = asyncio.Event()
        self._empty = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="procorch-control", daemon=True)

    def start(self) -> None:
        """Make the socket and begin to serve.

        Raises:
            DaemonError: the folder is not safe, or something else is where the socket is to be.
            OSError: the socket cannot be made.
        """
        self._listening = ListeningSocket(self._path)
        self._loop = asyncio.new_event_loop()
        self._thread.start()

    def end_soon(self) -> None:
        """From now on answer only verbs that begin nothing: the daemon is about to end."""
        self._ending = DaemonEnding(f"the daemon in {self._path.parent} is ending")

    def close(self) -> None:
        """End: cancel what clients wait for, tell them, close all connections, remove the socket.

        Takes little more than a second at most, also where a client does not read or a verb does
        not return.
        """
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._closing.set)
            self._thread.join()
            self._threads.close(_WAY_BACK)

    # On the thread of the server.

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        # `create_unix_server` would remove the file by an address that may be gone by then.
        server = await self._loop.create_server(
            lambda: Connection(self, self._loop), sock=self._listening.socket
        )
        await self._closing.wait()
        server.close()
        self._listening.remove()
        self.end_soon()
        assert self._ending is not None
        for connection in list(self._connections):
            connection.end(self._ending)
        await self._wait_until_empty()
        for connection in list(self._connections):
            connection.abort()
        await self._wait_until_empty()

    async def _wait_until_empty(self) -> None:
        if self._connections:
            self._empty.clear()
            try:
                await asyncio.wait_for(self._empty.wait(), _GRACE)
            except TimeoutError:
                return

    def admit(self, connection: Connection, transport: asyncio.Transport) -> DaemonError | None:
        """See `connection.Host`."""
        sock: socket.socket = transport.get_extra_info("socket")
        _, uid = peer_of(sock)
        if uid not in (os.geteuid(), 0):
            return AccessRefused(f"the daemon belongs to another user than uid {uid}")
        if len(self._connections) >= self.limits.connections:
            return DaemonBusy(f"the daemon has {self.limits.connections} connections already")
        self._connections.add(connection)
        return None

    def begin(self, call: Call, line: bytes) -> bool:
        """See `connection.Host`."""
        core, verbs, ending = self._core, self._verbs, self._ending
        return self._threads.run(lambda: call.answer(line, core, verbs, ending))

    def leave(self, connection: Connection) -> None:
        """See `connection.Host`."""
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()
