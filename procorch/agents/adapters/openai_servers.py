"""MCP servers that a whole agent of openai-agents has of its own (`Agent.mcp_servers`).

The library leaves it to whoever runs the agent to connect them. Here its own manager connects them
before the agent is ready, in a task for each on the worker's event loop, and ends them with the
agent. That loop runs in requests only, so a server that has died is found, and connected again,
where the next request begins. What is given as `AgentOptions.mcp` is watched all the time.
"""

from __future__ import annotations

import asyncio
from typing import Any

from agents import Agent
from agents.mcp import MCPServer, MCPServerManager

from procorch.agents.adapters.openai_limited import team_of
from procorch.errors import McpServerError
from procorch.errors.texts import text_of

_WITHIN = 30.0
"""Seconds in which a server has to be connected, or to list its tools."""


class OwnServers:
    """The servers of an agent, and of those that it may hand over to."""

    def __init__(self, agent: Agent[Any]) -> None:
        self._managers = {
            server: MCPServerManager(
                [server],
                connect_timeout_seconds=_WITHIN,
                strict=True,
                connect_in_parallel=True,
            )
            for each in team_of(agent)
            for server in each.mcp_servers
        }

    def __bool__(self) -> bool:
        return bool(self._managers)

    async def connect(self) -> None:
        """Connect them.

        Raises:
            McpServerError: one of them cannot be connected. All are ended.
        """
        try:
            await asyncio.gather(*(self._connect(server) for server in self._managers))
        except BaseException:
            await self.close()
            raise

    async def look(self) -> None:
        """Connect again what does not answer any more.

        Raises:
            McpServerError: it cannot be connected.
        """
        await asyncio.gather(*(self._look(server) for server in self._managers))

    async def close(self) -> None:
        """End them."""
        for manager in self._managers.values():
            await manager.cleanup_all()

    async def _look(self, server: MCPServer) -> None:
        if callable(getattr(server, "tool_filter", None)):  # it wants to know who asks
            return
        try:
            if getattr(server, "cache_tools_list", False):
                server.invalidate_tools_cache()  # type: ignore[attr-defined, unused-ignore]
            await asyncio.wait_for(server.list_tools(), _WITHIN)
        except Exception:  # whatever it is: a new connection shows whether it passes
            await self._managers[server].cleanup_all()
            await self._connect(server)

    async def _connect(self, server: MCPServer) -> None:
        try:
            await self._managers[server].connect_all()
        except Exception as error:
            raise McpServerError(server=server.name, reason=_reason(error)) from error


def _reason(error: Exception) -> str:
    name, text = type(error).__name__, text_of(error)
    return f"{name}: {text}" if text else name
