"""Calls of tools that wait for a decision, and what was decided about them.

An agent whose model calls a tool that needs approval answers with a paused result: the calls that
wait are in `AgentResult.pending`, and the conversation ends with them. A request of `ToolDecisions`
goes on from there. Nothing waits in the worker meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from procorch.errors import InvalidContinue
from procorch.messages import AgentResult, ToolCallBlock

NOT_APPROVED = "The call was not approved, and the tool has not run."
"""What the model is told of a call that was refused without a reason."""
PASSED_OVER = "The call was not approved: the user went on with something else."
"""What the model is told of a call that still waited when other messages came."""


@dataclass(frozen=True, slots=True)
class ToolDecisions:
    """The decisions about the calls that a paused result waits for, as a request.

    `OrchestratedHandle.resume` sends one and waits. To do it in another way, send it yourself::

        future = handle.submit(ToolDecisions({call.id: True for call in result.pending}))

    Args:
        decisions: for the id of each call that waits: True has the tool run, False has the model
            told that it was not approved, and a text is the reason that the model is told.

    Raises:
        TypeError: it is no mapping of ids to such decisions.
        ValueError: a reason is empty.

    Example:
        >>> ToolDecisions({"call-1": True, "call-2": "too expensive"}).decisions["call-1"]
        True
    """

    decisions: Mapping[str, bool | str]

    def __post_init__(self) -> None:
        if not isinstance(self.decisions, Mapping):
            kind = type(self.decisions).__name__
            raise TypeError(f"decisions are a mapping of ids of calls, not {kind}")
        for call, decision in self.decisions.items():
            if not isinstance(decision, bool | str):
                raise TypeError(
                    f"the decision about call {call!r} is True, False or a reason as text, not "
                    f"{type(decision).__name__}"
                )
            if decision == "":
                raise ValueError(f"the reason for the refusal of call {call!r} is empty")


def decided(result: AgentResult, decisions: Mapping[str, bool | str]) -> ToolDecisions:
    """The decisions about the calls that ``result`` waits for.

    Raises:
        TypeError: a wrong type.
        ValueError: it waits for none, a call was left out, or there is none with such an id.
    """
    if not isinstance(result, AgentResult):
        raise TypeError(f"resume() takes a result of the agent, not {type(result).__name__}")
    if not result.pending:
        raise ValueError("the result has no pending calls: there is nothing to decide about")
    found = ToolDecisions(decisions)
    names = {call.id: call.name for call in result.pending}
    if unknown := [call for call in decisions if call not in names]:
        raise ValueError(f"the result has no pending call {unknown[0]!r}, but {_listed(names)}")
    if missing := [call for call in names if call not in decisions]:
        raise ValueError(f"no decision about {_listed({call: names[call] for call in missing})}")
    return found


def check(waiting: Collection[ToolCallBlock], decisions: Mapping[str, bool | str]) -> None:
    """Compare decisions with the calls that wait in the conversation.

    Raises:
        InvalidContinue: they are not about the same calls.
    """
    if not waiting:
        raise InvalidContinue(
            "no call of a tool waits for a decision: the conversation has gone on, or was lost "
            "with an earlier process (checkpoint=True keeps it)"
        )
    if {call.id for call in waiting} != set(decisions):
        listed = _listed({call.id: call.name for call in waiting})
        raise InvalidContinue(f"the decisions are about other calls than those that wait: {listed}")


def refusal_text(decision: bool | str) -> str:
    """What the model is told of a call that was refused."""
    return decision if isinstance(decision, str) else NOT_APPROVED


def _listed(names: Mapping[str, str]) -> str:
    return ", ".join(f"{call!r} ({name})" for call, name in names.items())
