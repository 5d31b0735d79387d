"""Tools that are functions, with both libraries: side by side, their errors, and their end."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

from procorch import (
    AgentError,
    AgentFailure,
    AgentOptions,
    OrchestratedHandle,
    RequestTimeout,
    StartError,
    StructuredOutputFailed,
    ToolCallBlock,
    ToolResultMessage,
)
from procorch.agents.agent import as_agent
from tests.llm.libraries import libraries
from tests.llm.server import Provider
from tests.process.conftest import PATIENCE, Gate

Begin = Callable[..., OrchestratedHandle]


class City(BaseModel):
    """What an answer has to be."""

    people: int


def meeting() -> list[Callable[..., Any]]:
    """Tools each of which ends only if all of them run at the same time."""
    barrier = threading.Barrier(2)
    came = threading.Event()

    def first() -> str:
        """First."""
        barrier.wait(PATIENCE)
        assert came.wait(PATIENCE)
        return "one"

    def second() -> str:
        """Second."""
        barrier.wait(PATIENCE)
        return "two"

    async def third() -> str:
        """Third."""
        while not barrier.n_waiting and not barrier.broken and not came.is_set():
            await asyncio.sleep(0.001)
            came.set()
        came.set()
        return "three"

    return [first, second, third]


@libraries
def test_tools_of_one_turn_run_at_the_same_time(
    begin: Begin, provider: Provider, library: Any
) -> None:
    url = provider.url("tools")
    agent = begin(lambda: library(url, tools=meeting())())
    answer = agent.send_message("first {}; second {}; third {}", timeout=PATIENCE)
    assert answer.text == "told | one | two | three"


def fail(code: int) -> str:
    """Fail."""
    raise LookupError(f"no page {code}, Authorization: Bearer sk-live-1234567890abcdef")


@libraries
def test_an_error_of_a_tool_is_told_to_the_model_or_raised(
    begin: Begin, provider: Provider, library: Any
) -> None:
    url = provider.url("tools")
    for kind in (fail, asynchronous(fail)):
        agent = begin(library(url, tools=[kind]))
        answer = agent.send_message('fail {"code": 404}', timeout=PATIENCE)
        assert "LookupError: no page 404" in answer.text
        assert "1234567890" not in answer.text

        strict = begin(library(url, tools=[kind], tool_errors="raise"))
        with pytest.raises(AgentFailure, match="no page 404") as caught:
            strict.send_message('fail {"code": 404}', timeout=PATIENCE)
        assert caught.value.exc_type == "LookupError"
        assert strict.send_message("hello", timeout=PATIENCE).text == "told"


def asynchronous(tool: Callable[..., str]) -> Callable[..., Any]:
    async def fail(code: int) -> str:
        """Fail."""
        return tool(code)

    return fail


def test_an_error_of_a_tool_of_a_stream_fn_is_told_or_raised() -> None:
    def turn(context: Any) -> Any:
        last = context.messages[-1]
        answered = isinstance(last, ToolResultMessage)
        yield last.text if answered else ToolCallBlock("1", "fail", {"code": 5})

    def run(**options: Any) -> Any:
        agent = as_agent(AgentOptions(stream_fn=turn, tools=[fail], **options))

        async def main() -> Any:
            return await agent.respond("hi")

        return asyncio.run(main())

    assert "LookupError: no page 5" in run().text
    with pytest.raises(LookupError):
        run(tool_errors="raise")


@libraries
@pytest.mark.parametrize("calls", ["block {}", "spin {}; spin {}"])
def test_a_plain_tool_ends_with_its_request(
    begin: Begin, gate: Callable[[], Gate], provider: Provider, library: Any, calls: str
) -> None:
    """One that blocks the main thread, and several in threads."""
    ended = gate()
    tell = ended.tell

    def block() -> str:
        """Wait."""
        try:
            time.sleep(600)
        finally:
            tell("ended")
        return ""

    def spin() -> str:
        """Go on."""
        try:
            while True:
                time.sleep(0.001)
        finally:
            tell("ended")

    agent = begin(library(provider.url("tools"), tools=[block, spin]))
    process = agent.info().pid
    agent.send_message("hello", timeout=PATIENCE)
    with pytest.raises(RequestTimeout):
        agent.send_message(calls, timeout=1.0)
    for _ in calls.split(";"):
        assert ended.line() == "ended"
    assert agent.send_message("hello", timeout=PATIENCE).text == "told"
    assert agent.info().pid == process


def add(a: int, b: int) -> int:
    """Add."""
    return a + b


@libraries
def test_a_call_that_is_not_valid_is_made_again_as_often_as_retries_says(
    begin: Begin, provider: Provider, library: Any
) -> None:
    url = provider.url("tools")
    agent = begin(library(url, tools=[add], retries={"tools": 1}))
    assert agent.send_message('add {"a": 1}', timeout=PATIENCE).text.startswith("told | ")
    strict = begin(library(url, tools=[add], retries=0))
    with pytest.raises(AgentError):
        strict.send_message('add {"a": 1}', timeout=PATIENCE)
    assert strict.send_message('add {"a": 1, "b": 2}', timeout=PATIENCE).text == "told | 3"


@libraries
@pytest.mark.parametrize("retries", [0, {"output": 1}])
def test_an_answer_of_a_wrong_structure_is_asked_for_again(
    begin: Begin, provider: Provider, library: Any, retries: Any
) -> None:
    agent = begin(library(provider.url("structure"), output_type=City, retries=retries))
    reply = agent.submit("how many?")
    if retries:
        answer = reply.result(PATIENCE)
        assert answer.output == City(people=3)
        assert answer.usage.total == 36  # both turns
    else:
        assert isinstance(reply.exception(PATIENCE), StructuredOutputFailed)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tool_errors": "ignore"}, '"tell" or "raise", not \'ignore\''),
        ({"retries": -1}, "no whole number"),
        ({"retries": {"tool": 1}}, '"tools" and "output", not \'tool\''),
        ({"retries": True}, "no whole number"),
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(StartError, match=words) as caught:
        as_agent(AgentOptions(model="test", **options))
    assert caught.value.permanent


@libraries
def test_requests_at_once_are_apart_and_their_plain_tools_do_not_hold_each_other_up(
    begin: Begin, provider: Provider, library: Any
) -> None:
    """With ``concurrency`` each request is a conversation of its own."""

    def tool() -> Callable[..., Any]:
        barrier = threading.Barrier(2)

        def meet(name: str) -> str:
            """Meet."""
            barrier.wait(PATIENCE)
            return name

        return meet

    url = provider.url("tools")
    agent = begin(lambda: library(url, tools=[tool()])(), concurrency=2)
    said = [f'meet {{"name": "{name}"}}' for name in "abcd"]
    replies = [agent.submit(text, timeout=PATIENCE) for text in said]
    assert [reply.result().text for reply in replies] == [f"told | {name}" for name in "abcd"]
