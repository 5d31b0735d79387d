"""MCP servers of an agent, as its author names them, and the tools that they offer.

Nothing here needs the package `mcp`: `adapters.mcp_supervision` does, which is loaded in the worker
of an agent that has such a server.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from procorch.errors.redaction import redact
from procorch.messages import ContentBlock
from procorch.units import seconds, whole

_LONGEST_NAME = 60
_SHORTEST = 8
"""Characters that a value of a header or variable has at least: a shorter one may be any word."""


@dataclass(frozen=True, kw_only=True)
class _Server:
    """What servers of both kinds have."""

    name: str = ""
    prefix: str = ""
    tools: Collection[str] | None = None
    start_timeout: float | str = 30.0
    call_timeout: float | str | None = None
    max_restarts: int = 5

    def _check(self, shown: str) -> None:
        """Make the settings what they mean; ``shown`` is the name where none was given."""
        for name in ("name", "prefix"):
            if not isinstance(getattr(self, name), str):
                raise TypeError(f"{name} of an MCP server is text, not {getattr(self, name)!r}")
        if isinstance(self.tools, str):
            raise TypeError(f"tools of an MCP server are a list of names, not {self.tools!r}")
        whole(self.max_restarts, "max_restarts")
        self._set("start_timeout", seconds(self.start_timeout, "start_timeout"))
        if self.call_timeout is not None:
            self._set("call_timeout", seconds(self.call_timeout, "call_timeout"))
        if not self.name:
            self._set("name", redact(shown)[:_LONGEST_NAME])

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Values that no text may show, the longest first."""
        return ()

    def hidden(self, text: str) -> str:
        """A text about this server, without credentials."""
        for value in self.secrets:
            text = text.replace(value, "***")
        return redact(text)


@dataclass(frozen=True, kw_only=True)
class Stdio(_Server):
    """An MCP server that is a program: it is started with the agent, and speaks over its pipes.

    It is a child of the agent's process and ends with it. If it ends earlier, it is started again.
    What it writes to standard error is part of the agent's output.

    Args:
        command: its command line: a list of words, or text that is split as a shell would.
        env: variables of its environment, beside HOME, LOGNAME, PATH, SHELL, TERM and USER of the
            agent. It gets no others.
        cwd: the directory that it runs in; None: that of the agent.
        name: what errors call it; "": the command line.
        prefix: put before the names of its tools. Two servers whose tools have the same names need
            different ones.
        tools: the names of the tools that the model may call, without the prefix; None: all.
        start_timeout: seconds in which it has to list its tools.
        call_timeout: seconds that a call of a tool may take; None: as long as the request.
        max_restarts: how often it is started again in a row. A call that is answered, or a minute
            without an end, begins the count anew. After that the request that calls one of its
            tools fails with `McpServerError`, and the agent's policy decides.

    Raises:
        TypeError, ValueError: an argument is not what it has to be.

    Example:
        >>> server = Stdio(["uvx", "mcp-server-fetch"], env={"FETCH_TOKEN": "secret"})
        >>> server
        Stdio('uvx mcp-server-fetch')
        >>> server.prefix, server.start_timeout
        ('', 30.0)
    """

    command: Sequence[str] | str = field(kw_only=False)
    env: Mapping[str, str] | None = None
    cwd: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        command = self.command
        words = _split(command) if isinstance(command, str) else list(command)
        if not words or not all(isinstance(word, str) for word in words) or not words[0]:
            raise ValueError(f"an MCP server needs a command line, not {command!r}")
        if isinstance(self.env, str) or not all(
            isinstance(part, str) for pair in dict(self.env or {}).items() for part in pair
        ):
            raise TypeError("env of an MCP server is a mapping of names to texts")
        self._set("command", tuple(words))
        self._check(" ".join([os.path.basename(words[0]), *words[1:]]))

    def __repr__(self) -> str:
        return f"Stdio({self.name!r})"

    @property
    def secrets(self) -> tuple[str, ...]:
        """The values of its variables."""
        return _longest_first((self.env or {}).values())


@dataclass(frozen=True, kw_only=True)
class Http(_Server):
    """An MCP server that is reached over HTTP (Streamable HTTP).

    It is connected with the start of the agent, and again when the connection is lost.

    Args:
        url: its address.
        headers: sent with each request. Their values are in no error and no `repr`.
        name: what errors call it; "": the address.
        prefix, tools, start_timeout, call_timeout: see `Stdio`.
        max_restarts: how often it is connected again in a row, see `Stdio`.

    Raises:
        TypeError, ValueError: an argument is not what it has to be.

    Example:
        >>> Http("https://mcp.example.com/mcp", headers={"Authorization": "Bearer xyz"})
        Http('https://mcp.example.com/mcp')
    """

    url: str = field(kw_only=False)
    headers: Mapping[str, str] | None = None
    max_restarts: int = 10

    def __post_init__(self) -> None:
        from urllib.parse import urlsplit  # most agents do without what it imports

        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            shown = redact(self.url)
            raise ValueError(
                f"an MCP server has an address with http:// or https://, not {shown!r}"
            )
        if isinstance(self.headers, str) or not all(
            isinstance(part, str) for pair in dict(self.headers or {}).items() for part in pair
        ):
            raise TypeError("headers of an MCP server are a mapping of names to texts")
        place = parts.netloc.rpartition("@")[2]
        self._check(f"{parts.scheme}://{place}{parts.path}")

    def __repr__(self) -> str:
        return f"Http({self.name!r})"

    @property
    def secrets(self) -> tuple[str, ...]:
        """The values of its headers, with and without the word that a token follows."""
        values = (self.headers or {}).values()
        return _longest_first([*values, *(value.rpartition(" ")[2] for value in values)])


def _split(command: str) -> list[str]:
    import shlex

    return shlex.split(command)


def _longest_first(values: Iterable[str]) -> tuple[str, ...]:
    """One may be the beginning of another."""
    long = {value for value in values if len(value) >= _SHORTEST}
    return tuple(sorted(long, key=len, reverse=True))


McpServer = Stdio | Http


class McpTool(NamedTuple):
    """A tool of a server.

    `schema` is the JSON Schema of its arguments. `call` runs it: text or blocks for the model, or
    `McpToolError`.
    """

    name: str
    description: str
    schema: dict[str, Any]
    call: Callable[[dict[str, Any]], Coroutine[Any, Any, tuple[ContentBlock, ...]]]


class McpServers(Protocol):
    """The servers of one agent, connected."""

    @property
    def tools(self) -> Sequence[McpTool]:
        """All tools that the model may call."""
        ...

    def close(self) -> None:
        """End them."""
        ...
