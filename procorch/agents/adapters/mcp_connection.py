"""One connection to an MCP server, by the client of the package `mcp`.

The transports of that package do not tell that a server has gone: `_Read` sees its stream end. What
a program writes to standard error is passed on to that of this process, by a thread: the event loop
would wait where nobody reads it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from threading import Thread
from typing import Any, TextIO

import anyio
import httpx2
from mcp import MCPError, StdioServerParameters, stdio_client, types
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

from procorch.agents.mcp_servers import Http, McpServer, Stdio
from procorch.messages import ContentBlock, ImageBlock, TextBlock

_KEPT = 4096
"""Bytes of standard error that are kept for errors."""
_CHUNK = 1 << 16
_LAST_WORDS = 0.5
"""Seconds to wait for what a program that has ended had written: it may have left a child."""
_PASSING = (408, 425, 429)
"""Statuses below 500 that another attempt may not get."""


class Connection:
    """What is known of one connection beside its client."""

    def __init__(self) -> None:
        self.lost: asyncio.Event = asyncio.Event()
        """Set when the server has gone."""
        self.status: int | None = None
        """The last status of HTTP that said that something is wrong."""
        self._stderr = b""
        self._reader: Thread | None = None

    async def stderr_tail(self) -> str:
        """The end of what the program has written to standard error."""
        deadline = anyio.current_time() + _LAST_WORDS
        while self._reader is not None and self._reader.is_alive():
            if anyio.current_time() >= deadline:
                break
            await anyio.sleep(0.01)
        return self._stderr.decode(errors="replace")

    @contextmanager
    def stderr(self) -> Iterator[TextIO]:
        """Where a program that is started now writes its standard error to."""
        reading, writing = os.pipe()
        self._reader = Thread(
            target=self._pass_on, args=(reading,), name="procorch-mcp-stderr", daemon=True
        )
        self._reader.start()
        with open(writing, "w", encoding="utf-8") as file:
            yield file

    def _pass_on(self, fd: int) -> None:
        with open(fd, "rb", buffering=0) as pipe:
            while data := pipe.read(_CHUNK):
                self._stderr = (self._stderr + data)[-_KEPT:]
                with suppress(OSError):  # nobody reads it any more; the server must not notice
                    while data:
                        data = data[os.write(2, data) :]


@asynccontextmanager
async def connected(server: McpServer, connection: Connection) -> AsyncIterator[Client]:
    """Connect to a server, and end it afterwards."""
    transport: Any
    if isinstance(server, Stdio):
        transport = _program(server, connection)
    else:
        transport = _address(server, connection)
    try:
        async with Client(transport, read_timeout_seconds=None, cache=None) as client:
            yield client
    except BaseException:
        connection.lost.set()
        raise


async def listed(client: Client) -> list[types.Tool]:
    """All tools of a server."""
    if client.server_capabilities.tools is None:
        return []
    tools: list[types.Tool] = []
    cursor: str | None = None
    while True:
        page = await client.list_tools(cursor=cursor)
        tools += page.tools
        if page.next_cursor is None or page.next_cursor == cursor:
            return tools
        cursor = page.next_cursor


def blocks_of(result: types.CallToolResult) -> tuple[ContentBlock, ...]:
    """The result of a call, for a model."""
    if not result.content and result.structured_content is not None:
        return (TextBlock(json.dumps(result.structured_content)),)
    return tuple(_block(content) for content in result.content)


def text_of_result(result: types.CallToolResult) -> str:
    """What a result says as text."""
    return "\n".join(block.text for block in blocks_of(result) if isinstance(block, TextBlock))


def _block(content: types.ContentBlock) -> ContentBlock:
    if isinstance(content, types.TextContent):
        return TextBlock(content.text)
    if isinstance(content, types.ImageContent):
        return ImageBlock(base64.b64decode(content.data), content.mime_type)
    if isinstance(content, types.EmbeddedResource):
        resource = content.resource
        if isinstance(resource, types.TextResourceContents):
            return TextBlock(resource.text)
        return TextBlock(f"[{resource.uri}: {resource.mime_type or 'bytes'}]")
    if isinstance(content, types.ResourceLink):
        return TextBlock(f"[{content.name}: {content.uri}]")
    return TextBlock(f"[{content.type}: {content.mime_type}]")


def why(error: BaseException, server: McpServer, connection: Connection) -> tuple[str, bool]:
    """Why a connection could not be made: in words, and whether it cannot be made later either."""
    error = _leaf(error)
    status = connection.status
    if status is not None:
        return f"it answered with HTTP {status}", status < 500 and status not in _PASSING
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.strerror}: {os.fspath(error.filename)!r}", True
    if isinstance(server, Stdio) and connection.lost.is_set():
        return "it ended before it had listed its tools", False
    text = error.error.message if isinstance(error, MCPError) else str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__, False


def _leaf(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


@asynccontextmanager
async def _program(server: Stdio, connection: Connection) -> AsyncIterator[tuple[Any, Any]]:
    parameters = StdioServerParameters(
        command=server.command[0],
        args=list(server.command[1:]),
        env=dict(server.env or {}),
        cwd=None if server.cwd is None else os.fspath(server.cwd),
        encoding_error_handler="replace",
    )
    async with AsyncExitStack() as stack:
        with connection.stderr() as stderr:
            read, write = await stack.enter_async_context(stdio_client(parameters, stderr))
        yield _Read(read, connection.lost), write


@asynccontextmanager
async def _address(server: Http, connection: Connection) -> AsyncIterator[tuple[Any, Any]]:
    async def note(response: httpx2.Response) -> None:
        if response.status_code >= 400:
            connection.status = response.status_code

    timeout = httpx2.Timeout(float(server.start_timeout), read=None)
    client = httpx2.AsyncClient(
        headers=server.headers, timeout=timeout, event_hooks={"response": [note]}
    )
    async with client, streamable_http_client(server.url, http_client=client) as (read, write):
        yield _Read(read, connection.lost), write


class _Read:
    """The messages of a server; sets an event when there are no more."""

    def __init__(self, stream: Any, ended: asyncio.Event) -> None:
        self._stream = stream
        self._ended = ended

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def receive(self) -> Any:
        try:
            return await self._stream.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            self._ended.set()
            raise

    def __aiter__(self) -> _Read:
        return self

    async def __anext__(self) -> Any:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> _Read:
        return self

    async def __aexit__(self, *how: object) -> None:
        await self._stream.aclose()
