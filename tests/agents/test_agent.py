"""What counts as an agent, and the conversation of one that talks to a model."""

from __future__ import annotations

import asyncio
import functools
import pickle
import sys
import types
from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any

import pytest

from procorch.agents.agent import Agent, as_agent
from procorch.agents.context import Context
from procorch.agents.current import install, uninstall
from procorch.agents.model_turns import TurnContext
from procorch.agents.options import AgentOptions
from procorch.agents.permits import CallEnd
from procorch.errors import NoMessages, RequestCancelled, StartError, StreamError
from procorch.messages import (
    AgentResult,
    AssistantMessage,
    Cost,
    CustomMessage,
    ExtensionBlock,
    StopReason,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
    ToolResultMessage,
    Usage,
    UserMessage,
    user_text,
)


def ask(agent: Agent, payload: Any = "hi") -> AgentResult:
    async def main() -> Any:
        return await agent.respond(payload)

    result = asyncio.run(main())
    assert isinstance(result, AgentResult)
    return result


def talking(*turns: Any, tools: Any = (), max_turns: int = 50) -> tuple[Agent, list[TurnContext]]:
    """An agent whose model says `turns` one after the other, and what the model was shown."""
    seen: list[TurnContext] = []

    def stream(context: TurnContext) -> Any:
        seen.append(context)
        turn = turns[min(len(seen), len(turns)) - 1]
        if isinstance(turn, Exception):
            raise turn
        return turn

    options = AgentOptions("be brief", tools=tools, stream_fn=stream, max_turns=max_turns)
    return Agent(options), seen


def call(name: str = "add", id: str = "c1", **arguments: Any) -> ToolCallBlock:
    return ToolCallBlock(id, name, arguments)


# What a factory may return.


def test_a_handler_gets_the_payload_as_it_was_sent() -> None:
    agent = as_agent(AgentOptions(handler=lambda payload: ("got", payload)))
    payload = object()
    assert agent.respond(payload) == ("got", payload)


def test_a_handler_that_is_a_coroutine_function_gives_an_awaitable() -> None:
    async def handle(payload: Any) -> Any:
        return payload * 2

    agent = as_agent(AgentOptions(handler=handle))
    assert asyncio.run(agent.respond(21)) == 42


class Prompts:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def prompt(self, messages: Any) -> Any:
        return ("prompt", messages)

    def handle(self, messages: Any) -> Any:
        return ("handle", messages)

    def __call__(self, messages: Any) -> Any:
        return ("call", messages)

    def ready(self) -> str:
        self.calls.append("ready")
        return "up"

    async def close(self) -> str:
        self.calls.append("close")
        return "down"


class Handles:
    handle = Prompts.handle
    __call__ = Prompts.__call__


class Calls:
    __call__ = Prompts.__call__


@pytest.mark.parametrize(
    ("product", "answer"),
    [
        (Prompts(), ("prompt", 1)),
        (Handles(), ("handle", 1)),
        (Calls(), ("call", 1)),
        (lambda messages: messages + 1, 2),
        (functools.partial(max, 5), 5),
        (str, "1"),
    ],
)
def test_an_object_is_asked_by_prompt_then_handle_then_as_a_callable(
    product: Any, answer: Any
) -> None:
    assert as_agent(product).respond(1) == answer


def test_an_agent_stays_itself() -> None:
    agent = Agent(AgentOptions(handler=str))
    assert as_agent(agent) is agent


def test_ready_and_close_are_those_of_the_users_object() -> None:
    product = Prompts()
    agent = as_agent(product)
    assert agent.ready() == "up"
    assert asyncio.run(agent.close()) == "down"
    assert product.calls == ["ready", "close"]


def test_an_agent_without_ready_and_close_needs_none() -> None:
    agent = as_agent(AgentOptions(handler=str))
    assert agent.ready() is None
    assert agent.close() is None


class NoAgent:
    prompt = "text, not a method"


@pytest.mark.parametrize(
    ("product", "words"),
    [
        (None, "None (is a `return` missing?)"),
        (3, "an object of type int"),
        (NoAgent(), "NoAgent"),
        (Prompts, "the class Prompts (return an instance: Prompts(...))"),
        (AgentOptions, "the class AgentOptions (return an instance: AgentOptions(...))"),
    ],
)
def test_what_cannot_be_an_agent_is_refused_by_type_with_what_is_accepted(
    product: Any, words: str
) -> None:
    with pytest.raises(StartError) as caught:
        as_agent(product)
    assert words in str(caught.value)
    assert "AgentOptions" in str(caught.value)
    assert "prompt(messages) or handle(messages)" in str(caught.value)
    assert (caught.value.phase, caught.value.permanent) == ("construct", True)
    assert not caught.value.is_retryable


def test_an_async_factory_is_refused_with_where_async_work_belongs() -> None:
    async def factory() -> AgentOptions:
        return AgentOptions(handler=str)

    with pytest.raises(StartError, match=r"coroutine .*belongs into ready\(\)"):
        as_agent(factory())


@pytest.fixture
def without_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that lacks pydantic_ai, whatever this one has."""
    loaded = [name for name in sys.modules if name.startswith("procorch.agents.adapters.py")]
    for name in loaded:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pydantic_ai", None)
    monkeypatch.setitem(sys.modules, "pydantic", None)


@pytest.mark.usefixtures("without_library")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (AgentOptions(), "neither handler nor stream_fn"),
        (AgentOptions(model="gpt-x"), "the model 'gpt-x' needs an LLM library"),
    ],
)
def test_options_without_a_handler_name_the_extra_that_a_model_needs(
    options: AgentOptions, words: str
) -> None:
    with pytest.raises(StartError, match=words) as caught:
        as_agent(options)
    assert "pip install 'procorch[llm]'" in str(caught.value)
    assert caught.value.permanent


def test_a_model_of_no_known_library_is_refused_for_good() -> None:
    with pytest.raises(StartError, match="an object of type object, of no LLM library") as caught:
        as_agent(AgentOptions(model=object()))
    assert caught.value.permanent


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (AgentOptions(handler="x"), "handler is not callable"),  # type: ignore[arg-type]
        (AgentOptions(stream_fn=3), "stream_fn is not callable"),  # type: ignore[arg-type]
        (AgentOptions(handler=str, max_turns=0), "max_turns is not 1 or more: 0"),
        (AgentOptions(handler=str, tools=[3]), "a tool is not callable"),  # type: ignore[list-item]
        (AgentOptions(handler=str, tools=[len, len]), "two tools are called 'len'"),
        (AgentOptions(handler=str, checkpoint=True), "checkpoint stores a conversation"),
        (AgentOptions(handler=str, keep_history=False), "keep_history is of a conversation"),
        (
            AgentOptions(stream_fn=str, keep_history=False, checkpoint=True),
            "checkpoint stores what keep_history=False forgets",
        ),
        (AgentOptions(handler=str, output_type=int), "output_type is for a model"),
        (AgentOptions(stream_fn=str, usage_limits={}), "usage_limits is for a model"),
    ],
)
def test_impossible_options_are_refused_for_good(options: AgentOptions, words: str) -> None:
    with pytest.raises(StartError, match=words) as caught:
        as_agent(options)
    assert caught.value.permanent


def test_an_agent_of_a_library_is_recognised_by_its_module_subclasses_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    library = types.ModuleType("agents")
    library.function_tool = object  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "agents", library)  # imported by the user
    monkeypatch.delitem(sys.modules, "procorch.agents.adapters.openai_agents", raising=False)
    base = type("Agent", (), {"__module__": "agents.agent", "prompt": lambda *a: None})
    for cls in (base, type("Mine", (base,), {"__module__": "my.app"})):
        with pytest.raises(StartError) as caught:
            as_agent(cls())
        assert "pip install 'procorch[openai-agents]'" in str(caught.value)
        assert caught.value.permanent


def test_a_users_own_package_of_a_librarys_name_is_not_taken_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "agents", types.ModuleType("agents"))
    cls = type("Planner", (), {"__module__": "agents.planner", "prompt": lambda self, m: m})
    assert as_agent(cls()).respond(3) == 3


# One turn.


async def async_deltas(context: TurnContext) -> AsyncIterator[Any]:
    for piece in ("Pa", "ris"):
        await asyncio.sleep(0)
        yield piece


def deltas(context: TurnContext) -> Iterator[Any]:
    yield "Pa"
    yield "ris"


def deltas_and_message(context: TurnContext) -> Generator[Any, None, Any]:
    yield "Pa"
    return AssistantMessage((TextBlock("Paris"),))


async def coroutine(context: TurnContext) -> str:
    return "Paris"


async def coroutine_of_a_generator(context: TurnContext) -> Any:
    return async_deltas(context)


@pytest.mark.parametrize(
    "stream_fn",
    [
        async_deltas,
        deltas,
        deltas_and_message,
        coroutine,
        coroutine_of_a_generator,
        lambda context: "Paris",
        lambda context: ["Pa", TextBlock("ris")],
        lambda context: TextBlock("Paris"),
        lambda context: AssistantMessage((TextBlock("Paris"),)),
        lambda context: iter(("Pa", None, "ris")),
    ],
)
def test_a_stream_fn_may_have_any_form(stream_fn: Any) -> None:
    result = ask(Agent(AgentOptions(stream_fn=stream_fn)))
    assert (result.text, result.output) == ("Paris", "Paris")
    assert result.stop_reason is StopReason.STOP


def test_a_turn_keeps_its_blocks_in_order_and_joins_the_pieces_of_text() -> None:
    thinking, extra = ThinkingBlock("hm"), ExtensionBlock("audio")
    agent, _ = talking([thinking, "a", "b", extra, "c"])
    (message,) = ask(agent).messages
    assert isinstance(message, AssistantMessage)
    assert message.content == (thinking, TextBlock("ab"), extra, TextBlock("c"))


def test_usage_cost_and_reason_may_be_streamed_beside_the_text() -> None:
    agent, _ = talking(["Pa", Usage(1), "ris", Usage(0, 2), Cost(0.5), StopReason.LENGTH])
    result = ask(agent)
    assert (result.text, result.usage, result.cost) == ("Paris", Usage(1, 2), Cost(0.5))
    assert result.stop_reason is StopReason.LENGTH


def test_a_closing_message_stands_in_place_of_what_was_streamed_unless_it_is_empty() -> None:
    whole = AssistantMessage((TextBlock("Paris"),), usage=Usage(3), model="m")
    agent, _ = talking(["Pa", "ris", whole])
    assert ask(agent).text == "Paris"
    agent, _ = talking(["Pa", "ris", AssistantMessage(usage=Usage(3))])
    result = ask(agent)
    assert (result.text, result.usage) == ("Paris", Usage(3))


def test_an_error_of_the_provider_is_on_the_result() -> None:
    agent, _ = talking(
        AssistantMessage((TextBlock("so far"),), stop_reason=StopReason.ERROR, error="overload")
    )
    result = ask(agent)
    assert (result.stop_reason, result.error, result.text) == (
        StopReason.ERROR, "overload", "so far",
    )  # fmt: skip


def test_what_is_no_content_is_an_error_that_names_it_and_the_generator_is_closed() -> None:
    closed: list[str] = []

    async def stream(context: TurnContext) -> AsyncIterator[Any]:
        try:
            yield "Pa"
            yield 3
        finally:
            closed.append("at once")

    async def main() -> None:
        with pytest.raises(StreamError, match="not int"):
            await Agent(AgentOptions(stream_fn=stream)).respond("hi")
        assert closed == ["at once"]

    asyncio.run(main())


# The conversation.


def test_the_model_is_shown_the_prompt_the_tools_and_all_that_was_said() -> None:
    agent, seen = talking("one", "two", tools=[len])
    first, second = user_text("first"), user_text("second")
    ask(agent, [first])
    result = ask(agent, [second])
    assert [m.text for m in seen[0].messages] == ["first"]
    assert [m.text for m in seen[1].messages] == ["first", "one", "second"]
    assert (seen[1].system_prompt, seen[1].tools) == ("be brief", (len,))
    assert [m.text for m in result.messages if isinstance(m, AssistantMessage)] == ["two"]
    assert agent.messages == [first, *ask_messages(seen), second, *result.messages]


def ask_messages(seen: list[TurnContext]) -> list[Any]:
    return [m for m in seen[-1].messages if isinstance(m, AssistantMessage)]


def test_without_history_every_request_begins_anew() -> None:
    seen: list[int] = []

    def stream(context: TurnContext) -> str:
        seen.append(len(context.messages))
        return "said"

    agent = Agent(AgentOptions(stream_fn=stream, keep_history=False))
    for _ in range(3):
        ask(agent, "hm?")
    assert seen == [1, 1, 1]


def test_a_custom_message_is_kept_and_never_shown_to_the_model() -> None:
    agent, seen = talking("one")
    note = CustomMessage({"ui": "blue"})
    ask(agent, [note, user_text("hi")])
    assert [type(m) for m in seen[0].messages] == [UserMessage]
    assert agent.messages[0] is note


@pytest.mark.parametrize(
    "payload",
    [
        "hi",
        user_text("hi"),
        ["hi"],
        (user_text("hi"),),
        {"prompt": "hi"},
        {"messages": [user_text("hi")]},
    ],
)
def test_a_model_is_asked_by_text_messages_or_a_mapping(payload: Any) -> None:
    agent, seen = talking("one")
    ask(agent, payload)
    assert [m.text for m in seen[0].messages] == ["hi"]


@pytest.mark.parametrize("payload", [3, {"question": "hi"}, [3], None])
def test_a_payload_that_is_no_message_is_refused(payload: Any) -> None:
    agent, seen = talking("one")
    with pytest.raises(TypeError):
        ask(agent, payload)
    assert (seen, agent.messages) == ([], [])


def test_a_request_without_messages_is_refused() -> None:
    with pytest.raises(NoMessages):
        ask(talking("one")[0], [])


def test_a_failed_request_leaves_the_conversation_as_it_was() -> None:
    agent, seen = talking("one", call(), ValueError("boom"), "two", tools=[lambda: "x"])
    ask(agent, "first")
    before = list(agent.messages)
    with pytest.raises(ValueError, match="boom"):
        ask(agent, "second")
    assert list(agent.messages) == before
    ask(agent, "third")
    assert [m.text for m in seen[-1].messages] == ["first", "one", "third"]


class Shelf:
    """Keeps checkpoints, in place of a worker's parent."""

    def __init__(self) -> None:
        self.kept: list[Any] = []

    async def begin_call_async(self, *about: Any) -> int:
        return 0

    def end_call(self, *about: Any) -> CallEnd:
        return CallEnd()

    def checkpoint(self, agent: str, state: Any, turn: Any = None) -> None:
        self.kept.append(pickle.loads(pickle.dumps(state)))


@pytest.fixture
def born() -> Iterator[Any]:
    """Make this process the worker of one generation, with what an earlier one has stored."""

    def install_one(shelf: Any, restored: Any = None) -> None:
        install(Context("x", restored=restored, services=shelf))

    yield install_one
    uninstall()


def test_a_stored_conversation_goes_on_in_the_next_generation(born: Any) -> None:
    def stream(context: TurnContext) -> str:
        return f"heard {len(context.messages)}"

    shelf, options = Shelf(), AgentOptions(stream_fn=stream, checkpoint=True)
    born(shelf)
    assert ask(Agent(options), "one").text == "heard 1"
    assert len(shelf.kept) == 1
    born(shelf, restored=shelf.kept[-1])
    agent = Agent(options)
    assert [m.text for m in agent.messages if not isinstance(m, CustomMessage)] == [
        "one",
        "heard 1",
    ]
    assert ask(agent, "two").text == "heard 3"
    born(shelf, restored=shelf.kept[-1])
    assert ask(Agent(AgentOptions(stream_fn=stream)), "anew").text == "heard 1"
    assert len(shelf.kept) == 2


def test_a_failed_request_is_not_stored(born: Any) -> None:
    def stream(context: TurnContext) -> str:
        raise ValueError("boom")

    shelf = Shelf()
    born(shelf)
    with pytest.raises(ValueError, match="boom"):
        ask(Agent(AgentOptions(stream_fn=stream, checkpoint=True)))
    assert shelf.kept == []


def test_a_checkpoint_that_is_no_conversation_is_refused(born: Any) -> None:
    born(Shelf(), restored={"mine": 1})
    with pytest.raises(StartError, match="another checkpoint in place of the conversation"):
        Agent(AgentOptions(stream_fn=str, checkpoint=True))


# Tools.


def add(a: int, b: int) -> int:
    return a + b


async def slow_add(a: int, b: int) -> int:
    await asyncio.sleep(0)
    return a + b


@pytest.mark.parametrize("tool", [add, slow_add])
def test_the_model_calls_tools_until_it_answers(tool: Any) -> None:
    name = tool.__name__
    agent, seen = talking(
        ["let me see. ", call(name, a=1, b=2), Usage(1), Cost(0.5)],
        [call(name, "c2", a=3, b=4), call(name, "c3", a=5, b=6), Usage(2)],
        ["18", Usage(4), Cost(0.25)],
        tools=[tool],
    )
    result = ask(agent)
    answers = [m for m in result.messages if isinstance(m, ToolResultMessage)]
    assert [(m.tool_call_id, m.text, m.is_error) for m in answers] == [
        ("c1", "3", False), ("c2", "7", False), ("c3", "11", False),
    ]  # fmt: skip
    assert (result.output, result.text) == ("18", "let me see. 18")
    assert (result.usage, result.cost) == (Usage(7), Cost(0.75))
    assert [type(m).__name__ for m in seen[1].messages] == [
        "UserMessage", "AssistantMessage", "ToolResultMessage",
    ]  # fmt: skip


def broken(why: str) -> str:
    raise ValueError(why)


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        (call("nothing"), "unknown tool 'nothing'; there is: broken, partly, Calls"),
        (call("broken", why="boom"), "ValueError: boom"),
        (call("broken", why=""), "ValueError"),
        (call("broken"), "TypeError: broken() missing 1 required positional argument: 'why'"),
    ],
)
def test_a_tool_that_fails_is_told_to_the_model(asked: ToolCallBlock, text: str) -> None:
    def partly(a: int, b: int) -> int:
        return a + b

    agent, _ = talking(asked, "sorry", tools=[broken, functools.partial(partly, 1), Calls()])
    result = ask(agent)
    answer = result.messages[1]
    assert isinstance(answer, ToolResultMessage)
    assert (answer.text, answer.is_error, answer.tool_call_id) == (text, True, "c1")
    assert result.text == "sorry"


@pytest.mark.parametrize(
    ("value", "content"),
    [
        ("text", (TextBlock("text"),)),
        (TextBlock("block"), (TextBlock("block"),)),
        ([TextBlock("a"), ExtensionBlock("b")], (TextBlock("a"), ExtensionBlock("b"))),
        (ToolResultMessage("other", (TextBlock("whole"),), is_error=True), (TextBlock("whole"),)),
        ({"a": [1, None]}, (TextBlock('{"a": [1, null]}'),)),
        (None, (TextBlock("null"),)),
        ({"odd": 1 + 2j}, (TextBlock('{"odd": "(1+2j)"}'),)),
    ],
)
def test_a_tool_may_return_text_blocks_or_any_value(value: Any, content: Any) -> None:
    agent, _ = talking(call("give"), "thanks", tools=[functools.partial(give, value)])
    answer = ask(agent).messages[1]
    assert isinstance(answer, ToolResultMessage)
    assert (answer.tool_call_id, answer.content) == ("c1", content)


def give(value: Any) -> Any:
    return value


@pytest.mark.parametrize("reason", [StopReason.LENGTH, StopReason.ERROR, StopReason.ABORTED])
def test_calls_of_a_turn_that_was_cut_off_are_answered_and_not_run(reason: StopReason) -> None:
    ran: list[int] = []
    agent, seen = talking([call("run"), reason], "never", tools=[runs(ran)])
    result = ask(agent)
    assert (result.stop_reason, ran, len(seen)) == (reason, [], 1)
    answer = result.messages[1]
    assert isinstance(answer, ToolResultMessage)
    assert answer.is_error


def runs(ran: list[int]) -> Any:
    def run() -> None:
        ran.append(1)

    return run


def test_a_model_that_never_stops_asking_is_stopped_after_max_turns() -> None:
    agent, seen = talking(call("run"), tools=[runs([])], max_turns=3)
    with pytest.raises(StreamError, match="3 turns"):
        ask(agent)
    assert len(seen) == 3
    assert agent.messages == []


# In a worker.


@pytest.fixture
def worker() -> Iterator[Context]:
    mine = Context("x", on_progress=lambda: None)
    install(mine)
    yield mine
    uninstall()


def test_every_step_of_a_conversation_is_progress() -> None:
    steps: list[int] = []
    install(Context("x", on_progress=lambda: steps.append(1)))
    try:
        ask(talking(call("run"), "done", tools=[runs([])])[0])
    finally:
        uninstall()
    assert len(steps) == 5  # two turns, one call, and each piece of the turns


def test_a_cancelled_request_ends_before_its_next_step(worker: Context) -> None:
    def run() -> None:
        worker.cancel(7)

    worker.begin(7)
    agent, seen = talking(call("run"), "never", tools=[run])
    with pytest.raises(RequestCancelled, match="request 7"):
        ask(agent)
    assert len(seen) == 1
    assert agent.messages == []


def test_a_cancel_raised_inside_a_tool_ends_the_request(worker: Context) -> None:
    def run() -> None:
        raise RequestCancelled(agent="x", request=7)

    with pytest.raises(RequestCancelled):
        ask(talking(call("run"), "never", tools=[run])[0])
