"""Tools of agents of openai-agents that were given as functions.

The library would run plain functions in threads that nobody can end, and wrap what they raise.
Here it gets coroutines, which run them as `plain_tools` does and keep the error itself.
"""

from __future__ import annotations

import inspect
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any

from agents import (
    AgentOutputSchema,
    AgentOutputSchemaBase,
    FunctionTool,
    ModelBehaviorError,
    RunContextWrapper,
    default_tool_error_function,
)
from agents import function_tool as their_tool
from agents.tool_context import ToolContext

from procorch.agents.adapters.openai_items import output_of
from procorch.agents.current import installed
from procorch.agents.mcp_servers import McpTool
from procorch.agents.options import AgentOptions, tool_name
from procorch.agents.plain_tools import PlainTools
from procorch.agents.tool_calls import NEVER_TOLD, failure_text


class OpenAITools:
    """The tools of one conversation.

    Args:
        options: names them, and says what becomes of their errors.
        retries: how often a model may call each of them with arguments that are not valid, in one
            request; None: as often as it likes.
        of_servers: tools of MCP servers, beside functions.
    """

    def __init__(
        self, options: AgentOptions, retries: int | None, of_servers: Sequence[McpTool] = ()
    ) -> None:
        self._run: ContextVar[_Run] = ContextVar("procorch-openai-run")
        self._tell = options.tool_errors != "raise"
        self._retries = retries
        self.tools: list[FunctionTool] = [
            their_tool(
                self._coroutine(tool),
                name_override=tool_name(tool),
                needs_approval=tool_name(tool) in options.approval,
                failure_error_function=self._explain,
            )
            for tool in options.tools
        ]
        self.tools += [
            FunctionTool(
                name=tool.name,
                description=tool.description,
                params_json_schema=tool.schema,
                on_invoke_tool=self._calling(tool),
                strict_json_schema=False,
                needs_approval=tool.name in options.approval,
            )
            for tool in of_servers
        ]

    def begin(self) -> None:
        """A request begins; the tasks that it creates belong to it."""
        self._run.set(_Run())

    @property
    def plain(self) -> PlainTools:
        """The plain tools of this request."""
        return self._run.get().plain

    def original(self, error: BaseException) -> BaseException:
        """What a tool has raised, where the library has wrapped it."""
        raised = self._run.get().raised
        return error if raised is None else raised

    def _explain(self, context: RunContextWrapper[Any], error: Exception) -> str:
        """What the model is told of a call that could not be made.

        Raises:
            Exception: the tool's error, or too many of its calls were not valid.
        """
        if not isinstance(error, ModelBehaviorError):
            raise error
        name = context.tool_name if isinstance(context, ToolContext) else ""
        run = self._run.get()
        run.invalid[name] += 1
        if self._retries is not None and run.invalid[name] > self._retries:
            run.raised = error
            raise error
        told: str = default_tool_error_function(context, error)
        return told

    def _coroutine(self, tool: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(tool)
        async def call(*args: Any, **kwargs: Any) -> Any:
            try:
                if inspect.iscoroutinefunction(tool):
                    return await tool(*args, **kwargs)
                run = partial(copy_context().run, tool, *args, **kwargs)
                value = await self.plain.run(run)
                return await value if inspect.isawaitable(value) else value
            except Exception as error:
                return self._failed(error)

        return call

    def _calling(self, tool: McpTool) -> Callable[[ToolContext[Any], str], Any]:
        async def call(context: ToolContext[Any], given: str) -> Any:
            try:
                arguments = json.loads(given) if given else {}
                if not isinstance(arguments, dict):
                    raise ValueError("no object")
            except ValueError as error:
                told = f"Invalid JSON input for tool {tool.name}: {error}"
                return self._explain(context, ModelBehaviorError(told))
            try:
                return output_of(await tool.call(arguments))
            except Exception as error:
                return self._failed(error)

        return call

    def _failed(self, error: Exception) -> str:
        """What the model is told of the error of a tool.

        Raises:
            Exception: the error, which ends the request.
        """
        if self._tell and not isinstance(error, NEVER_TOLD):
            return failure_text(error)
        self._run.get().raised = error
        raise error


class _Run:
    """What the tools of one request have in common.

    Attributes:
        plain: runs the plain ones.
        raised: the error of a tool that ends the request.
        invalid: how many calls of each tool were not valid.
    """

    def __init__(self) -> None:
        worker = installed()
        beside_others = worker is not None and worker.concurrent
        self.plain: PlainTools = PlainTools(beside_others=beside_others)
        self.raised: Exception | None = None
        self.invalid: Counter[str] = Counter()


@dataclass(frozen=True)
class WrongOutput:
    """An answer that is not of the wanted structure."""

    error: ModelBehaviorError

    @property
    def told(self) -> str:
        """What the model is told of it."""
        return f"{self.error}. Answer again, in the structure that was asked for."


class _Forgiving(AgentOutputSchema):
    """A structure of answers that lets the run end with a wrong one."""

    def validate_json(self, json_str: str) -> Any:
        """See the base; a `WrongOutput` where it raises."""
        try:
            return super().validate_json(json_str)
        except ModelBehaviorError as error:
            return WrongOutput(error)


def forgiving(options: AgentOptions) -> Any:
    """The wanted structure of answers, with which a run ends also where they are wrong."""
    wanted = options.output_type
    if wanted in (None, str):
        return wanted
    return wanted if isinstance(wanted, AgentOutputSchemaBase) else _Forgiving(wanted)


def output_retries(given: int | Mapping[str, int] | None) -> int:
    """How often an answer of the wrong structure is asked for again."""
    return given if isinstance(given, int) else (given or {}).get("output", 0)


def tool_retries(given: int | Mapping[str, int] | None) -> int | None:
    """How often a tool may be called with arguments that are not valid; None: not limited."""
    return given if isinstance(given, int) else (given or {}).get("tools")
