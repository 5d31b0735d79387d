"""Tools of agents of pydantic-ai that were given as functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pydantic_ai import FunctionToolset, RunContext, Tool
from pydantic_ai.exceptions import (
    AgentRunError,
    ApprovalRequired,
    CallDeferred,
    ModelRetry,
    SkipToolExecution,
    ToolFailed,
    UserError,
)
from pydantic_ai.toolsets import AbstractToolset, ToolsetTool, WrapperToolset

from procorch.agents.adapters.pydantic_messages import content_of
from procorch.agents.mcp_servers import McpTool
from procorch.agents.options import AgentOptions, tool_name
from procorch.agents.tool_calls import NEVER_TOLD, failure_text

_THEIRS = (
    AgentRunError, ApprovalRequired, CallDeferred, ModelRetry, SkipToolExecution, ToolFailed,
    UserError,
)  # fmt: skip
"""Exceptions by which a tool tells the library something."""


def toolset_of(options: AgentOptions, of_servers: Sequence[McpTool] = ()) -> AbstractToolset[Any]:
    """The tools of an agent, whose errors are told to the model or raised.

    Args:
        of_servers: those of MCP servers, beside functions.
    """
    tools = [
        Tool(tool, requires_approval=tool_name(tool) in options.approval) for tool in options.tools
    ]
    for each in of_servers:
        tool = Tool.from_schema(_calling(each), each.name, each.description, each.schema)
        tool.requires_approval = each.name in options.approval
        tools.append(tool)
    functions: FunctionToolset[Any] = FunctionToolset(tools)
    return functions if options.tool_errors == "raise" else _Telling(functions)


def _calling(tool: McpTool) -> Callable[..., Any]:
    async def call(**arguments: Any) -> Any:
        content = content_of(await tool.call(arguments))
        text = [it for it in content if isinstance(it, str)]
        return "\n".join(text) if len(text) == len(content) else content

    return call


class _Telling(WrapperToolset[Any]):
    """Tools whose errors the model is told. Such a call counts for no limit of retries."""

    async def call_tool(
        self, name: str, tool_args: dict[str, Any], ctx: RunContext[Any], tool: ToolsetTool[Any]
    ) -> Any:
        """See the base."""
        try:
            return await super().call_tool(name, tool_args, ctx, tool)
        except (*_THEIRS, *NEVER_TOLD):
            raise
        except Exception as error:
            raise ToolFailed(failure_text(error)) from error
