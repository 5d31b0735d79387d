"""A real language model, SmolLM2-135M-Instruct, in the processes of agents."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from procorch import (
    AgentCrashed,
    AgentOptions,
    AssistantMessage,
    ContextWindowOverflow,
    DefaultSupervisor,
    OrchestratedHandle,
    RequestCancelled,
    StopReason,
)
from procorch.agents.model_turns import TurnContext
from procorch.models import smollm2
from tests.process.conftest import PATIENCE, Gate

pytestmark = [pytest.mark.model, pytest.mark.timeout(180)]
Start = Callable[..., OrchestratedHandle]


def told_of(tell: Callable[..., None], **settings: object) -> Callable[[], AgentOptions]:
    """The model; it tells where it is when the first piece of a story has come, and what it was
    shown for any other answer."""

    def factory() -> AgentOptions:
        from dataclasses import replace

        options = smollm2(**settings)  # type: ignore[arg-type]
        model = options.stream_fn
        assert model is not None

        async def stream(context: TurnContext):  # type: ignore[no-untyped-def]
            told = "story" not in context.messages[-1].text
            if told:
                tell([message.text for message in context.messages])
            async for piece in model(context):
                if not told:
                    tell(os.getpid())
                told = True
                yield piece

        return replace(options, stream_fn=stream)

    return factory


def test_a_real_model_answers(start: Start) -> None:
    agent = start(lambda: smollm2())
    result = agent.send_message("What is the capital of France?", timeout=PATIENCE)
    assert "Paris" in result.text
    assert result.stop_reason is StopReason.STOP
    assert result.usage.output > 3
    assert result.usage.input > 10
    (message,) = result.messages
    assert isinstance(message, AssistantMessage)
    assert message.model == "SmolLM2-135M-Instruct"


def test_a_conversation_survives_sigkill_in_mid_generation(
    start: Start, gate: Callable[[], Gate]
) -> None:
    door = gate()
    factory = told_of(door.tell, checkpoint=True)
    agent = start(factory, supervisor=DefaultSupervisor(), start_timeout=60)
    asked = "What is the capital of France?"
    answer = agent.send_message(asked, timeout=PATIENCE).text
    assert "Paris" in answer
    assert door.line() == str([asked])
    story = agent.submit("Tell me a long story about a cat.")
    os.kill(int(door.line()), signal.SIGKILL)
    with pytest.raises(AgentCrashed, match="SIGKILL"):
        story.result(PATIENCE)
    next_answer = agent.send_message("And of Italy?", timeout=PATIENCE)
    assert door.line() == str([asked, answer, "And of Italy?"])  # the story was never answered
    assert "Rome" in next_answer.text
    assert agent.generation == 2


def test_a_generation_is_cancelled_at_the_next_token(
    start: Start, gate: Callable[[], Gate]
) -> None:
    door = gate()
    agent = start(told_of(door.tell, max_tokens=1500), supervisor=DefaultSupervisor())
    story = agent.submit("Tell me a long story about a cat.")
    pid = int(door.line())
    story.cancel()
    with pytest.raises(RequestCancelled):
        story.result(PATIENCE)
    assert "Paris" in agent.send_message("What is the capital of France?", timeout=PATIENCE).text
    assert agent.pid == pid


def test_tokens_are_read_while_they_come(start: Start) -> None:
    agent = start(lambda: smollm2(max_tokens=1500))
    with agent.stream("Tell me a long story about a cat.", timeout=PATIENCE) as story:
        pieces = [next(story) for _ in range(40)]
    assert len("".join(pieces)) > 80
    with agent.stream("What is the capital of France?", timeout=PATIENCE) as answer:
        assert "Paris" in "".join(answer)  # the story was left, and is no part of this
    assert agent.generation == 1


def test_what_does_not_fit_is_a_context_window_overflow(start: Start) -> None:
    agent = start(lambda: smollm2(context=512))
    with pytest.raises(ContextWindowOverflow, match="512"):
        agent.send_message("word " * 2000, timeout=PATIENCE)
    assert agent.send_message("Say hi.", timeout=PATIENCE).text


def test_an_answer_that_is_too_long_is_cut_off(start: Start) -> None:
    agent = start(lambda: smollm2(max_tokens=5))
    result = agent.send_message("Tell me a long story about a cat.", timeout=PATIENCE)
    assert result.stop_reason is StopReason.LENGTH
    assert result.usage.output == 5


def test_an_answer_ends_before_a_text_that_is_to_stop_it(start: Start) -> None:
    agent = start(lambda: smollm2(stop=[" France"]))
    result = agent.send_message("What is the capital of France?", timeout=PATIENCE)
    assert (result.text, result.stop_reason) == ("The capital of", StopReason.STOP)


def test_no_stranger_is_served(start: Start) -> None:
    def factory() -> AgentOptions:
        options = smollm2()
        model = options.stream_fn

        def handle(payload: object) -> object:
            import urllib.request

            model.ready()  # type: ignore[union-attr]
            address = model._server.listening_address  # type: ignore[union-attr]
            request = urllib.request.Request(
                f"{address}/v1/chat/completions",
                data=b'{"messages": [{"role": "user", "content": "hi"}]}',
                headers={"content-type": "application/json"},
            )
            try:
                return urllib.request.urlopen(request, timeout=20).status
            except urllib.error.HTTPError as refused:
                return refused.code

        return AgentOptions(handler=handle)

    assert start(factory).send_message("").output == 401
