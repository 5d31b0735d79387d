"""What a supervisor may decide, and who decides it.

A policy is user code. The monitor has it called once for each failure, on the policy thread. If it
is slow, raises or returns an invalid answer, only the agent in question is affected (N13).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, Protocol, TypeAlias, runtime_checkable

from procorch.errors import AgentCrashed, AgentError, CommandCrashed, StartError
from procorch.units import whole


class SupervisorAction(Enum):
    """The three answers of a policy (seed).

    Example:
        >>> [action.name for action in SupervisorAction]
        ['RESTART', 'STOP', 'ESCALATE']
    """

    RESTART = "restart"
    STOP = "stop"
    ESCALATE = "escalate"


@runtime_checkable
class SupervisorPolicy(Protocol):
    """Decides what happens to an agent after an error.

    A policy may have the attributes ``max_restarts`` and ``charge_requests``: defaults for agents
    that do not set these settings.

    Raises:
        Exception: what a policy raises stops the agent it was asked about (N13).

    Example:
        >>> class StopOnLogin:
        ...     def on_agent_error(self, name, error):
        ...         if isinstance(error, AuthError):
        ...             return SupervisorAction.STOP
        ...         return SupervisorAction.RESTART
        >>> isinstance(StopOnLogin(), SupervisorPolicy)
        True
    """

    def on_agent_error(self, name: str, error: AgentError) -> SupervisorAction:
        """Answer for agent ``name``; called on the orchestrator's policy thread."""
        ...


Policy: TypeAlias = SupervisorPolicy | Callable[[str, AgentError], SupervisorAction]
"""What the API accepts: an object with ``on_agent_error``, or a function with its signature."""


@dataclass(frozen=True, slots=True)
class DefaultSupervisor:
    """RESTART when ``error.is_retryable``, else STOP (seed).

    Args:
        max_restarts: consecutive restarts allowed before the agent is stopped.

    Raises:
        TypeError, ValueError: ``max_restarts`` is no whole number of 0 or more.

    Example:
        >>> policy = DefaultSupervisor(max_restarts=5)
        >>> policy.on_agent_error("solver", NetworkError())
        <SupervisorAction.RESTART: 'restart'>
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

    After an agent raised, the error goes to the caller, and the process and its conversation stay.
    If a throttled service asked for a pause, the next request waits for it (`Throttle`). An agent
    that died, or failed to start for a temporary reason, gets a new process.

    Args:
        max_restarts: consecutive restarts allowed before the agent is stopped. A death in the
            middle of a request is not counted (the setting `charge_requests`).

    Raises:
        TypeError, ValueError: ``max_restarts`` is no whole number of 0 or more.

    Example:
        >>> policy = ServiceSupervisor()
        >>> policy.on_agent_error("solver", AgentFailure(exc_type="ValueError")).name
        'ESCALATE'
        >>> policy.on_agent_error("solver", AgentCrashed(exitcode=-9)).name
        'RESTART'
    """

    charge_requests: ClassVar[bool] = True
    """The default of the setting `charge_requests` for agents with this policy."""

    max_restarts: int = 3

    def __post_init__(self) -> None:
        whole(self.max_restarts, "max_restarts")

    def on_agent_error(self, name: str, error: AgentError) -> SupervisorAction:
        """RESTART after a death or a failed start that may pass, ESCALATE after any other error."""
        return _keep_unless_dead(error)


@dataclass(frozen=True, slots=True)
class PoolSupervisor:
    """The policy of pools, executors and batches: a replica that died is replaced.

    After a replica raised, the error goes to the caller and the replica stays. A replica that died,
    or failed to start for a temporary reason, is replaced.

    Args:
        max_restarts: consecutive restarts of a replica allowed before it is stopped.

    Raises:
        TypeError, ValueError: ``max_restarts`` is no whole number of 0 or more.

    Example:
        >>> PoolSupervisor().on_agent_error("worker", AgentCrashed(exitcode=-9)).name
        'RESTART'
    """

    max_restarts: int = 3

    def __post_init__(self) -> None:
        whole(self.max_restarts, "max_restarts")

    def on_agent_error(self, name: str, error: AgentError) -> SupervisorAction:
        """RESTART after a death or a failed start that may pass, ESCALATE after any other error."""
        return _keep_unless_dead(error)


def _keep_unless_dead(error: AgentError) -> SupervisorAction:
    if isinstance(error, CommandCrashed):  # the agent's own process lives
        return SupervisorAction.ESCALATE
    if isinstance(error, AgentCrashed | StartError):
        return SupervisorAction.RESTART if error.is_retryable else SupervisorAction.STOP
    return SupervisorAction.ESCALATE


def checked_policy(policy: object) -> Policy | None:
    """Return ``policy`` as given.

    Raises:
        TypeError: it is not a policy; the text says what a policy is.
    """
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
