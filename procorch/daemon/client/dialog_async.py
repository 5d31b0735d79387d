"""One connection of an asyncio client to the daemon, and one request over it (see `dialog`)."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path
from typing import Any, Self, TypeAlias

from msgspec import UNSET

from procorch.daemon.client.dialog import CHUNK, Lines
from procorch.daemon.client.remote import RemoteResult, closed_too_early, result_of
from procorch.daemon.control import protocol
from procorch.daemon.control.protocol import Hello, Line
from procorch.daemon.control.socket_file import RETRY, not_accepted, try_to_connect

Row: TypeAlias = dict[str, Any]


class AsyncDialog:
    """A connection over which one request is sent; `open` makes it."""

    def __init__(self, folder: Path, timeout: float) -> None:
        self._folder = folder
        self._timeout = timeout
        self._lines = Lines(folder)
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter | None = None

    @classmethod
    async def open(cls, folder: Path, timeout: float) -> Self:
        """A connection to the daemon of a folder; see `dialog.Dialog`."""
        dialog = cls(folder, timeout)
        deadline = time.monotonic() + timeout
        path = folder / protocol.SOCKET
        while (connected := try_to_connect(folder, path)) is None:
            if time.monotonic() >= deadline:
                raise not_accepted(folder, timeout)
            await asyncio.sleep(RETRY)
        try:
            dialog._reader, dialog._writer = await asyncio.open_unix_connection(sock=connected)
            await dialog.line(deadline, timeout)
        except BaseException:
            dialog.close()
            connected.close()
            raise
        return dialog

    @property
    def hello(self) -> Hello:
        """What the daemon has said first."""
        assert self._lines.hello is not None
        return self._lines.hello

    async def request(self, verb: str, args: Row) -> None:
        """Send the request."""
        assert self._writer is not None
        self._writer.write(protocol.request_line(verb, args))
        with contextlib.suppress(ConnectionError):  # why, is to be read
            try:
                async with asyncio.timeout(self._timeout):
                    await self._writer.drain()
            except TimeoutError:
                raise self._lines.too_slow(self._timeout) from None

    async def line(self, deadline: float | None, limit: float | None) -> Line:
        """The next line of the answer.

        Args:
            deadline: when it has to be there, on the monotonic clock; None: no limit.
            limit: the seconds that this is about, for the text of the error.
        """
        while (line := self._lines.next()) is None:
            left = None if deadline is None else deadline - time.monotonic()
            try:
                async with asyncio.timeout(left):
                    data = await self._reader.read(CHUNK)
            except TimeoutError:
                raise self._lines.too_slow(limit or 0.0) from None
            except ConnectionResetError:
                data = b""
            self._lines.feed(data)
        return line

    def close(self) -> None:
        """Close the connection; what the daemon still does for it is cancelled."""
        if self._writer is not None:
            self._writer.transport.abort()


async def ask(folder: Path, timeout: float, verb: str, args: Row, limit: float | None) -> Any:
    """The value that a verb answers, over a connection of its own.

    Args:
        folder: that of the daemon.
        timeout: seconds for the daemon to say that it is there.
        verb: a verb that does not stream.
        args: its arguments.
        limit: seconds for the answer; None: no limit.
    """
    dialog = await AsyncDialog.open(folder, timeout)
    try:
        await dialog.request(verb, args)
        deadline = None if limit is None else time.monotonic() + limit
        while True:
            line = await dialog.line(deadline, limit)
            if line.ok is not None:
                return line.value
    finally:
        dialog.close()


class AsyncItems:
    """An asynchronous iterator of rows, and a context manager that ends it.

    The request is sent by the first step, or at the beginning of the block. Raises `NoDaemon` when
    the daemon ends.
    """

    def __init__(self, folder: Path, timeout: float, verb: str, args: Row) -> None:
        self._folder = folder
        self._timeout = timeout
        self._verb = verb
        self._args = args
        self._dialog: AsyncDialog | None = None
        self._done = False
        self._end: Any = UNSET

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        await self._begin()
        while self._dialog is not None and not self._done:
            try:
                line = await self._dialog.line(None, None)
            except BaseException:
                await self.aclose()
                raise
            if line.item is not UNSET:
                return line.item
            if line.end is not UNSET:
                self._end = line.end
                await self.aclose()
        raise StopAsyncIteration

    async def _begin(self) -> None:
        if self._dialog is None and not self._done:
            self._dialog = await AsyncDialog.open(self._folder, self._timeout)
            try:
                await self._dialog.request(self._verb, self._args)
            except BaseException:
                await self.aclose()
                raise

    async def aclose(self) -> None:
        """End it; the daemon is told so."""
        self._done = True
        if self._dialog is not None:
            self._dialog.close()

    async def __aenter__(self) -> Self:
        await self._begin()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()


class AsyncRemoteStream(AsyncItems):
    """The text of an answer as it arrives; see `pieces.RemoteStream`."""

    async def __anext__(self) -> str:
        try:
            piece: str = await super().__anext__()
        except StopAsyncIteration:
            if self._end is not UNSET:
                result_of(self._end)
            raise
        return piece

    async def result(self) -> RemoteResult:
        """The result; what was not read of the answer is passed over.

        Raises:
            AgentError: the request failed.
            DaemonError: the stream was closed before its end.
        """
        async for _ in self:
            pass
        if self._end is UNSET:
            raise closed_too_early()
        return result_of(self._end)
