"""The setting ``answers="json"``: the caller loads no class of the agent."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from procorch import (
    AgentError,
    AgentFailure,
    AgentOrchestrator,
    AgentPool,
    AgentResult,
    AssistantMessage,
    Cost,
    CustomMessage,
    ExtensionBlock,
    ImageBlock,
    ModelThrottled,
    OrchestratedHandle,
    ReplyFuture,
    StopReason,
    ToolCallBlock,
    Usage,
)
from procorch.agents.apps import App

MODULE = "of_the_agent_alone"
SOURCE = """
import asyncio
import dataclasses

import numpy as np

import procorch
from procorch import AgentResult, AssistantMessage, CustomMessage, ImageBlock, ToolCallBlock


class Point:
    def __init__(self, x, y):
        self.x, self.y = x, y


@dataclasses.dataclass(frozen=True)
class Told(AgentResult):
    extra: object = None


class Said(str):
    pass


class Silent:
    __slots__ = ()

    def __repr__(self):
        raise ValueError("says nothing")


class Refusal(Exception):
    def __init__(self, code):
        super().__init__(f"refused with {code}")
        self.code = code


class Busy(procorch.ModelThrottled):
    pass


def circle():
    found = [1]
    found.append({"again": found})
    return found


def nested():
    found = Point(1, 2)
    for _ in range(500):
        found = [found]
    return found


def result(kind=AgentResult):
    content = (ToolCallBlock("1", "go", {"to": Point(1, 2)}), ImageBlock(b"png"), Point(3, 4))
    messages = [
        AssistantMessage((Said("fine"), *content), usage=procorch.Usage(input=np.int64(3))),
        CustomMessage(Point(5, 6), kind="note"),
        Point(7, 8),
    ]
    return kind(
        messages,
        stop_reason=procorch.StopReason.LENGTH,
        usage=procorch.Usage(1, 2),
        cost=procorch.Cost(0.5),
        output=Point(9, np.arange(2)),
        transfer_signal=Point(0, 0),
    )


async def later():
    await asyncio.sleep(0)
    return Point(1, Point(2, None))


def refuse(error):
    raise error


ANSWERS = {
    "object": lambda: Point(1, [Point(2, 3), {4}]),
    "array": lambda: np.arange(4.0).reshape(2, 2),
    "number": lambda: np.float32(0.5),
    "circle": circle,
    "nested": nested,
    "function": lambda: circle,
    "class": lambda: Point,
    "silent": Silent,
    "bytes": lambda: b"ab",
    "nan": lambda: float("nan"),
    "later": later,
    "text": lambda: Said("hello"),
    "message": lambda: AssistantMessage("hello", usage=procorch.Usage(7)),
    "result": result,
    "own result": lambda: result(Told),
    "refusal": lambda: refuse(Refusal(7)),
    "busy": lambda: refuse(Busy("too much", retry_after=3.0)),
}


def agent():
    def answer(request):
        return ANSWERS[request["what"]]()

    return answer


def streaming():
    def answer(request):
        procorch.current().emit("one ")
        procorch.current().emit("two")
        return Point("one", "two")

    return answer


def asking():
    def answer(request):
        return repr(procorch.current().ask("agent", request))

    return answer
"""


@pytest.fixture
def app(tmp_path: Path) -> Callable[[str], App]:
    """Factories of a module that only workers can import."""
    file = tmp_path / f"{MODULE}.py"
    file.write_text(SOURCE)
    return lambda name: App.parse(f"{file}:{name}")


@pytest.fixture
def orch(app: Callable[[str], App]) -> Iterator[AgentOrchestrator]:
    with AgentOrchestrator() as orch:
        orch.add_agent("agent", app("agent"), answers="json")
        yield orch


@pytest.fixture
def agent(orch: AgentOrchestrator) -> OrchestratedHandle:
    return orch.spawn("agent")


def send(agent: OrchestratedHandle, what: str) -> ReplyFuture[Any]:
    return agent.submit({"what": what})


@pytest.fixture(autouse=True)
def nothing_is_imported() -> Iterator[None]:
    yield
    assert MODULE not in sys.modules


def test_what_an_agent_returns_becomes_plain_data(agent: OrchestratedHandle) -> None:
    expected = {
        "object": {"x": 1, "y": [{"x": 2, "y": 3}, [4]]},
        "array": [[0.0, 1.0], [2.0, 3.0]],
        "number": 0.5,
        "circle": [1, {"again": "<cycle>"}],
        "class": f"<class '{MODULE}.Point'>",
        "silent": f"<{MODULE}.Silent>",
        "bytes": "YWI=",
        "nan": None,
        "later": {"x": 1, "y": {"x": 2, "y": None}},
    }
    futures = {what: send(agent, what) for what in expected}
    assert {what: future.result().output for what, future in futures.items()} == expected


def test_what_has_no_form_becomes_text(agent: OrchestratedHandle) -> None:
    assert send(agent, "function").result().output.startswith("<function circle at ")
    found, depth = send(agent, "nested").result().output, 0
    while isinstance(found, list):
        (found,) = found
        depth += 1
    assert found == f"<nested deeper than {depth} levels>"


def test_text_and_a_message_stay_what_they_are(agent: OrchestratedHandle) -> None:
    said = send(agent, "text").result()
    assert (said.text, said.output, type(said.output)) == ("hello", "hello", str)
    said = send(agent, "message").result()
    assert (said.text, said.usage) == ("hello", Usage(7))


@pytest.mark.parametrize("what", ["result", "own result"])
def test_a_result_keeps_its_messages_usage_and_cost(agent: OrchestratedHandle, what: str) -> None:
    future = send(agent, what)
    result = future.result()
    assert type(result) is AgentResult
    assert result.output == {"x": 9, "y": [0, 1]}
    assert (result.usage, result.cost) == (Usage(1, 2), Cost(0.5))
    assert (result.stop_reason, result.transfer_signal) == (StopReason.LENGTH, {"x": 0, "y": 0})
    assert result.metrics == future.metrics
    turn, note, other = result.messages
    assert isinstance(turn, AssistantMessage)
    assert turn.content == (
        ExtensionBlock("Said", "fine"),
        ToolCallBlock("1", "go", {"to": {"x": 1, "y": 2}}),
        ImageBlock(b"png"),
        ExtensionBlock("Point", {"x": 3, "y": 4}),
    )
    assert turn.usage == Usage(3)
    assert (type(note), note.data, note.kind) == (CustomMessage, {"x": 5, "y": 6}, "note")
    assert (type(other), other.data, other.kind) == (CustomMessage, {"x": 7, "y": 8}, "Point")


def test_an_error_comes_without_the_exception_that_was_raised(agent: OrchestratedHandle) -> None:
    with pytest.raises(AgentFailure, match="refused with 7") as failed:
        send(agent, "refusal").result()
    assert failed.value.exc_type.endswith("Refusal")
    assert failed.value.__cause__ is None
    assert "in refuse" in failed.value.remote_traceback
    with pytest.raises(ModelThrottled, match="too much") as busy:
        send(agent, "busy").result()
    assert (type(busy.value), busy.value.retry_after) == (ModelThrottled, 3.0)
    assert send(agent, "number").result().output == 0.5, "the agent goes on"


def test_a_stream_ends_with_plain_data(orch: AgentOrchestrator, app: Callable[[str], App]) -> None:
    orch.add_agent("streaming", app("streaming"), answers="json")
    stream = orch.spawn("streaming").stream("go")
    assert "".join(stream) == "one two"
    assert stream.result().output == {"x": "one", "y": "two"}


def test_an_agent_that_asks_gets_the_same(
    orch: AgentOrchestrator, app: Callable[[str], App], agent: OrchestratedHandle
) -> None:
    orch.add_agent("asking", app("asking"))
    assert (
        "{'x': 1, 'y': [{'x': 2, 'y': 3}, [4]]}"
        in send(orch.spawn("asking"), "object").result().text
    )


def test_without_the_setting_the_caller_needs_the_class(
    orch: AgentOrchestrator, app: Callable[[str], App]
) -> None:
    orch.add_agent("python", app("agent"))
    handle = orch.spawn("python")
    with pytest.raises(AgentError, match=MODULE):
        send(handle, "object").result()
    with pytest.raises(AgentFailure) as failed:
        send(handle, "refusal").result()
    assert any("does not load here" in note for note in failed.value.__notes__)


def test_answers_are_of_agents_that_take_requests() -> None:
    orch = AgentOrchestrator()
    with pytest.raises(ValueError, match=r"answers='jsno'.*did you mean 'json'"):
        orch.add_agent("a", lambda: str, answers="jsno")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="answers is about requests"):
        orch.add_service("s", lambda: None, answers="json")
    with pytest.raises(TypeError, match="unknown setting 'answers': pools"):
        AgentPool(lambda: str, workers=1, answers="json")  # type: ignore[call-arg]
