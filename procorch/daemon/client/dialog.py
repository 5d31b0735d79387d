"""One connection of a client to the daemon, and one request over it."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec import UNSET

from procorch import __version__
from procorch.daemon.client.remote import error_of
from procorch.daemon.control import protocol
from procorch.daemon.control.protocol import Hello, Line
from procorch.daemon.control.socket_file import connect
from procorch.daemon.errors import BadRequest, DaemonError, DaemonUnresponsive, NoDaemon

CHUNK = 256 << 10
"""Bytes that are read at a time."""


class Lines:
    """The lines of a daemon, put together from what arrives of them.

    Args:
        folder: that of the daemon, for texts of errors.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._buffer = bytearray()
        self._searched = 0
        self.hello: Hello | None = None

    def feed(self, data: bytes) -> None:
        """Add what has arrived; nothing: the daemon has closed the connection.

        Raises:
            NoDaemon: it has, in the middle of an answer.
            DaemonError: a line is too long.
        """
        if not data:
            raise NoDaemon(f"the daemon in {self._folder} ended before it had answered")
        self._buffer += data
        if len(self._buffer) > protocol.ANSWER_LIMIT + CHUNK:
            raise DaemonError(f"the answer of the daemon in {self._folder} is too long")

    def next(self) -> Line | None:
        """The next line; None: it has not arrived yet.

        Raises:
            DaemonError: it says that the request failed; AgentError: likewise.
        """
        end = self._buffer.find(b"\n", self._searched)
        if end < 0:
            self._searched = len(self._buffer)
            return None
        line = protocol.read_line(bytes(self._buffer[:end]))
        del self._buffer[: end + 1]
        self._searched = 0
        if line.hello is not None:
            self.hello = line.hello
        if line.error is not None:
            raise self._told(error_of(line.error))
        return line

    def _told(self, error: Exception) -> Exception:
        """The error; what a daemon of another version does not know may be known to this one."""
        if isinstance(error, BadRequest) and self.hello and self.hello.version != __version__:
            text = (
                f"{error} (the daemon runs version {self.hello.version}, this is {__version__}: "
                "restart the daemon)"
            )
            error.args = (text,)
        return error

    def too_slow(self, timeout: float) -> DaemonUnresponsive:
        """The daemon did not answer."""
        return DaemonUnresponsive(
            f"the daemon in {self._folder} did not answer within {timeout:g} s"
        )


class Dialog:
    """A connection over which one request is sent.

    Args:
        folder: that of the daemon.
        timeout: seconds for the daemon to say that it is there.

    Raises:
        NoDaemon: none runs there.
        DaemonUnresponsive: it does not say anything.
        DaemonBusy: it has too many connections.
        AccessRefused: it is that of another user.
    """

    def __init__(self, folder: Path, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        self._timeout = timeout
        self._lines = Lines(folder)
        self._socket = connect(folder, folder / protocol.SOCKET, timeout)
        try:
            self._read(deadline, timeout)
        except BaseException:
            self._socket.close()
            raise

    @property
    def hello(self) -> Hello:
        """What the daemon has said first."""
        assert self._lines.hello is not None
        return self._lines.hello

    def request(self, verb: str, args: dict[str, Any], limit: float | None) -> Iterator[Line]:
        """Send the request; returns its lines, up to the last one. Then the connection is closed.

        Args:
            verb: a verb.
            args: its arguments.
            limit: seconds for the whole answer; None: no limit.
        """
        try:
            self._send(protocol.request_line(verb, args))
        except BaseException:
            self.close()
            raise
        return self._answer(limit)

    def _answer(self, limit: float | None) -> Iterator[Line]:
        deadline = None if limit is None else time.monotonic() + limit
        try:
            while True:
                line = self._read(deadline, limit)
                yield line
                if line.ok is not None or line.end is not UNSET:
                    return
        finally:
            self.close()

    def _send(self, line: bytes) -> None:
        self._socket.settimeout(self._timeout)
        try:
            self._socket.sendall(line)
        except TimeoutError:
            raise self._lines.too_slow(self._timeout) from None
        except (BrokenPipeError, ConnectionResetError):
            return  # why, is to be read

    def _read(self, deadline: float | None, limit: float | None) -> Line:
        while (line := self._lines.next()) is None:
            left = None if deadline is None else deadline - time.monotonic()
            if limit is not None and left is not None and left <= 0:
                raise self._lines.too_slow(limit)
            self._socket.settimeout(left)
            try:
                data = self._socket.recv(CHUNK)
            except TimeoutError:
                continue
            except ConnectionResetError:
                data = b""
            self._lines.feed(data)
        return line

    def abort(self) -> None:
        """Have a thread that reads find the end of the connection."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection; what the daemon still does for it is cancelled."""
        self._socket.close()
