"""Errors of MCP servers, whose tools an agent's model calls."""

from __future__ import annotations

from procorch.errors.agents import StartError
from procorch.errors.base import AgentError, known

_SHOWN = 3
"""Lines of standard error in the text of an error."""


@known
class McpServerError(StartError):
    """An MCP server of an agent cannot be used: it did not start, or ended too often.

    `server` is its name, `reason` what has happened, `stderr_tail` the last 4 KiB that its program
    wrote to standard error, without credentials. At the start of the agent it is the error of that
    start. Later it is the error of the request that called a tool of the server.

    Example:
        >>> error = McpServerError(agent="planner", server="files", reason="no such program: 'fs'")
        >>> print(error)
        agent 'planner': the MCP server 'files' cannot be used: no such program: 'fs'
    """

    _has_place = False
    phase: str = "mcp"
    server: str = ""
    reason: str = ""
    stderr_tail: str = ""

    def _describe(self) -> str:
        text = f"the MCP server '{self.server}' cannot be used: {self.reason}"
        lines = [line.strip() for line in self.stderr_tail.splitlines() if line.strip()]
        said = " | ".join(lines[-_SHOWN:])
        return f"{text}; it wrote to standard error: {said}" if said else text


@known
class McpToolError(AgentError):
    """A call of a tool of an MCP server has failed.

    `server` and `tool` are their names, `reason` is what the server said, or what has happened to
    it. It is retryable where the server was lost during the call. `tool_errors` of `AgentOptions`
    says whether the model is told of it or the request fails with it.

    Example:
        >>> print(McpToolError(server="files", tool="read", reason="no such file: 'a.txt'"))
        the tool 'read' of the MCP server 'files' failed: no such file: 'a.txt'
    """

    _has_place = False
    server: str = ""
    tool: str = ""
    reason: str = ""

    def _describe(self) -> str:
        return f"the tool '{self.tool}' of the MCP server '{self.server}' failed: {self.reason}"
