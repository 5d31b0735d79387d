"""Programs on asyncio that talk to a daemon: `procorch.connect_async`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any, Self, TypeVar

from procorch.daemon.client.dialog_async import AsyncDialog, AsyncItems, AsyncRemoteStream, Row, ask
from procorch.daemon.client.handles import MOST_SUBMITTED, must_be_text, send_args
from procorch.daemon.client.places import daemon_folder
from procorch.daemon.client.remote import RemoteResult, result_of, value_as
from procorch.units import seconds

_T = TypeVar("_T")


async def connect_async(
    dir: str | os.PathLike[str] | None = None, *, timeout: float | str = 5.0
) -> AsyncDaemonClient:
    """A client for asyncio of the daemon of a folder; arguments and errors as for `connect`.

    Args:
        dir: the folder of the daemon, as for `connect`.
        timeout: seconds within which the daemon has to answer, as for `connect`.

    Raises:
        NoDaemon, DaemonUnresponsive, AccessRefused: as for `connect`.

    Example:
        >>> daemon = await connect_async("/srv/agents")
        >>> (await daemon.handle("greeter").send_message("hello")).text
    """
    client = AsyncDaemonClient(daemon_folder(dir), seconds(timeout, "timeout"))
    await client.ping()
    return client


class AsyncDaemonClient:
    """A daemon, from outside, for asyncio; `connect_async` makes one.

    Its methods are those of `DaemonClient`. A task that is cancelled cancels what it waits for.

    Args:
        folder: that of the daemon.
        timeout: seconds within which it has to answer.

    Raises:
        DaemonError: by each method: the daemon has ended, is busy, or does not answer.
        UnknownAgent: by methods that take names: there is no such agent.

    Example:
        >>> daemon = await connect_async("/srv/agents")
        >>> await daemon.status("greeter")
    """

    def __init__(self, folder: Path, timeout: float = 5.0) -> None:
        self.folder: Path = folder
        self.timeout: float = timeout
        self._places = asyncio.Semaphore(MOST_SUBMITTED)

    # What there is.

    async def ping(self) -> Row:
        """See `DaemonClient`."""
        dialog = await AsyncDialog.open(self.folder, self.timeout)
        dialog.close()
        return {"version": dialog.hello.version, "pid": dialog.hello.pid}

    async def names(self) -> dict[str, str | None]:
        """See `DaemonClient`."""
        return await self._ask(dict[str, str | None], "names")

    async def status(self, *names: str) -> Row:
        """See `DaemonClient`."""
        return await self._ask(Row, "status", names=names)

    async def describe(self, name: str) -> Row:
        """See `DaemonClient`."""
        return await self._ask(Row, "describe", name=name)

    async def stack(self, name: str) -> list[Row]:
        """See `DaemonClient`."""
        return await self._ask(list[Row], "stack", name=name)

    async def disk(self) -> Row:
        """See `DaemonClient`."""
        return await self._wait(Row, "disk", None)

    def events(
        self, *names: str, follow: bool = False, last: int = 100, since: float | None = None
    ) -> AsyncItems:
        """See `DaemonClient`."""
        return self._items("events", names=names, follow=follow, last=last, since=since)

    def logs(
        self,
        *names: str,
        follow: bool = False,
        last: int | None = None,
        since: float | None = None,
    ) -> AsyncItems:
        """See `DaemonClient`."""
        return self._items("logs", names=names, follow=follow, last=last, since=since)

    # What it can do with agents.

    async def start(self, *names: str, timeout: float | str | None = None) -> list[Row]:
        """See `DaemonClient`."""
        return await self._wait(list[Row], "start", timeout, names=names)

    async def stop(self, *names: str, timeout: float | str | None = None) -> list[Row]:
        """See `DaemonClient`."""
        return await self._wait(list[Row], "stop", timeout, names=names)

    async def restart(self, *names: str, timeout: float | str | None = None) -> list[Row]:
        """See `DaemonClient`."""
        return await self._wait(list[Row], "restart", timeout, names=names)

    async def reset(self, *names: str) -> list[Row]:
        """See `DaemonClient`."""
        return await self._wait(list[Row], "reset", None, names=names)

    async def pause(self, *names: str) -> list[Row]:
        """See `DaemonClient`."""
        return await self._ask(list[Row], "pause", names=names)

    async def resume(self, *names: str) -> list[Row]:
        """See `DaemonClient`."""
        return await self._ask(list[Row], "resume", names=names)

    async def scale(
        self, counts: Mapping[str, int], *, timeout: float | str | None = None
    ) -> list[Row]:
        """See `DaemonClient`."""
        return await self._wait(list[Row], "scale", timeout, counts=dict(counts))

    async def wait_ready(self, *names: str, timeout: float | str | None = None) -> Row:
        """See `DaemonClient`."""
        return await self._wait(Row, "wait_ready", timeout, names=names)

    # What it can do as a whole.

    async def reload(
        self, *names: str, dry_run: bool = False, timeout: float | str | None = None
    ) -> Row:
        """See `DaemonClient`."""
        return await self._wait(Row, "reload", timeout, names=names, dry_run=dry_run)

    async def rollback(self, *, timeout: float | str | None = None) -> Row:
        """See `DaemonClient`."""
        return await self._wait(Row, "rollback", timeout)

    async def rotate(self) -> list[str]:
        """See `DaemonClient`."""
        return await self._wait(list[str], "rotate", None)

    async def prune(self) -> Row:
        """See `DaemonClient`."""
        return await self._wait(Row, "prune", None)

    async def shutdown(self, *, timeout: float | str | None = None) -> None:
        """See `DaemonClient`."""
        limit = None if timeout is None else seconds(timeout, "timeout")
        await self._ask(NoneType, "shutdown", timeout=limit)

    # Requests.

    def handle(self, name: str) -> AsyncRemoteHandle:
        """The agent of that name; it is looked for when something is sent to it."""
        return AsyncRemoteHandle(self, name)

    async def send(self, name: str, message: Any, *, timeout: float | str | None = None) -> Row:
        """See `DaemonClient`. At most 32 requests of a client are at the daemon at a time."""
        async with self._places:
            args = send_args(name, message, timeout)
            return value_as(Row, await ask(self.folder, self.timeout, "send", args, None))

    async def cancel(self, request: int) -> bool:
        """See `DaemonClient`."""
        return await self._ask(bool, "cancel", request=request)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        """Nothing is left open between calls."""

    # How it is done.

    async def _ask(self, kind: type[_T], verb: str, **args: Any) -> _T:
        return value_as(kind, await ask(self.folder, self.timeout, verb, args, self.timeout))

    async def _wait(
        self, kind: type[_T], verb: str, timeout: float | str | None, **args: Any
    ) -> _T:
        limit = None
        if timeout is not None:
            args["timeout"] = seconds(timeout, "timeout")
            limit = args["timeout"] + self.timeout
        return value_as(kind, await ask(self.folder, self.timeout, verb, args, limit))

    def _items(self, verb: str, **args: Any) -> AsyncItems:
        return AsyncItems(self.folder, self.timeout, verb, args)


class AsyncRemoteHandle:
    """An agent of a daemon, for asyncio; see `RemoteHandle`.

    Attributes:
        name: of the agent.

    Raises:
        AgentError: by each request that has failed.
        DaemonError: the daemon has ended, or does not answer.

    Example:
        >>> greeter = (await connect_async("/srv/agents")).handle("greeter")
        >>> (await greeter.send_message("hello", timeout="10s")).text
    """

    def __init__(self, client: AsyncDaemonClient, name: str) -> None:
        self._client = client
        self.name: str = name

    async def send_message(self, text: str, *, timeout: float | str | None = None) -> RemoteResult:
        """See `RemoteHandle`."""
        must_be_text(text)
        return await self.send(text, timeout=timeout)

    async def send(self, request: Any, *, timeout: float | str | None = None) -> RemoteResult:
        """See `RemoteHandle`."""
        return result_of(await self._client.send(self.name, request, timeout=timeout))

    def submit(
        self, request: Any, *, timeout: float | str | None = None
    ) -> asyncio.Task[RemoteResult]:
        """Send a request without waiting; cancelling the task cancels the request."""
        return asyncio.create_task(self.send(request, timeout=timeout))

    def stream(self, request: Any, *, timeout: float | str | None = None) -> AsyncRemoteStream:
        """Send a request and read the answer while it comes."""
        args = send_args(self.name, request, timeout)
        return AsyncRemoteStream(self._client.folder, self._client.timeout, "stream", args)
