"""Conversations of openai-agents in which calls of tools wait for a decision.

The items alone would not do: the library goes on from the state of the run, which knows the agent
that was at work and what it had done in this turn. It is plain data, so a checkpoint can hold it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from agents import Agent, RunContextWrapper, RunResult, RunResultStreaming, RunState

from procorch.agents.adapters.openai_items import encodable, from_items
from procorch.agents.approval import PASSED_OVER, check, refusal_text
from procorch.messages import AssistantMessage, ToolCallBlock

_PAUSED = "procorch.paused"


@dataclass(frozen=True)
class Paused:
    """A history that ends with calls which wait.

    Args:
        items: all that was said.
        state: the library's state of the run.
        told: how many of its items the caller has been told; ``turns``: how many turns of a model.
    """

    items: list[Any]
    state: dict[str, Any]
    told: int
    turns: int


def paused(run: RunResult | RunResultStreaming) -> Paused:
    """The history after a run that waits for decisions."""
    state = run.to_state().to_json(context_serializer=lambda deps: {})
    (state,) = encodable([state])
    items = encodable(run.to_input_list())
    return Paused(items, state, len(run.new_items), len(run.raw_responses))


def pending(run: RunResult | RunResultStreaming) -> tuple[ToolCallBlock, ...]:
    """The calls that a run waits for."""
    return tuple(_block(waiting) for waiting in run.interruptions)


async def decided(
    agent: Agent[Any], deps: Any, history: object, decisions: Mapping[str, bool | str]
) -> RunState[Any, Agent[Any]]:
    """The state of the run, with decisions about the calls that wait.

    Raises:
        InvalidContinue: these are not the calls that wait.
    """
    if not isinstance(history, Paused):
        check((), decisions)
        raise AssertionError("unreachable")
    context = RunContextWrapper(deps)
    state = await RunState.from_json(agent, history.state, context_override=context)
    waiting = {_block(each).id: each for each in state.get_interruptions()}
    check([_block(each) for each in waiting.values()], decisions)
    for call, decision in decisions.items():
        if decision is True:
            state.approve(waiting[call])
        else:
            state.reject(waiting[call], rejection_message=refusal_text(decision))
    return state


def items_of(history: Any) -> list[Any]:
    """All that was said."""
    return history.items if isinstance(history, Paused) else list(history)


def ended(history: Any, answered: set[str]) -> list[Any]:
    """The items, when other messages come: calls that still wait are ended, but for those
    answered."""
    if not isinstance(history, Paused):
        return items_of(history)
    done = {item.get("call_id") for item in history.items if _is_output(item)} | answered
    calls = [item["call_id"] for item in history.items if item.get("type") == "function_call"]
    outputs = [
        {"type": "function_call_output", "call_id": call, "output": PASSED_OVER}
        for call in calls
        if call not in done
    ]
    return [*history.items, *outputs]


def to_plain(history: Any) -> Any:
    """A history as plain data."""
    return {_PAUSED: asdict(history)} if isinstance(history, Paused) else history


def from_plain(state: Any) -> Any:
    """What `to_plain` gave."""
    return Paused(**state[_PAUSED]) if isinstance(state, dict) else state


def _is_output(item: Mapping[str, Any]) -> bool:
    return item.get("type") == "function_call_output"


def _block(waiting: Any) -> ToolCallBlock:
    raw = waiting.raw_item
    found = raw if isinstance(raw, Mapping) else raw.model_dump()
    call = {
        "type": "function_call",
        "call_id": found.get("call_id") or found.get("id"),
        "name": waiting.name or "",
        "arguments": waiting.arguments,
    }
    (message,) = from_items([call])
    assert isinstance(message, AssistantMessage)
    return message.tool_calls[0]
