"""One request of a client while a thread answers it, and the way of its answer to the connection.

Verbs block, so they run on threads; the socket is written by the thread of the server alone. Lines
go from one to the other through an `Outlet`, which holds a bounded number of bytes: a verb waits
where its client does not read.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from procorch.daemon.control import protocol
from procorch.daemon.control.verbs import Verb
from procorch.daemon.errors import BadRequest, DaemonEnding
from procorch.daemon.ports import CorePort
from procorch.errors.texts import did_you_mean

_ROOM = 256 << 10
"""Bytes that wait for the thread of the server."""
_log = logging.getLogger("procorch")


class Outlet:
    """Lines on their way from a thread to a connection.

    Args:
        loop: that of the server.
        write: writes to the connection; called on the loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, write: Callable[[bytes], None]) -> None:
        self._loop = loop
        self._write = write
        self._changed = threading.Condition()
        self._lines: list[bytes] = []
        self._size = 0
        self._posted = False
        self._paused = False
        self._closed = False

    def put(self, line: bytes) -> bool:
        """Send a line, waiting for room; False: the connection is gone."""
        with self._changed:
            self._changed.wait_for(self._may_go_on)
            if self._closed:
                return False
            self._lines.append(line)
            self._size += len(line)
            if self._posted:
                return True
            self._posted = True
        return self.post(self._flush)

    def post(self, action: Callable[[], None]) -> bool:
        """Have the loop do something, after it has written what was put before."""
        with suppress(RuntimeError):  # the server has ended meanwhile
            self._loop.call_soon_threadsafe(action)
            return True
        return False

    def _may_go_on(self) -> bool:
        return self._closed or not (self._paused or self._size > _ROOM)

    # On the loop.

    def _flush(self) -> None:
        with self._changed:
            lines, self._lines, self._size, self._posted = self._lines, [], 0, False
            closed = self._closed
            self._changed.notify_all()
        if not closed:
            self._write(b"".join(lines))

    def pause(self, paused: bool) -> None:
        """Let nobody send, or let them again."""
        with self._changed:
            self._paused = paused
            self._changed.notify_all()

    def close(self) -> None:
        """Nothing is sent any more; who waits is told so."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class Call:
    """One request, from its line to the last line of its answer (`verbs.CallPort`).

    Args:
        outlet: takes the answer.
        answered: called on the loop when the whole answer was put.
    """

    def __init__(self, outlet: Outlet, answered: Callable[[], None]) -> None:
        self._outlet = outlet
        self._answered = answered
        self._lock = threading.Lock()
        self._actions: list[Callable[[], object]] | None = []
        self.ending: DaemonEnding | None = None
        self.cancelled: bool = False

    def answer(
        self, line: bytes, core: CorePort, verbs: Mapping[str, Verb], ending: DaemonEnding | None
    ) -> None:
        """Do what the request asks for; never raises.

        Args:
            line: the request.
            core: the daemon.
            verbs: the table.
            ending: refuse what is not answered while the daemon ends, with this.
        """
        try:
            last = self._run(line, core, verbs, ending)
        except Exception as error:
            last = protocol.error_line(error)
        with self._lock:
            self._actions = None
        self._outlet.put(last)
        self._outlet.post(self._answered)

    def _run(
        self, line: bytes, core: CorePort, verbs: Mapping[str, Verb], ending: DaemonEnding | None
    ) -> bytes:
        request = protocol.read_request(line)
        verb = verbs.get(request.verb)
        if verb is None:
            said = request.verb[:80]
            raise BadRequest(f"there is no verb {said!r}{did_you_mean(said, list(verbs))}")
        args = protocol.read_args(request.verb, request.args, verb.args)
        if ending is not None and not verb.at_end:
            raise ending
        value = verb.run(core, args, self)
        return protocol.end_line(value) if verb.streams else protocol.value_line(value)

    def cancel(self, ending: DaemonEnding | None = None) -> bool:
        """Nobody waits for the answer any more.

        Args:
            ending: because the daemon ends.

        Returns:
            False: it was answered or cancelled already.
        """
        with self._lock:
            if self.cancelled or self._actions is None:
                return False
            self.cancelled, self.ending = True, ending
            actions, self._actions = self._actions, []
        if actions:
            # They may block, and a thread for each is there even when all threads are taken.
            threading.Thread(
                target=_do, args=(actions,), name="procorch-control-cancel", daemon=True
            ).start()
        return True

    # For the verb.

    def on_cancel(self, action: Callable[[], object]) -> None:
        """See `verbs.CallPort`."""
        with self._lock:
            if not self.cancelled:
                if self._actions is not None:
                    self._actions.append(action)
                return
        action()

    def began(self, request: int) -> None:
        """See `verbs.CallPort`."""
        self._outlet.put(protocol.began_line(request))

    def emit(self, item: Any) -> bool:
        """See `verbs.CallPort`."""
        return not self.cancelled and self._outlet.put(protocol.item_line(item))


def _do(actions: list[Callable[[], object]]) -> None:
    for action in actions:
        try:
            action()
        except Exception:
            _log.exception("the request of a client that went away could not be cancelled")
