"""Keeps the MCP servers of an agent connected, and calls their tools.

All of it runs in a thread with an event loop of its own, so a server is watched and started again
while the agent has no request, and whatever the agent's code does meanwhile. A task for each server
connects it, waits until it is lost, and connects it again. The agent's thread waits for results
only.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import math
from collections.abc import Collection, Coroutine, Mapping, Sequence
from functools import partial
from threading import Thread
from typing import Any, TypeVar

import anyio
from mcp import MCPError
from mcp.client import Client
from mcp.types import CONNECTION_CLOSED, REQUEST_TIMEOUT

from procorch.agents.adapters.mcp_connection import (
    Connection,
    blocks_of,
    connected,
    listed,
    text_of_result,
    why,
)
from procorch.agents.mcp_servers import Http, McpServer, McpTool
from procorch.agents.options import refusal
from procorch.errors import McpServerError, McpToolError
from procorch.messages import ContentBlock

_Value = TypeVar("_Value")
_FIRST_DELAY, _LONGEST_DELAY = 0.1, 10.0
"""Seconds before a server is started again; doubled from one time to the next."""
_SETTLED = 60.0
"""Seconds after which a server that has ended was not in a row of restarts."""
_NOTICED = 1.0
"""Seconds in which the end of a server is noticed, after a call of it has failed."""
_log = logging.getLogger("procorch.mcp")


class SupervisedServers:
    """The servers of one agent; see `agents.mcp_servers.McpServers`.

    Args:
        servers: what to connect.
        taken: names of tools that the agent has otherwise.

    Raises:
        McpServerError: one of them does not start. All are ended.
        StartError: permanent: two tools have the same name.
    """

    def __init__(self, servers: Sequence[McpServer], taken: Collection[str]) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="procorch-mcp", daemon=True)
        self._servers = [SupervisedServer(server) for server in servers]
        self._thread.start()
        self.tools: list[McpTool] = []
        try:
            self._run(self._start())
            self._name_tools(taken)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End all servers, and wait for their ends."""
        if self._loop.is_closed():
            return
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, coroutine: Coroutine[Any, Any, _Value]) -> _Value:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _start(self) -> None:
        await asyncio.gather(*(server.start() for server in self._servers))

    async def _end(self) -> None:
        await asyncio.gather(*(server.end() for server in self._servers))

    def _name_tools(self, taken: Collection[str]) -> None:
        owners = dict.fromkeys(taken, "another tool of the agent")
        for server in self._servers:
            for tool in server.offered():
                if (other := owners.get(tool.name)) is not None:
                    raise refusal(
                        f"two tools are called {tool.name!r}, one of {server.title} and one of "
                        f'{other}: give one of the servers a prefix, such as prefix="files_"'
                    )
                owners[tool.name] = server.title
                self.tools.append(tool._replace(call=partial(self._call, tool)))

    async def _call(self, tool: McpTool, arguments: Mapping[str, Any]) -> tuple[ContentBlock, ...]:
        future = asyncio.run_coroutine_threadsafe(tool.call(dict(arguments)), self._loop)
        return await asyncio.wrap_future(future)


class SupervisedServer:
    """One server, in the event loop of all."""

    def __init__(self, server: McpServer) -> None:
        self._server = server
        self._limit: Any = server.call_timeout
        self._tools: list[Any] = []
        self._current: tuple[Client, Connection] | None = None
        self._settled = asyncio.Event()  # it is connected, or will not be any more
        self._given_up: McpServerError | None = None
        self._restarts = 0
        self._scope: anyio.CancelScope | None = None
        self._closing = False
        self._life: asyncio.Task[None] | None = None

    @property
    def title(self) -> str:
        """What texts call it."""
        return f"the MCP server '{self._server.name}'"

    async def start(self) -> None:
        """Connect it.

        Raises:
            McpServerError: it cannot be connected.
        """
        started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._life = asyncio.create_task(self._live(started))
        await started

    async def end(self) -> None:
        """End it, and wait for its end."""
        self._closing = True
        if self._scope is not None:
            self._scope.cancel()
        if self._life is not None:
            await self._life
        self._settled.set()  # for calls that wait

    def offered(self) -> list[McpTool]:
        """Its tools, as the model is to see them.

        Raises:
            StartError: permanent: it has not all of those that were asked for.
        """
        wanted = self._server.tools
        names = [tool.name for tool in self._tools]
        for name in wanted or ():
            if name not in names:
                there = ", ".join(sorted(names)) or "none"
                raise refusal(f"{self.title} has no tool {name!r}; there is: {there}")
        return [
            McpTool(
                self._server.prefix + tool.name,
                tool.description or "",
                tool.input_schema,
                partial(self._call, tool.name),
            )
            for tool in self._tools
            if wanted is None or tool.name in wanted
        ]

    async def _live(self, started: asyncio.Future[None]) -> None:
        while not self._closing:
            began = anyio.current_time()
            error = await self._connect(started)
            if not started.done():
                started.set_exception(error)
                return
            if anyio.current_time() - began >= _SETTLED:
                self._restarts = 0
            if self._closing or self._is_given_up(error):
                return
            delay = min(_FIRST_DELAY * 2**self._restarts, _LONGEST_DELAY)
            self._restarts += 1
            _log.warning(
                "%s: %s; it is started again in %.1f s (restart %d of %d in a row)",
                self.title, error.reason, delay, self._restarts, self._server.max_restarts,
            )  # fmt: skip
            with anyio.CancelScope() as self._scope:
                await anyio.sleep(delay)

    def _is_given_up(self, error: McpServerError) -> bool:
        most = self._server.max_restarts
        if not error.permanent and self._restarts < most:
            return False
        self._given_up = self._failure(
            f"{error.reason}; it is not started again (restarts in a row: {self._restarts})",
            error.stderr_tail,
        )
        self._settled.set()
        return True

    async def _connect(self, started: asyncio.Future[None]) -> McpServerError:
        """Connect it, and wait until it is lost: what has become of it."""
        within: Any = self._server.start_timeout
        connection, permanent = Connection(), False
        reason = "the connection was lost" if isinstance(self._server, Http) else "it has ended"
        try:
            with anyio.CancelScope(deadline=anyio.current_time() + within) as scope:
                self._scope = scope
                async with connected(self._server, connection) as client:
                    self._tools = await listed(client)
                    scope.deadline = math.inf
                    connection.status = None
                    self._current = client, connection
                    self._settled.set()
                    if not started.done():
                        started.set_result(None)
                    await connection.lost.wait()
                    self._leave()
            if scope.cancelled_caught:
                reason = f"it has not listed its tools within {within:g} s"
        except Exception as error:
            if self._current is None:
                reason, permanent = why(error, self._server, connection)
        finally:
            self._leave()
        return self._failure(reason, await connection.stderr_tail(), permanent=permanent)

    def _leave(self) -> None:
        self._current = None
        self._settled.clear()

    def _failure(self, reason: str, tail: str, *, permanent: bool = False) -> McpServerError:
        hidden = self._server.hidden
        return McpServerError(
            server=self._server.name,
            reason=hidden(reason),
            stderr_tail=hidden(tail),
            permanent=permanent,
        )

    async def _call(self, tool: str, arguments: dict[str, Any]) -> tuple[ContentBlock, ...]:
        """Call a tool, once the server is connected.

        Raises:
            McpServerError: it has ended too often.
            McpToolError: the call has failed.
        """
        await self._settled.wait()
        if self._current is None:
            raise copy.copy(self._given_up or self._failure("it is being ended", ""))
        client, connection = self._current
        try:
            result = await client.call_tool(tool, arguments, read_timeout_seconds=self._limit)
        except Exception as error:
            reason, lost = await self._reason(error, connection)
            raise self._tool_error(tool, reason, lost) from None
        self._restarts = 0
        if result.is_error:
            raise self._tool_error(tool, text_of_result(result) or "it gave no reason")
        return blocks_of(result)

    async def _reason(self, error: Exception, connection: Connection) -> tuple[str, bool]:
        """Why a call has failed, and whether the server was lost."""
        if not isinstance(error, MCPError):
            return f"{type(error).__name__}: {error}", False
        code, text = error.error.code, error.error.message
        if code == REQUEST_TIMEOUT:
            return f"no answer within {self._limit:g} s", False
        if code == CONNECTION_CLOSED:  # a server may have given its own error this number
            with anyio.move_on_after(_NOTICED):
                await connection.lost.wait()
        if connection.lost.is_set():
            return "the server ended during the call; it is started again", True
        if isinstance(self._server, Http) and (
            code == CONNECTION_CLOSED or connection.status == 404
        ):
            connection.lost.set()  # 404: a session that the server does not know any more
            return f"{text}; it is connected again", True
        return text, False

    def _tool_error(self, tool: str, reason: str, lost: bool = False) -> McpToolError:
        hidden = self._server.hidden
        return McpToolError(
            server=self._server.name, tool=tool, reason=hidden(reason), retryable=lost
        )


def connect(servers: Sequence[McpServer], taken: Collection[str]) -> SupervisedServers:
    """Connect the servers of an agent; see `SupervisedServers`."""
    return SupervisedServers(servers, taken)
