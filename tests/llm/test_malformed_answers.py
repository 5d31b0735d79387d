"""Answers of a provider that are no answers: a passing error of it, and the agent goes on."""

from __future__ import annotations

import asyncio
import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from procorch import (
    AgentError,
    AgentOptions,
    AgentOrchestrator,
    AgentResult,
    AgentStatus,
    AssistantMessage,
    NetworkError,
    ServiceSupervisor,
    StreamError,
    ToolCallBlock,
    Usage,
    current,
)
from procorch.agents.adapters.openai_items import from_items, to_items
from procorch.agents.agent import Agent, as_agent
from procorch.agents.context import Context
from procorch.agents.current import install, uninstall
from procorch.agents.permits import CallEnd
from tests.llm.libraries import PRELOAD, libraries
from tests.llm.server import Provider
from tests.process.conftest import PATIENCE

Orchestrator = Callable[..., AgentOrchestrator]
Options = Callable[..., AgentOptions]
ANSWERS = (
    "html", "cut-json", "empty", "null", "no-choices", "null-choices", "error-in-200", "no-answer",
)  # fmt: skip
STREAMS = ("malformed-event", "event-of-another-kind", "no-text")


@libraries
def test_an_answer_that_cannot_be_read_is_a_passing_error_and_the_agent_goes_on(
    orchestrator: Orchestrator, provider: Provider, library: Any
) -> None:
    orch = orchestrator(supervisor=ServiceSupervisor(), preload=PRELOAD)
    for scenario in (*ANSWERS, *STREAMS, "failed-late"):
        orch.add_agent(scenario, library(provider.url(scenario)))
        agent = orch.spawn(scenario)
        error: AgentError | None
        if scenario in ANSWERS:
            error = agent.submit("hi").exception(PATIENCE)
        else:
            with agent.stream("hi") as answer:
                error = answer.exception(PATIENCE)
        kind = NetworkError if scenario == "failed-late" else StreamError
        assert type(error) is kind, (scenario, repr(error))
        assert error.is_retryable, scenario
        assert agent.status() is AgentStatus.RUNNING
        agent.cancel()


# A request that fails leaves the conversation as it was.


def ask(agent: Agent, payload: Any = "hi") -> AgentResult:
    async def main() -> Any:
        return await agent.respond(payload)

    result = asyncio.run(main())
    assert isinstance(result, AgentResult)
    return result


def test_malformed_arguments_of_a_call_stay_in_the_conversation_as_they_were() -> None:
    call = {"type": "function_call", "call_id": "c1", "name": "add"}
    for text in ('{"a": ', "[1]", "null", '"x"'):
        (message,) = from_items([{**call, "arguments": text}])
        assert isinstance(message, AssistantMessage)
        assert message.content == (ToolCallBlock("c1", "add", {"INVALID_JSON": text}),)
        assert to_items([message]) == [{**call, "arguments": text}]


class Refuses:
    """The services of a worker, which keep no checkpoint but the first."""

    async def begin_call_async(self, *about: Any) -> int:
        return 0

    def end_call(self, *about: Any) -> CallEnd:
        return CallEnd()

    def __init__(self) -> None:
        self.kept: list[Any] = []

    def checkpoint(self, agent: str, state: Any, turn: Any) -> None:
        if self.kept:
            raise ValueError("full")
        self.kept.append(state)


def counting(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    return ModelResponse([TextPart(f"{len(messages)}")])


def scripted(context: Any) -> str:
    return f"{len(context.messages)}"


@pytest.mark.parametrize(
    "options",
    [
        AgentOptions(model=FunctionModel(counting), checkpoint=True),
        AgentOptions(stream_fn=scripted, checkpoint=True),
    ],
)
def test_a_conversation_that_cannot_be_stored_is_what_it_was(options: AgentOptions) -> None:
    services: Any = Refuses()
    install(Context("a", services=services))
    try:
        agent = as_agent(options)
        assert ask(agent).text == "1"
        for _ in range(2):
            with pytest.raises(ValueError, match="full"):
                ask(agent)
        assert len(agent.messages) == 2
    finally:
        uninstall()


def test_an_answer_that_is_taken_back_is_not_in_the_conversation() -> None:
    agent = as_agent(AgentOptions(model=FunctionModel(counting)))
    assert ask(agent).text == "1"
    assert ask(agent).text == "3"
    agent.take_back()
    agent.take_back()
    assert ask(agent).text == "3"


def test_an_answer_that_cannot_be_sent_leaves_the_conversation_as_it_was(
    orchestrator: Orchestrator,
) -> None:
    def factory() -> AgentOptions:
        def turn(context: Any) -> Any:
            text = context.messages[-1].text
            return "x" * 2_000_000 if text == "long" else f"{len(context.messages)}"

        return AgentOptions(stream_fn=turn, checkpoint=True)

    orch = orchestrator(supervisor=ServiceSupervisor(), max_message="1M")
    orch.add_agent("a", factory)
    agent = orch.spawn("a")
    assert agent.send_message("one").text == "1"
    assert isinstance(agent.submit("long").exception(PATIENCE), AgentError)
    assert agent.send_message("two").text == "3"
    orch.restart("a")
    assert agent.send_message("three").text == "5"


def test_half_of_a_surrogate_pair_does_not_end_a_conversation() -> None:
    def odd(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        return ModelResponse([TextPart("half \ud83d")])

    services: Any = Refuses()
    install(Context("a", services=services))
    try:
        agent = as_agent(AgentOptions(model=FunctionModel(odd), checkpoint=True))
        ask(agent)
    finally:
        uninstall()
    assert json.loads(services.kept[0]["saved"])
    for message in agent.messages:
        assert isinstance(message, AssistantMessage) or message.text == "hi"  # type: ignore[union-attr]
    assert agent.messages[-1].text == "half \ufffd"  # type: ignore[union-attr]


# What a request has used up before it failed is on its error.


def boom() -> str:
    """Fail."""
    raise LookupError("boom")


@libraries
def test_the_paid_turns_of_a_request_that_fails_are_on_its_error(
    orchestrator: Orchestrator, provider: Provider, library: Any
) -> None:
    """The first turn calls a tool, the second one fails."""

    def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    orch = orchestrator(supervisor=ServiceSupervisor(), preload=PRELOAD)
    orch.add_agent("a", library(provider.url("call-then-fail"), tools=[add]))
    error = orch.spawn("a").submit("hi").exception(PATIENCE)
    assert isinstance(error, NetworkError)
    assert (error.usage.input, error.usage.output) == (11, 7)
    assert error.cost is not None
    twin = pickle.loads(pickle.dumps(error))
    assert twin.usage == error.usage


def test_what_turns_of_a_stream_fn_have_used_is_on_the_error_of_who_asked_too(
    orchestrator: Orchestrator,
) -> None:
    def researcher() -> AgentOptions:
        def turn(context: Any) -> Any:
            if len(context.messages) == 1:
                yield ToolCallBlock("1", "boom", {})
                yield Usage(input=100, output=20)
            else:
                raise StreamError("no more")

        return AgentOptions(stream_fn=turn, tools=[boom])

    def planner() -> AgentOptions:
        async def ask_it() -> str:
            """Ask."""
            answer = await current().ask_async("researcher", "hi")
            return str(answer.text)

        def turn(context: Any) -> Any:
            if len(context.messages) == 1:
                yield ToolCallBlock("1", "ask_it", {})
            else:
                yield "it failed"
            yield Usage(input=1, output=1)

        return AgentOptions(stream_fn=turn, tools=[ask_it])

    orch = orchestrator(supervisor=ServiceSupervisor())
    orch.add_agent("planner", planner)
    orch.add_child("researcher", "planner", researcher)
    handles = orch.spawn_tree("planner")
    error = handles["researcher"].submit("hi").exception(PATIENCE)
    assert isinstance(error, StreamError)
    assert error.usage == Usage(input=100, output=20)
    result = handles["planner"].send_message("go", timeout=PATIENCE)
    assert result.usage == Usage(input=102, output=22)
