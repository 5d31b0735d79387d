"""What a supervisor may decide, and who decides it.

A policy is user code: it is asked once per failure, on a thread of its own, and may be slow, raise
or answer junk without harm to anybody but the agent it was asked about (N13).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, Protocol, TypeAlias, runtime_checkable

from procorch.errors import AgentCrashed, AgentError, StartError
from procorch.units import whole


class SupervisorAction(Enum):
    """The three answers of a policy (seed)."""

    RESTART = "restart"
    STOP = "stop"
    ESCALATE = "escalate"


@runtime_checkable
class SupervisorPolicy(Protocol):
    """Decides what happens to an agent after an error.

    A policy may have the attributes ``max_restarts`` and ``charge_requests``: they are the settings
    of agents that have none of their own.
    """

    def on_agent_error(self, name: str, error: AgentError) -> SupervisorAction:
        """Answer for agent ``name``; called on the orchestrator's policy thread."""
        ...


Policy: TypeAlias = SupervisorPolicy | Callable[[str, AgentError], SupervisorAction]
"""What the API accepts: an object with ``on_agent_error`` or a plain function of its signature."""


@dataclass(frozen=True, slots=True)
class DefaultSupervisor:
    """RESTART when ``error.is_retryable``, else STOP (seed).

    Args:
        max_restarts: consecutive restarts allowed before the agent is stopped.
    """

    max_restarts: int = 3

    def __post_init__(self) -> None:
        whole(self.max_restarts, "max_restarts")

    def on_agent_error(self, name: str, error: AgentError) -> SupervisorAction:
        """See the class."""
        return SupervisorAction.RESTART if error.is_retryable else SupervisorAction.STOP


@dataclass(frozen=True, slots=True)
class ServiceSupervisor:
    """For agents that serve requests of many callers: no request ends the agent for good.

    An agent that raised is as good as before: the error goes to the caller, the process and its
    conversation stay. Where a throttled service asked for a pause, the next request waits for it
    (`Throttle`). An agent that died, or did not start for a passing reason, gets a new process.

    Args:
        max_restarts: consecutive restarts allowed before the agent is stopped. A death in the
            middle of a request is not counted (the setting `charge_requests`).
    """

    charge_requests: ClassVar[bool] = True
    """The default of that setting for agents of this policy."""

    max_restarts: int = 3

    def __post_init__(self) -> None:
        whole(self.max_restarts, "max_restarts")

    def on_agent_error(self, name: str, error: AgentError) -> SupervisorAction:
        """RESTART after a death or a failed start that may pass, ESCALATE after any other error."""
        return _keep_unless_dead(error)


@dataclass(frozen=True, slots=True)
class PoolSupervisor:
    """The policy of pools, executors and batches: replace what died, keep what merely failed.

    A replica that raised is as good as before, so its error goes to the caller and the replica
    stays; one that died, or did not start for a passing reason, is replaced.

    Args:
        max_restarts: consecutive restarts of a replica allowed before it is stopped.
    """

    max_restarts: int = 3

    def __post_init__(self) -> None:
        whole(self.max_restarts, "max_restarts")

    def on_agent_error(self, name: str, error: AgentError) -> SupervisorAction:
        """RESTART after a death or a failed start that may pass, ESCALATE after any other error."""
        return _keep_unless_dead(error)


def _keep_unless_dead(error: AgentError) -> SupervisorAction:
    if isinstance(error, AgentCrashed | StartError):
        return SupervisorAction.RESTART if error.is_retryable else SupervisorAction.STOP
    return SupervisorAction.ESCALATE


def checked_policy(policy: object) -> Policy | None:
    """``policy`` as given, or a ``TypeError`` that says what a policy is."""
    if policy is None:
        return None
    if isinstance(policy, type):
        raise TypeError(
            f"supervisor must be an object, not the class {policy.__name__}: "
            f"give {policy.__name__}() instead"
        )
    if callable(getattr(policy, "on_agent_error", None)) or callable(policy):
        return policy  # type: ignore[return-value]
    raise TypeError(
        "supervisor must have a method on_agent_error(name, error) or be a function "
        f"(name, error) -> SupervisorAction, not {type(policy).__name__}"
    )
