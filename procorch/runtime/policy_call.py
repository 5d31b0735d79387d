"""Asks the policy, whatever the policy does (N13)."""

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
"""Seconds after which a policy is called slow in the log."""


def is_ours(policy: Policy, error: AgentError) -> bool:
    """Whether to ask is to run nothing of the user's: then it may be done on the spot. An error of
    a class of the user's has a say in it (`is_retryable`)."""
    return type(policy) in _OURS and type(error).__module__ == AgentError.__module__


def ask(policy: Policy, question: actions.AskPolicy) -> ev.PolicyAnswered:
    """What becomes of an agent after an error."""
    asked: Any = policy
    decide = getattr(asked, "on_agent_error", asked)
    action, fault = _answer(decide, question.name, question.name, question.error)
    return ev.PolicyAnswered(question.key, question.ticket, action, fault)


def reconsider(policy: Policy, question: actions.Reconsider) -> ev.Reconsidered:
    """What becomes of an agent whose child escalated (N6)."""
    asked: Any = policy
    decide = asked.on_child_escalation
    action, fault = _answer(decide, question.name, question.name, question.child, question.error)
    return ev.Reconsidered(
        question.key, question.ticket, question.child, question.error, action, fault
    )


def _answer(
    decide: Callable[..., Any], agent: str, *question: Any
) -> tuple[SupervisorAction | None, BaseException | None]:
    """The action, or the fault that stands in its place: an exception, or junk."""
    began = time.monotonic()
    try:
        action = decide(*question)
        if isinstance(action, SupervisorAction):
            return action, None
        fault: BaseException = TypeError(
            f"the policy answered {action!r} about agent {agent!r}, "
            "not a SupervisorAction (RESTART, STOP or ESCALATE)"
        )
    except BaseException as raised:  # user code: even SystemExit stops one agent only
        fault = raised
    finally:
        took = time.monotonic() - began
        if took > SLOW:
            _log.warning("the policy took %.1f s to decide about agent %r", took, agent)
    said = text_of(fault, repr)
    _log.error("the policy failed on agent %r, which is stopped: %s", agent, said)
    return None, fault
