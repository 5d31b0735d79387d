"""Calls the policy, and turns every failure of it into an answer (N13)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from procorch.errors import AgentError
from procorch.errors.texts import text_of
from procorch.supervision import actions
from procorch.supervision import events as ev
from procorch.supervision.policy import (
    DefaultSupervisor,
    Policy,
    PoolSupervisor,
    ServiceSupervisor,
    SupervisorAction,
)

_log = logging.getLogger("procorch")

_OURS = (DefaultSupervisor, PoolSupervisor, ServiceSupervisor)

SLOW = 1.0
"""Seconds after which the log has a warning about a slow policy."""


def is_ours(policy: Policy, error: AgentError) -> bool:
    """Whether the call runs no code of the user, so that the monitor thread may make it. The
    policies of procorch call `is_retryable`, which is the user's code for a class of the user."""
    return type(policy) in _OURS and type(error).__module__ == AgentError.__module__


def ask(policy: Policy, question: actions.AskPolicy) -> ev.PolicyAnswered:
    """Ask what happens to an agent after an error."""
    asked: Any = policy
    decide = getattr(asked, "on_agent_error", asked)
    action, fault = _answer(decide, question.name, question.name, question.error)
    return ev.PolicyAnswered(question.key, question.ticket, action, fault)


def reconsider(policy: Policy, question: actions.Reconsider) -> ev.Reconsidered:
    """Ask what happens to an agent whose child escalated (N6)."""
    asked: Any = policy
    decide = asked.on_child_escalation
    action, fault = _answer(decide, question.name, question.name, question.child, question.error)
    return ev.Reconsidered(
        question.key, question.ticket, question.child, question.error, action, fault
    )


def _answer(
    decide: Callable[..., Any], agent: str, *question: Any
) -> tuple[SupervisorAction | None, BaseException | None]:
    """The action, or the fault in its place: an exception, or an invalid answer."""
    began = time.monotonic()
    try:
        action = decide(*question)
        if isinstance(action, SupervisorAction):
            return action, None
        fault: BaseException = TypeError(
            f"the policy answered {action!r} about agent {agent!r}, "
            "not a SupervisorAction (RESTART, STOP or ESCALATE)"
        )
    except BaseException as raised:  # code of the user: even SystemExit stops one agent only
        fault = raised
    finally:
        took = time.monotonic() - began
        if took > SLOW:
            _log.warning("the policy took %.1f s to decide about agent %r", took, agent)
    said = text_of(fault, repr)
    _log.error("the policy failed on agent %r, which is stopped: %s", agent, said)
    return None, fault
