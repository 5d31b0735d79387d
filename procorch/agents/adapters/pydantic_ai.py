"""Agents of pydantic-ai (extra `procorch[llm]`), the library that `AgentOptions.model` works with.

The conversation is kept as the library's own messages: they hold what a provider wants to have back
(signatures, ids of its own) and ours have no place for. `messages` and the results show it as ours.

Coroutines run on the worker's event loop, on its main thread, the one that a cancellation can
interrupt (N8). Plain tools run there, too, between its steps, and several of a turn at the same
time in threads (`agents.plain_tools`).
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from pydantic_ai import Agent, DeferredToolRequests, DeferredToolResults, UsageLimits
from pydantic_ai import messages as theirs
from pydantic_ai.agent import AbstractAgent, AgentRun, AgentRunResult
from pydantic_ai.models import Model
from pydantic_ai.tools import ToolApproved, ToolDenied
from pydantic_ai.toolsets import AbstractToolset

from procorch.agents.adapters.pydantic_limited import limited
from procorch.agents.adapters.pydantic_messages import (
    call_block,
    cost_of,
    encodable,
    end_calls,
    from_theirs,
    open_calls,
    price_of,
    prompt,
    to_theirs,
    usage_of,
)
from procorch.agents.adapters.pydantic_tools import toolset_of
from procorch.agents.approval import check, refusal_text
from procorch.agents.context import Context, enter
from procorch.agents.current import installed
from procorch.agents.mcp_servers import McpTool
from procorch.agents.model_turns import step
from procorch.agents.options import OF_THE_AGENT, AgentOptions
from procorch.agents.plain_tools import PlainTools
from procorch.agents.stream_events import (
    LONGEST,
    ReasoningEvent,
    ToolCallEvent,
    ToolResultEvent,
    UsageEvent,
)
from procorch.errors import InvalidContinue, NoMessages
from procorch.messages import (
    AgentMessage,
    AgentResult,
    AssistantMessage,
    Cost,
    CustomMessage,
    StopReason,
    ToolCallBlock,
    ToolResultMessage,
    UserMessage,
)


def open_conversation(options: AgentOptions, tools: Sequence[McpTool] = ()) -> PydanticConversation:
    """An agent that runs `options.model`: a name, a model of the library, or a whole agent.

    Args:
        tools: those of MCP servers, beside its own.

    Raises:
        TypeError, ValueError: the options do not go together with the model.
        Exception: what the library says of a model that it does not know or cannot reach.
    """
    model = options.model
    if isinstance(model, AbstractAgent):
        for name in OF_THE_AGENT:
            if getattr(options, name) is not getattr(AgentOptions, name):
                raise ValueError(f"AgentOptions.{name} belongs to the agent given as the model")
        return PydanticConversation(model, options, [toolset_of(options, tools)] if tools else None)
    if not isinstance(model, str | Model):
        raise TypeError(f"AgentOptions.model is no model of pydantic-ai: {model!r}")
    output: Any = str if options.output_type is None else options.output_type
    agent: AbstractAgent[Any, Any] = Agent(
        model,
        instructions=options.system_prompt or None,
        toolsets=[toolset_of(options, tools)],
        output_type=[output, DeferredToolRequests] if options.approval else output,
        deps_type=type(options.deps),
    )
    return PydanticConversation(agent, options)


class PydanticConversation:
    """What an agent and its model have said so far; see `agents.libraries.Conversation`."""

    def __init__(
        self,
        agent: AbstractAgent[Any, Any],
        options: AgentOptions,
        toolsets: Sequence[AbstractToolset[Any]] | None = None,
    ) -> None:
        self._agent = agent
        self._toolsets = toolsets  # beside those of the agent
        self._deps = options.deps
        self._settings = options.model_settings
        self._limits = _limits(options)
        self._retries: Any = options.retries
        self.history: list[theirs.ModelMessage] = []

    @property
    def messages(self) -> list[AgentMessage]:
        """The conversation."""
        return from_theirs(self.history)

    async def respond(
        self, messages: list[AgentMessage], history: list[theirs.ModelMessage]
    ) -> tuple[AgentResult, list[theirs.ModelMessage]]:
        """Run the agent on new messages, until it has its output.

        Returns:
            The new messages, the agent's output, usage and cost of all turns; and all messages.

        Raises:
            NoMessages: there are only custom ones.
            InvalidContinue: the last message is an assistant's.
            Exception: what the library raises.
        """
        said = [message for message in messages if not isinstance(message, CustomMessage)]
        if not said:
            raise NoMessages
        last = said[-1]
        if isinstance(last, AssistantMessage):
            raise InvalidContinue
        asked = None
        if isinstance(last, UserMessage):
            asked = prompt(last)
            said.pop()
        answered = {it.tool_call_id for it in said if isinstance(it, ToolResultMessage)}
        before = [*history, *end_calls(history, answered)]
        return await self._run(asked, [*before, *to_theirs(said, before)])

    async def resume(
        self, decisions: Mapping[str, bool | str], history: list[theirs.ModelMessage]
    ) -> tuple[AgentResult, list[theirs.ModelMessage]]:
        """Run the calls that were approved, tell the model of the others, and go on as `respond`.

        Raises:
            InvalidContinue: these are not the calls that wait.
            Exception: what the library raises.
        """
        check([call_block(part) for part in open_calls(history)], decisions)
        approvals: dict[str, bool | ToolApproved | ToolDenied] = {
            call: True if decision is True else ToolDenied(refusal_text(decision))
            for call, decision in decisions.items()
        }
        return await self._run(None, history, DeferredToolResults(approvals=approvals))

    async def _run(
        self,
        asked: str | list[theirs.UserContent] | None,
        history: list[theirs.ModelMessage],
        decided: DeferredToolResults | None = None,
    ) -> tuple[AgentResult, list[theirs.ModelMessage]]:
        worker = installed()
        model = self._limited_model
        counted = model is not None and model.limit is not None
        once = counted or not (worker is None or worker.client_retries)
        tools = PlainTools(beside_others=worker is not None and worker.concurrent)
        with Agent.using_thread_executor(tools):
            run = self._agent.iter(
                asked,
                model=model,
                message_history=history or None,
                deferred_tool_results=decided,
                deps=self._deps,
                model_settings=_once(self._settings) if once else self._settings,
                usage_limits=self._limits,
                retries=self._retries,
                toolsets=self._toolsets,
                infer_name=False,
            )
            async with run as steps:
                try:
                    async for node in steps:
                        step()
                        if Agent.is_call_tools_node(node):
                            response = node.model_response
                            tools.several = len(response.tool_calls) > 1
                            if worker is not None and worker.streaming:
                                spent = UsageEvent(usage_of(response.usage), price_of(response))
                                await worker.emit_async(spent)
                                async with node.stream(steps.ctx) as called:
                                    await _pass_on_calls(called, worker)
                        if (
                            worker is not None
                            and worker.streaming
                            and Agent.is_model_request_node(node)
                        ):
                            async with node.stream(steps.ctx) as events:
                                await _pass_on(events, worker)
                except BaseException:
                    enter(_paid(steps, len(history)))
                    await tools.end()
                    raise
        done = steps.result
        assert done is not None
        messages = done.all_messages()
        return _result(done), encodable(messages, len(messages) - len(done.new_messages()))

    @cached_property
    def _limited_model(self) -> Any:
        """The model with permits for its calls; None where this process is no worker."""
        return limited(self._agent)

    def from_messages(self, messages: Sequence[AgentMessage]) -> list[theirs.ModelMessage]:
        """The messages as the library has them."""
        return to_theirs(messages)

    def ready(self) -> None:
        """There is nothing to connect."""

    def close(self) -> None:
        """There is nothing to end."""

    def save(self, history: list[theirs.ModelMessage]) -> bytes:
        """Messages as JSON."""
        state: bytes = theirs.ModelMessagesTypeAdapter.dump_json(history)
        return state

    def load(self, state: Any) -> list[theirs.ModelMessage]:
        """What `save` gave."""
        history: list[theirs.ModelMessage] = theirs.ModelMessagesTypeAdapter.validate_json(state)
        return history


def _once(settings: Any) -> Any:
    """The settings, for a client that does not try again: others do."""
    if settings is None or (isinstance(settings, dict) and "max_retries" not in settings):
        return {**(settings or {}), "max_retries": 0}
    return settings


def _paid(steps: AgentRun[Any, Any], since: int) -> AgentResult:
    """What the turns of a request that fails have used."""
    said = steps.ctx.state.message_history[since:]
    turns = [message for message in said if isinstance(message, theirs.ModelResponse)]
    cost = sum((cost_of(turn) for turn in turns), Cost())
    return AgentResult(usage=usage_of(steps.usage), cost=cost)


def _limits(options: AgentOptions) -> UsageLimits:
    given = options.usage_limits
    if isinstance(given, UsageLimits):
        return given
    if given is not None and not isinstance(given, Mapping):
        raise TypeError(f"AgentOptions.usage_limits is no UsageLimits and no mapping: {given!r}")
    return UsageLimits(**{"request_limit": options.max_turns, **(given or {})})


def _result(run: AgentRunResult[Any]) -> AgentResult:
    new = run.new_messages()
    responses = [message for message in new if isinstance(message, theirs.ModelResponse)]
    answers = from_theirs(new)
    while answers and isinstance(answers[0], UserMessage):
        del answers[0]  # the question
    said = [message for message in answers if isinstance(message, AssistantMessage)]
    # With an output from a tool the last turn called it: there is nothing left to do.
    stop = said[-1].stop_reason if said and not said[-1].tool_calls else StopReason.STOP
    pending = _pending(run.output)
    return AgentResult(
        tuple(answers),
        StopReason.TOOL_USE if pending else stop,
        usage_of(run.usage),
        sum((cost_of(response) for response in responses), Cost()),
        said[-1].error if said else None,
        output=None if pending else run.output,
        pending=pending,
    )


def _pending(output: Any) -> tuple[ToolCallBlock, ...]:
    """The calls that wait for a decision. Where some wait for results from elsewhere, the output is
    the library's own."""
    if not isinstance(output, DeferredToolRequests) or output.calls:
        return ()
    return tuple(call_block(part) for part in output.approvals)


async def _pass_on_calls(events: AsyncIterable[Any], worker: Context) -> None:
    """Tell who reads along of the calls of a turn, and of their results."""
    async for event in events:
        worker.progress()
        match event:
            case theirs.FunctionToolCallEvent(part=part):
                call = call_block(part)
                await worker.emit_async(ToolCallEvent(call.id, call.name, call.arguments))
            case theirs.FunctionToolResultEvent(part=theirs.ToolReturnPart() as part):
                text = part.model_response_str(wrap_if_error=False)[:LONGEST]
                failed = part.outcome != "success"
                await worker.emit_async(ToolResultEvent(part.tool_call_id, text, failed))


async def _pass_on(events: AsyncIterable[Any], worker: Context) -> None:
    """Hand the text of a turn to who reads it. Whatever else comes (reasoning, the arguments of a
    call) is progress as well (N12)."""
    async for event in events:
        worker.progress()
        match event:
            case theirs.PartStartEvent(part=theirs.TextPart(content=text)):
                await worker.emit_async(text)
            case theirs.PartDeltaEvent(delta=theirs.TextPartDelta(content_delta=text)):
                await worker.emit_async(text)
            case theirs.PartStartEvent(part=theirs.ThinkingPart(content=str(text))) if text:
                await worker.emit_async(ReasoningEvent(text))
            case theirs.PartDeltaEvent(delta=theirs.ThinkingPartDelta(content_delta=str(text))) if (
                text
            ):
                await worker.emit_async(ReasoningEvent(text))
