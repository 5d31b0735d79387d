"""Agents of pydantic-ai under procorch: the library's own test models, and real processes."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_ai import Agent as LibraryAgent
from pydantic_ai import RunContext
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.models.test import TestModel
from pydantic_ai.providers.openai import OpenAIProvider

from procorch import (
    AgentCrashed,
    AgentOptions,
    AgentOrchestrator,
    AgentResult,
    AssistantMessage,
    DefaultSupervisor,
    InvalidContinue,
    ModelThrottled,
    OrchestratedHandle,
    RequestCancelled,
    StartError,
    StopReason,
    StreamError,
    StructuredOutputFailed,
    ToolCallBlock,
    ToolResultMessage,
    Usage,
    UserMessage,
    current,
)
from procorch.agents.adapters.error_map import service_error
from procorch.agents.agent import Agent, as_agent
from procorch.agents.context import Context, enter
from procorch.agents.current import install, uninstall
from tests.llm.server import Provider
from tests.process.conftest import PATIENCE, Gate

Start = Callable[..., OrchestratedHandle]


def ask(agent: Agent, payload: Any = "hi") -> AgentResult:
    async def main() -> Any:
        return await agent.respond(payload)

    result = asyncio.run(main())
    assert isinstance(result, AgentResult)
    return result


def counting(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    """A model that says how many messages it was shown, and the instructions."""
    return ModelResponse([TextPart(f"{len(messages)} {info.instructions}")])


def calls_add(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    """A model that uses its tool once."""
    if len(messages) == 1:
        return ModelResponse([ToolCallPart("add", {"a": 2, "b": 3}, "c1")])
    return ModelResponse([TextPart("five")])


def add(a: int, b: int) -> int:
    """Add."""
    return a + b


# The agent, in this process.


def test_the_conversation_and_the_system_prompt_reach_the_model() -> None:
    agent = as_agent(AgentOptions("be brief", FunctionModel(counting)))
    assert ask(agent, "one").text == "1 be brief"
    assert ask(agent, "two").text == "3 be brief"
    assert [type(m) for m in agent.messages] == [UserMessage, AssistantMessage] * 2


def test_without_history_every_request_begins_anew() -> None:
    agent = as_agent(AgentOptions("be brief", FunctionModel(counting), keep_history=False))
    assert [ask(agent, "hm?").text for _ in range(3)] == ["1 be brief"] * 3


def test_an_agent_of_the_library_is_an_agent() -> None:
    agent = as_agent(LibraryAgent(FunctionModel(counting), instructions="be kind"))
    assert ask(agent).text == "1 be kind"
    with_settings = AgentOptions(model=LibraryAgent(FunctionModel(counting)), checkpoint=True)
    assert ask(as_agent(with_settings)).text == "1 None"


def test_the_system_prompt_of_an_agent_of_the_library_is_said_once() -> None:
    agent = as_agent(LibraryAgent(FunctionModel(counting), system_prompt="be kind"))
    ask(agent, "one")
    ask(agent, "two")
    assert [m.text for m in agent.messages if isinstance(m, UserMessage)] == ["one", "two"]


def test_tools_are_called_and_everything_is_told_in_the_result() -> None:
    result = ask(as_agent(AgentOptions(model=FunctionModel(calls_add), tools=[add])), "2 + 3?")
    call, returned, answer = result.messages
    assert isinstance(call, AssistantMessage)
    assert call.content == (ToolCallBlock("c1", "add", {"a": 2, "b": 3}),)
    assert call.stop_reason is StopReason.TOOL_USE
    assert isinstance(returned, ToolResultMessage)
    assert (returned.tool_call_id, returned.text) == ("c1", "5")
    assert isinstance(answer, AssistantMessage)
    assert (answer.text, result.output, result.text) == ("five", "five", "five")
    assert result.stop_reason is StopReason.STOP
    assert result.usage == call.usage + answer.usage
    assert result.usage.total > 0


def critic() -> Agent:
    def turn(context: Any) -> Any:
        yield "five?"
        yield Usage(input=1000, output=500)

    return as_agent(AgentOptions(stream_fn=turn))


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_what_an_agent_inside_a_tool_has_used_is_part_of_the_answer(kind: str) -> None:
    """So is what a tool has asked of other processes; it goes the same way."""

    def add(a: int, b: int) -> str:
        enter(AgentResult(usage=Usage(input=1000, output=500)))
        return "five"

    async def add_async(a: int, b: int) -> str:
        await critic().respond("well?")
        return "five"

    add_async.__name__ = "add"
    tool = add if kind == "plain" else add_async
    result = ask(as_agent(AgentOptions(model=FunctionModel(calls_add), tools=[tool])), "2 + 3?")
    own = sum((m.usage for m in result.messages if isinstance(m, AssistantMessage)), Usage())
    assert result.usage == own + Usage(input=1000, output=500)


def test_plain_tools_run_on_the_thread_of_the_agent() -> None:
    import threading

    def where() -> str:
        return threading.current_thread().name

    def model(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        if len(messages) == 1:
            return ModelResponse([ToolCallPart("where", {}, "c1")])
        return ModelResponse([TextPart("ok")])

    result = ask(as_agent(AgentOptions(model=FunctionModel(model), tools=[where])))
    assert result.messages[1].text == threading.current_thread().name  # type: ignore[union-attr]


class City(BaseModel):
    name: str
    people: int


def test_the_output_has_the_type_that_was_asked_for() -> None:
    model = TestModel(custom_output_args={"name": "Paris", "people": 3})
    result = ask(as_agent(AgentOptions(model=model, output_type=City)))
    assert result.output == City(name="Paris", people=3)
    assert result.stop_reason is StopReason.STOP


def test_dependencies_reach_the_tools() -> None:
    def who(context: RunContext[str]) -> str:
        return context.deps

    model = TestModel(call_tools=["who"])
    result = ask(as_agent(AgentOptions(model=model, tools=[who], deps="Ada")))
    assert "Ada" in result.text


def test_a_conversation_may_begin_with_what_others_said() -> None:
    agent = as_agent(AgentOptions(model=FunctionModel(counting)))
    said = [
        UserMessage("2 + 3?"),
        AssistantMessage((ToolCallBlock("c1", "add", {"a": 2, "b": 3}),)),
        ToolResultMessage("c1", "5"),
    ]
    assert ask(agent, said).text == "3 None"
    with pytest.raises(InvalidContinue):
        ask(agent, [UserMessage("x"), AssistantMessage("y")])
    assert len(agent.messages) == 4


def failure(agent: Agent) -> Any:
    try:
        result = ask(agent)
    except Exception as error:
        return service_error(error)
    pytest.fail(f"no error, but {result}")


def test_usage_limits_end_a_request() -> None:
    model = TestModel()
    over = AgentOptions(model=model, usage_limits={"total_tokens_limit": 1})
    assert isinstance(failure(as_agent(over)), StreamError)
    turns = AgentOptions(model=FunctionModel(calls_add), tools=[add], max_turns=1)
    assert "request_limit" in str(failure(as_agent(turns)))


def test_an_answer_that_stays_invalid_is_no_structured_output() -> None:
    model = TestModel(custom_output_args={"name": "Paris"})
    options = AgentOptions(model=model, output_type=City)
    assert isinstance(failure(as_agent(options)), StructuredOutputFailed)


def test_a_failed_request_leaves_the_conversation_as_it_was() -> None:
    def model(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        if len(messages) == 3:
            raise ValueError("boom")
        return ModelResponse([TextPart(str(len(messages)))])

    agent = as_agent(AgentOptions(model=FunctionModel(model)))
    ask(agent, "one")
    before = agent.messages
    with pytest.raises(ValueError, match="boom"):
        ask(agent, "two")
    assert agent.messages == before


@pytest.fixture
def in_worker() -> Iterator[Callable[..., None]]:
    """Make this process the worker of one generation."""

    def begin(**settings: Any) -> None:
        install(Context("x", **settings))

    yield begin
    uninstall()


def test_every_step_is_progress(in_worker: Callable[..., None]) -> None:
    steps: list[int] = []
    in_worker(on_progress=lambda: steps.append(1))
    ask(as_agent(AgentOptions(model=FunctionModel(calls_add), tools=[add])))
    assert len(steps) >= 3  # two turns, one call


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (AgentOptions(model="nobody:x"), "the model 'nobody:x' cannot be used: .*nobody"),
        (AgentOptions("x", LibraryAgent(TestModel())), "system_prompt belongs to the agent"),
        (AgentOptions(model=TestModel(), usage_limits=3), "usage_limits is no UsageLimits"),
        (AgentOptions(model=TestModel(), usage_limits={"x": 3}), "unexpected keyword argument 'x'"),
    ],
)
def test_options_that_cannot_work_are_refused_for_good(options: AgentOptions, words: str) -> None:
    with pytest.raises(StartError, match=words) as caught:
        as_agent(options)
    assert caught.value.permanent


# Under supervision.


def service(url: str) -> OpenAIChatModel:
    """A model of an OpenAI-compatible service, whose client leaves trying again to procorch."""
    import openai

    client = openai.AsyncOpenAI(base_url=url, api_key="k", max_retries=0)
    return OpenAIChatModel("gpt-4o", provider=OpenAIProvider(openai_client=client))


def test_an_answer_of_a_service_comes_with_usage_cost_and_model(
    start: Start, provider: Provider
) -> None:
    url = provider.url("ok")
    agent = start(lambda: AgentOptions("be brief", service(url)))
    result = agent.send_message("hi")
    assert (result.text, result.output) == ("fine", "fine")
    assert (result.usage.input, result.usage.output) == (11, 7)
    assert result.cost.total > 0
    (answer,) = result.messages
    assert isinstance(answer, AssistantMessage)
    assert (answer.provider, answer.model) == ("openai", "gpt-4o-2024-08-06")
    agent.send_message("and?")  # on the same event loop: the client's connection is still good
    roles = [message["role"] for message in provider.requests[-1]["messages"]]
    assert roles == ["system", "user", "assistant", "user"]


def test_a_throttled_agent_waits_for_what_its_provider_asked(
    orchestrator: Callable[..., AgentOrchestrator], provider: Provider
) -> None:
    url = provider.url("throttled-once")
    orch = orchestrator(supervisor=DefaultSupervisor())
    orch.add_agent("a", lambda: AgentOptions(model=service(url)))
    agent = orch.spawn("a")
    first, second = agent.submit("one"), agent.submit("two")
    with pytest.raises(ModelThrottled) as caught:
        first.result(PATIENCE)
    assert caught.value.retry_after == 1.0
    assert caught.value.__cause__.exc_type == "pydantic_ai.exceptions.ModelRateLimitError"  # type: ignore[union-attr]
    assert second.result(PATIENCE).text == "fine"
    asked, again = provider.times
    assert again - asked >= 1.0


def test_an_answer_is_read_while_it_comes(start: Start) -> None:
    def factory() -> AgentOptions:
        return AgentOptions(model=TestModel(custom_output_text="one two three"))

    agent = start(factory)
    with agent.stream("go") as answer:
        pieces = list(answer)
    assert len(pieces) > 1
    assert "".join(pieces) == answer.result().text == "one two three"
    assert answer.result().usage.output > 0


def test_a_conversation_survives_the_death_of_its_process(start: Start) -> None:
    def remembers() -> AgentOptions:
        def model(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
            said = [str(p.content) for m in messages for p in m.parts if hasattr(p, "content")]
            if said[-1] == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            return ModelResponse([TextPart(" | ".join(said))])

        return AgentOptions(model=FunctionModel(model), checkpoint=True)

    agent = start(remembers, supervisor=DefaultSupervisor())
    agent.send_message("my name is Ada")
    with pytest.raises(AgentCrashed, match="SIGKILL"):
        agent.send_message("die")
    answer = agent.send_message("who am I?")
    assert answer.text == "my name is Ada | my name is Ada | who am I?"
    assert agent.generation == 2


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_a_cancelled_request_ends_where_it_is_and_the_agent_goes_on(
    start: Start, gate: Callable[[], Gate], kind: str
) -> None:
    door = gate()
    tell = door.tell

    def stuck() -> AgentOptions:
        def hangs() -> str:
            tell("in")
            while True:
                pass

        async def waits() -> str:
            tell("in")
            await asyncio.Event().wait()
            return "never"

        tool = hangs if kind == "plain" else waits

        def model(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
            last: Any = messages[-1].parts[-1]
            if last.content == "hang":
                return ModelResponse([ToolCallPart(tool.__name__, {}, "c1")])
            return ModelResponse([TextPart(f"{len(messages)} {current().generation}")])

        return AgentOptions(model=FunctionModel(model), tools=[tool])

    agent = start(stuck, supervisor=DefaultSupervisor())
    future = agent.submit("hang")
    assert door.line() == "in"
    future.cancel()
    with pytest.raises(RequestCancelled):
        future.result(PATIENCE)
    assert agent.send_message("go on").text == "1 1"  # as if nothing had been asked
