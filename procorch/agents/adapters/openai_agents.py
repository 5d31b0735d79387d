"""Agents of openai-agents (extra `procorch[openai-agents]`), thinly.

The conversation is kept as the library's input items: plain data, what a provider is sent. Each
request begins with the agent that was given, also where an earlier one was handed over to another.
What differs from agents of pydantic-ai: no cost is known, and the plain tools of a whole agent run
in threads of the library's, which no cancellation interrupts.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from agents import (
    Agent,
    ModelRetrySettings,
    ModelSettings,
    RunConfig,
    RunHooks,
    Runner,
    RunResult,
    RunResultStreaming,
    RunState,
    ToolApprovalItem,
)
from agents.items import RunItem
from agents.models.interface import Model
from agents.stream_events import RawResponsesStreamEvent
from openai.types.responses import ResponseFunctionToolCall, ResponseTextDeltaEvent

from procorch.agents.adapters.openai_events import events_of
from procorch.agents.adapters.openai_items import encodable, from_items, to_items, usage_of
from procorch.agents.adapters.openai_limited import is_limited, limit_models, limited_provider
from procorch.agents.adapters.openai_paused import (
    Paused,
    decided,
    ended,
    from_plain,
    items_of,
    paused,
    pending,
    to_plain,
)
from procorch.agents.adapters.openai_servers import OwnServers
from procorch.agents.adapters.openai_tools import (
    OpenAITools,
    WrongOutput,
    forgiving,
    output_retries,
    tool_retries,
)
from procorch.agents.context import Context, enter
from procorch.agents.current import installed
from procorch.agents.mcp_servers import McpTool
from procorch.agents.options import OF_THE_AGENT, AgentOptions
from procorch.agents.plain_tools import PlainTools
from procorch.agents.trace_context import trace_id
from procorch.errors import InvalidContinue, NoMessages, StreamError, StructuredOutputFailed
from procorch.messages import (
    AgentMessage,
    AgentResult,
    AssistantMessage,
    CustomMessage,
    StopReason,
    ToolResultMessage,
    Usage,
    user_text,
)


def open_conversation(options: AgentOptions, tools: Sequence[McpTool] = ()) -> OpenAIConversation:
    """An agent that runs `options.model`: a model of the library, or a whole agent.

    Args:
        tools: those of MCP servers, beside its own.

    Raises:
        TypeError, ValueError: the options do not go together with the model.
    """
    model = options.model
    if options.usage_limits is not None:
        raise ValueError("openai-agents has no usage_limits, only max_turns")
    if isinstance(model, Agent):
        for name in (*OF_THE_AGENT, "retries"):
            if getattr(options, name) is not getattr(AgentOptions, name):
                raise ValueError(f"AgentOptions.{name} belongs to the agent given as the model")
        added = OpenAITools(options, None, tools)
        if tools:
            model = model.clone(tools=[*model.tools, *added.tools])
        return OpenAIConversation(model, options, added)
    if not isinstance(model, Model):
        raise TypeError(f"AgentOptions.model is no model of openai-agents: {model!r}")
    every = OpenAITools(options, tool_retries(options.retries), tools)
    agent: Agent[Any] = Agent(
        name="agent",
        instructions=options.system_prompt or None,
        model=model,
        tools=[*every.tools],
        output_type=forgiving(options),
    )
    return OpenAIConversation(agent, options, every)


class OpenAIConversation:
    """What an agent and its model have said so far; see `agents.libraries.Conversation`."""

    def __init__(self, agent: Agent[Any], options: AgentOptions, tools: OpenAITools) -> None:
        self._agent = agent
        self._tools = tools
        self._asks_again = output_retries(options.retries)
        self._deps = options.deps
        self._max_turns = options.max_turns
        settings = _settings(options.model_settings)
        self._config = RunConfig(model_settings=settings, model_provider=limited_provider())
        limit_models(agent)
        self._servers = OwnServers(agent)
        self.history: list[Any] | Paused = []

    @property
    def messages(self) -> list[AgentMessage]:
        """The conversation."""
        return from_items(items_of(self.history))

    async def respond(
        self, messages: list[AgentMessage], history: list[Any] | Paused
    ) -> tuple[AgentResult, Any]:
        """Run the agent on new messages, until it has its output.

        Returns:
            The new messages, the agent's output, the usage of all turns; and all items.

        Raises:
            NoMessages: there are only custom ones.
            InvalidContinue: the last message is an assistant's.
            StreamError: the provider's answer was empty.
            Exception: what the library raises.
        """
        said = [message for message in messages if not isinstance(message, CustomMessage)]
        if not said:
            raise NoMessages
        if isinstance(said[-1], AssistantMessage):
            raise InvalidContinue
        answered = {it.tool_call_id for it in said if isinstance(it, ToolResultMessage)}
        return await self._pay([*ended(history, answered), *to_items(said)])

    async def resume(
        self, decisions: Mapping[str, bool | str], history: list[Any] | Paused
    ) -> tuple[AgentResult, Any]:
        """Run the calls that were approved, tell the model of the others, and go on as `respond`.

        Raises:
            InvalidContinue: these are not the calls that wait.
            Exception: what the library raises.
        """
        state = await decided(self._agent, self._deps, history, decisions)
        assert isinstance(history, Paused)
        return await self._pay(state, history.told, history.turns)

    async def _pay(
        self, given: list[Any] | RunState[Any, Any], told: int = 0, turns: int = 0
    ) -> tuple[AgentResult, Any]:
        """A run, whose usage is noted if it fails.

        Args:
            given: the input, or the state to go on from.
            told, turns: how many items and turns of this state are no news.
        """
        how: dict[str, Any] = {
            "starting_agent": self._agent,
            "input": given,
            "max_turns": self._max_turns,
            "run_config": self._config,
        }
        if not isinstance(given, RunState):
            how["context"] = self._deps
        worker = installed()
        if worker is not None and (is_limited(self._agent) or not worker.client_retries):
            how["run_config"] = _once(self._config)
        if worker is not None and worker.traceparent is not None:
            trace = f"trace_{trace_id(worker.traceparent)}"
            how["run_config"] = replace(how["run_config"], trace_id=trace)
        paid: list[Usage] = []
        self._tools.begin()
        await self._servers.look()
        try:
            runs = await self._answer({**how, "hooks": _noting(paid, self._tools.plain)})
        except BaseException as error:
            enter(AgentResult(usage=sum(paid, Usage())))
            await self._tools.plain.end()
            raised = self._tools.original(error)
            if raised is error:
                raise
            raise raised from None
        run = runs[-1]
        items = [item for each in runs for item in each.new_items][told:]
        new = from_items(item.to_input_item() for item in items if _is_said(item))
        responses = [response for each in runs for response in each.raw_responses][turns:]
        usages = [usage_of(response.usage) for response in responses]
        waiting = pending(run)
        result = AgentResult(
            tuple(_with_usage(new, usages)),
            StopReason.TOOL_USE if waiting else StopReason.STOP,
            sum(usages, Usage()),
            output=run.final_output,
            pending=waiting,
        )
        return result, paused(run) if waiting else encodable(run.to_input_list())

    async def _answer(self, how: dict[str, Any]) -> list[RunResult | RunResultStreaming]:
        """A run, and those that ask again for an answer of the right structure."""
        runs = [await self._run(how)]
        while isinstance(wrong := runs[-1].final_output, WrongOutput):
            if len(runs) > self._asks_again:
                raise StructuredOutputFailed(str(wrong.error)) from wrong.error
            how["input"] = [*runs[-1].to_input_list(), *to_items([user_text(wrong.told)])]
            how["context"] = self._deps
            runs.append(await self._run(how))
        return runs

    async def _run(self, how: dict[str, Any]) -> RunResult | RunResultStreaming:
        worker = installed()
        run: RunResult | RunResultStreaming
        if worker is not None and worker.streaming:
            run = Runner.run_streamed(**how)
            await _pass_on(run, worker)
        else:
            run = await Runner.run(**how)
        if run.raw_responses and not run.raw_responses[-1].output:
            raise StreamError("the provider's answer was empty", retryable=True)
        return run

    def from_messages(self, messages: Sequence[AgentMessage]) -> list[Any]:
        """The messages as the library has them."""
        return to_items(messages)

    def ready(self) -> Awaitable[None] | None:
        """Connect the MCP servers of the agent."""
        return self._servers.connect() if self._servers else None

    def close(self) -> Awaitable[None] | None:
        """End them."""
        return self._servers.close() if self._servers else None

    def save(self, history: Any) -> str:
        """A history as JSON."""
        return json.dumps(to_plain(history))

    def load(self, state: Any) -> Any:
        """What `save` gave."""
        return from_plain(json.loads(state))


def _is_said(item: RunItem) -> bool:
    """Whether an item is part of the conversation: that a call waits is none."""
    return not isinstance(item, ToolApprovalItem)


def _once(config: RunConfig) -> RunConfig:
    """The same, for a client that does not try again: the parent does."""
    settings = config.model_settings or ModelSettings()
    if settings.retry is not None:
        return config
    once = replace(settings, retry=ModelRetrySettings(max_retries=0))
    return replace(config, model_settings=once)


def _noting(usages: list[Usage], tools: PlainTools) -> RunHooks[Any]:
    """Hooks that note what each turn of a run has used, which a run that fails does not tell, and
    whether it has several calls."""

    async def on_llm_end(context: Any, agent: Any, response: Any) -> None:
        usages.append(usage_of(response.usage))
        calls = [item for item in response.output if isinstance(item, ResponseFunctionToolCall)]
        tools.several = len(calls) > 1

    hooks: RunHooks[Any] = RunHooks()
    vars(hooks)["on_llm_end"] = on_llm_end
    return hooks


async def _pass_on(run: RunResultStreaming, worker: Context) -> None:
    """Hand the text to who reads it, until the run is done. Whatever else comes (reasoning, the
    arguments of a call) is progress as well (N12)."""
    try:
        async for event in run.stream_events():
            worker.progress()
            data = event.data if isinstance(event, RawResponsesStreamEvent) else None
            if isinstance(data, ResponseTextDeltaEvent):
                await worker.emit_async(data.delta)
            else:
                for told in events_of(event):
                    await worker.emit_async(told)
    except BaseException:
        run.cancel()  # it is a task of its own
        raise


def _settings(given: Any) -> ModelSettings | None:
    return ModelSettings(**given) if isinstance(given, dict) else given


def _with_usage(
    messages: Iterable[AgentMessage], usages: Iterable[Usage]
) -> Iterator[AgentMessage]:
    """Each turn with what it took: there is one answer of a model for each message of it."""
    turns = iter(usages)
    for message in messages:
        if isinstance(message, AssistantMessage):
            yield replace(message, usage=next(turns, Usage()))
        else:
            yield message
