"""Messages and results: what they hold, how they add up, and that they survive pickle cheaply."""

from __future__ import annotations

import copy
import pickle
import time
from dataclasses import FrozenInstanceError, dataclass, fields, replace
from typing import Any

import numpy as np
import pytest

from procorch import messages
from procorch.messages import (
    AgentRequest,
    AgentResult,
    AssistantMessage,
    Cost,
    CustomMessage,
    ExtensionBlock,
    ImageBlock,
    RequestMetrics,
    StopReason,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
    ToolResultMessage,
    Usage,
    UserMessage,
    to_result,
    user_text,
)

CALL = ToolCallBlock("c1", "add", {"a": 1})
SAID = AssistantMessage(
    (ThinkingBlock("hm", "sig"), TextBlock("Par"), CALL, TextBlock("is")),
    provider="p",
    model="m",
    usage=Usage(1, 2, 3, 4),
    cost=Cost(0.5, 0.25),
    stop_reason=StopReason.TOOL_USE,
    error="odd",
    cache_hint="ephemeral",
)
SAMPLES: list[Any] = [
    TextBlock("hi"),
    ThinkingBlock("hm"),
    CALL,
    ImageBlock(b"\x89PNG"),
    ExtensionBlock("audio", [1, 2]),
    Usage(),
    Usage(1, 2, 3, 4),
    Usage(cache_write=4),
    Cost(0.5),
    user_text("hi"),
    UserMessage((TextBlock("hi"),), 3.0, "auto"),
    AssistantMessage(),
    SAID,
    ToolResultMessage("c1", (TextBlock("3"),)),
    ToolResultMessage("c1", (TextBlock("no"),), is_error=True, details={"code": 2}),
    CustomMessage({"any": "thing"}, kind="note"),
    AgentRequest(1, [user_text("hi")], 5.0),
    RequestMetrics(0.1, 0.2, 0.3, 0.4, 5, 6, 7, 8, 9, page_faults=10),
    AgentResult(),
    AgentResult((SAID,), output="Paris"),
    AgentResult((SAID,), output="Paris", metrics=RequestMetrics(wall=1.0)),
    AgentResult((SAID,), StopReason.ERROR, Usage(1), Cost(2.0), "e", "t", {"o": 1}),
]


@pytest.mark.parametrize("value", SAMPLES, ids=lambda v: type(v).__name__)
def test_what_is_said_survives_pickle_and_copy(value: Any) -> None:
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(value, protocol)) == value
    assert copy.copy(value) == value
    assert copy.deepcopy(value) == value


@pytest.mark.parametrize("value", SAMPLES, ids=lambda v: type(v).__name__)
def test_what_is_said_is_frozen_and_slotted(value: Any) -> None:
    with pytest.raises(FrozenInstanceError):
        setattr(value, fields(value)[0].name, None)
    assert not hasattr(value, "__dict__")


def test_an_array_among_the_fields_is_pickled_as_any_value() -> None:
    result = AgentResult(transfer_signal=np.arange(3), output=np.arange(4))
    twin = pickle.loads(pickle.dumps(result, 5))
    assert twin.transfer_signal.tolist() == [0, 1, 2]
    assert twin.output.tolist() == [0, 1, 2, 3]
    block = pickle.loads(pickle.dumps(ToolResultMessage("c", (), details=np.arange(2)), 5))
    assert block.details.tolist() == [0, 1]


@dataclass(frozen=True)
class Tagged(UserMessage):
    tag: str = ""


def test_a_users_own_kind_of_message_keeps_its_fields() -> None:
    tagged = Tagged((TextBlock("hi"),), tag="t")
    assert pickle.loads(pickle.dumps(tagged, 5)) == tagged


def test_a_plain_message_pickles_small() -> None:
    assert len(pickle.dumps(to_result("hi"), 5)) < 200


def test_a_message_is_stamped_with_the_time_it_was_made() -> None:
    before = time.time()
    stamps = [m.timestamp for m in (user_text("a"), AssistantMessage(), CustomMessage(1))]
    assert all(before <= stamp <= time.time() for stamp in stamps)


@pytest.mark.parametrize(
    "content", ["hi", TextBlock("hi"), [TextBlock("hi")], ["hi"], (TextBlock("hi"),)]
)
def test_content_becomes_a_tuple_of_blocks(content: Any) -> None:
    assert UserMessage(content).content == (TextBlock("hi"),)
    assert ToolResultMessage("c", content).content == (TextBlock("hi"),)
    assert AssistantMessage(content).text == "hi"


def test_the_text_of_a_message_is_its_text_blocks_joined() -> None:
    assert SAID.text == "Paris"
    assert SAID.tool_calls == (CALL,)
    assert user_text("hi").text == "hi"


def test_the_text_of_a_result_is_what_the_assistant_said() -> None:
    result = AgentResult((user_text("?"), SAID, ToolResultMessage("c1", (TextBlock("3"),)), SAID))
    assert result.text == "ParisParis"
    assert AgentResult().text == ""


def test_usage_and_cost_add_up() -> None:
    assert Usage(1, 2, 3, 4) + Usage(10) == Usage(11, 2, 3, 4)
    assert sum([Usage(1), Usage(2)]) == Usage(3)
    assert Usage(1, 2, 3, 4).total == 10
    assert Cost(0.5) + Cost(0.25, 1.0) == Cost(0.75, 1.0)
    assert sum([Cost(1.0), Cost(2.0)]) == Cost(3.0)
    assert Cost(1.0, 2.0, 3.0, 4.0).total == 10.0


def test_tokens_are_not_added_to_money() -> None:
    with pytest.raises(TypeError):
        Usage(1) + Cost(1.0)
    with pytest.raises(TypeError):
        3 + Usage(1)


def test_a_result_stays_itself() -> None:
    result = AgentResult(output=3)
    assert to_result(result) is result


def test_text_becomes_what_the_assistant_said() -> None:
    result = to_result("Paris")
    assert (result.text, result.output, result.stop_reason) == ("Paris", "Paris", StopReason.STOP)
    (message,) = result.messages
    assert isinstance(message, AssistantMessage)


def test_an_assistants_message_becomes_the_only_message() -> None:
    result = to_result(SAID)
    assert result.messages == (SAID,)
    assert (result.output, result.usage, result.cost) == ("Paris", SAID.usage, SAID.cost)


@pytest.mark.parametrize("value", [None, 0, {"a": 1}, ["x"], b"bytes", user_text("hi")])
def test_any_other_value_is_the_output_alone(value: Any) -> None:
    result = to_result(value)
    assert result.output is value
    assert result.messages == ()


def test_the_empty_result_is_the_seeds_final_one() -> None:
    assert AgentResult() == AgentResult((), StopReason.STOP, Usage(), Cost(), None, None)
    assert replace(AgentResult(), metrics=RequestMetrics(wall=2.0)).metrics == RequestMetrics(
        wall=2.0
    )


def test_the_unions_can_be_asked_for() -> None:
    assert isinstance(SAID, messages.LlmMessage)
    assert isinstance(CustomMessage(1), messages.AgentMessage)
    assert not isinstance(CustomMessage(1), messages.LlmMessage)
    assert isinstance(CALL, messages.ContentBlock)
