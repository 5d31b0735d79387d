"""What tests of faults ask about replies."""

from __future__ import annotations

from typing import Any

from procorch import AgentError, SupervisorAction

PATIENCE = 90.0  # seconds


def output(reply: Any) -> Any:
    return reply.result(PATIENCE).output


def error_of(reply: Any) -> AgentError:
    error = reply.exception(PATIENCE)
    assert isinstance(error, AgentError), repr(error)
    return error


def restarting(name: str, error: AgentError) -> SupervisorAction:
    return SupervisorAction.RESTART
