"""Tools of agents of pydantic-ai that were given as functions."""

from __future__ import annotations

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

from procorch.agents.options import AgentOptions, tool_name
from procorch.agents.tool_calls import NEVER_TOLD, failure_text

_THEIRS = (
    AgentRunError, ApprovalRequired, CallDeferred, ModelRetry, SkipToolExecution, ToolFailed,
    UserError,
)  # fmt: skip
"""Exceptions by which a tool tells the library something."""


def toolset_of(options: AgentOptions) -> AbstractToolset[Any]:
    """The tools of an agent, whose errors are told to the model or raised."""
    tools = [
        Tool(tool, requires_approval=tool_name(tool) in options.approval) for tool in options.tools
    ]
    functions: FunctionToolset[Any] = FunctionToolset(tools)
    return functions if options.tool_errors == "raise" else _Telling(functions)


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
