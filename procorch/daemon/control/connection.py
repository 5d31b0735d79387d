"""One client at the control socket: its lines come in, answers go out, and it is held to limits.

A client has some seconds for a line, however it drips; one that reads nothing is dropped, and so
are lines that are too large. One request is answered at a time. A client that goes away cancels
what it waits for. Everything here runs on the loop of the server.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
from dataclasses import dataclass
from typing import Protocol

from procorch.daemon.control import protocol
from procorch.daemon.control.calls import Call, Outlet
from procorch.daemon.errors import BadRequest, DaemonBusy, DaemonEnding, DaemonError

_UNWRITTEN = 64 << 10
"""Bytes in the buffer of the transport beyond which nothing is put into it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What clients are held to.

    Args:
        connections: how many there are at a time.
        line: seconds from the first byte of a request to its last; for the first request, from the
            beginning of the connection.
        idle: seconds between two requests.
        stalled: seconds after which a client that reads nothing is dropped.
    """

    connections: int = 64
    line: float = 10.0
    idle: float = 60.0
    stalled: float = 10.0


class Host(Protocol):
    """The server, seen from a connection."""

    limits: Limits

    def admit(self, connection: Connection, transport: asyncio.Transport) -> DaemonError | None:
        """Count a connection, or say why it is refused."""
        ...

    def begin(self, call: Call, line: bytes) -> bool:
        """Have a thread answer; False: none is free."""
        ...

    def leave(self, connection: Connection) -> None:
        """Count the connection no more."""
        ...


class Connection(asyncio.Protocol):
    """See the module."""

    def __init__(self, host: Host, loop: asyncio.AbstractEventLoop) -> None:
        self._host = host
        self._loop = loop
        self._outlet = Outlet(loop, self._write)
        self._transport: asyncio.Transport
        self._buffer = bytearray()
        self._searched = 0
        self._in_line = True
        self._call: Call | None = None
        self._refused = False
        self._eof = False
        self._ending: DaemonEnding | None = None
        self._reading: asyncio.TimerHandle | None = None
        self._writing: asyncio.TimerHandle | None = None

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=_UNWRITTEN)
        refusal = self._host.admit(self, transport)
        if refusal is not None:
            self.refuse(refusal)
            return
        self._write(protocol.hello_line(os.getpid()))
        self._expect_line(self._host.limits.line)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if not self._refused:
            self._buffer += data
            self._next()

    def eof_received(self) -> bool:
        """See `asyncio.Protocol`; a client that only writes no more still gets its answer."""
        self._eof = True
        if self._call is None:
            return False
        self._call.cancel()
        if _is_gone(self._transport.get_extra_info("socket")):
            self._transport.abort()
        return True

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._outlet.pause(True)
        self._await_reader()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._outlet.pause(False)
        _stop(self._writing)

    def connection_lost(self, error: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._refused = True
        self._outlet.close()
        _stop(self._reading)
        _stop(self._writing)
        if self._call is not None:
            self._call.cancel()
        self._host.leave(self)

    # Requests.

    def _next(self) -> None:
        if self._call is None:
            end = self._buffer.find(b"\n", self._searched)
            if 0 <= end <= protocol.LINE_LIMIT:
                line = bytes(self._buffer[:end])
                del self._buffer[: end + 1]
                self._begin(line)
        self._searched = len(self._buffer) if self._call is None else 0
        if len(self._buffer) > protocol.LINE_LIMIT:
            self.refuse(protocol.too_large())
        elif self._buffer and self._call is None and not self._in_line:
            self._in_line = True
            self._expect_line(self._host.limits.line)

    def _begin(self, line: bytes) -> None:
        _stop(self._reading)
        self._in_line = False
        self._call = Call(self._outlet, self._answered)
        if not self._host.begin(self._call, line):
            self._write(protocol.error_line(DaemonBusy("the daemon answers too many requests")))
            self._loop.call_soon(self._answered)

    def _answered(self) -> None:
        self._call = None
        if self._refused:
            return
        if self._ending is not None:
            self.refuse(self._ending)
            return
        if self._eof:
            self._close()
            return
        self._expect_line(self._host.limits.idle)
        self._next()

    def _expect_line(self, seconds: float) -> None:
        def refuse() -> None:
            self.refuse(BadRequest(f"no whole request came within {seconds:g} s"))

        _stop(self._reading)
        self._reading = self._loop.call_later(seconds, refuse)

    # The end.

    def end(self, reason: DaemonEnding) -> None:
        """End the connection because the daemon ends: what is being answered is cancelled."""
        self._eof = True
        if self._call is None:
            self.refuse(reason)
        elif not self._call.cancel(reason):
            self._ending = reason  # The answer is on its way, and comes first.

    def abort(self) -> None:
        """End the connection at once."""
        self._transport.abort()

    def refuse(self, error: DaemonError) -> None:
        """Tell the client why the connection ends, and end it."""
        if self._refused:
            return
        self._write(protocol.error_line(error))
        self._refused = True
        self._buffer.clear()
        self._outlet.close()
        if self._call is not None:
            self._call.cancel()
        self._close()

    def _close(self) -> None:
        _stop(self._reading)
        self._transport.close()
        if self._transport.get_write_buffer_size():
            self._await_reader()

    # Writing.

    def _write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

    def _await_reader(self) -> None:
        """Drop the client if it reads nothing for a while."""
        before = self._transport.get_write_buffer_size()

        def look() -> None:
            if self._transport.get_write_buffer_size() < before:
                self._await_reader()
            else:
                self._transport.abort()

        _stop(self._writing)
        self._writing = self._loop.call_later(self._host.limits.stalled, look)


def _is_gone(sock: socket.socket) -> bool:
    """Whether the other end is closed, for reading as well as for writing."""
    poll = select.poll()
    poll.register(sock.fileno(), 0)
    return any(event & select.POLLHUP for _, event in poll.poll(0))


def _stop(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
