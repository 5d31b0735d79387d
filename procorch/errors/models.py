"""Errors of the services that agents ask, and of their requests to a model."""

from __future__ import annotations

from procorch.errors.base import AgentError, known


@known
class ModelThrottled(AgentError):
    """The model's service asked for fewer requests; `retry_after` in seconds where it said so.

    Example:
        >>> error = ModelThrottled(agent="planner", retry_after=2.0)
        >>> error.is_retryable, error.retry_after
        (True, 2.0)
    """

    retryable = True
    _says = "the model's rate limit was reached"


@known
class BudgetExceeded(AgentError):
    """A budget for models is used up: ``spent`` of ``limit`` dollars or tokens (``unit``).

    `budget` says which: a request of an agent, its team, its day, or a batch.

    Example:
        >>> print(BudgetExceeded(agent="planner", budget="its day", spent=5.02, limit=5.0))
        agent 'planner': the budget of its day is used up: 5.0200 $ of 5.0000 $
    """

    budget: str = ""
    spent: float = 0.0
    limit: float = 0.0
    unit: str = "dollars"

    def _describe(self) -> str:
        of = f" of {self.budget}" if self.budget else ""
        if self.unit == "dollars":
            return f"the budget{of} is used up: {self.spent:.4f} $ of {self.limit:.4f} $"
        return f"the budget{of} is used up: {self.spent:.0f} of {self.limit:.0f} {self.unit}"


@known
class NetworkError(AgentError):
    """Transient I/O between an agent and a service.

    Example:
        >>> NetworkError(agent="planner").is_retryable
        True
    """

    retryable = True
    _says = "network error"


@known
class ContextWindowOverflow(AgentError):
    """The conversation no longer fits the model's context window.

    Example:
        >>> print(ContextWindowOverflow(agent="planner"))
        agent 'planner': the context window of the model is exceeded
    """

    _says = "the context window of the model is exceeded"


@known
class StructuredOutputFailed(AgentError):
    """The model gave no output of the wanted structure.

    Example:
        >>> print(StructuredOutputFailed(agent="planner"))
        agent 'planner': no valid structured output
    """

    _says = "no valid structured output"


@known
class AlreadyRunning(AgentError):
    """An agent that was already at work was asked to start a run.

    Example:
        >>> print(AlreadyRunning(agent="planner"))
        agent 'planner': already running
    """

    _says = "already running"


@known
class NoMessages(AgentError):
    """A request without any message.

    Example:
        >>> print(NoMessages(agent="planner"))
        agent 'planner': no messages to respond to
    """

    _says = "no messages to respond to"


@known
class InvalidContinue(AgentError):
    """The conversation ends where it cannot be continued.

    Example:
        >>> print(InvalidContinue(agent="planner"))
        agent 'planner': the conversation cannot be continued from its last message
    """

    _says = "the conversation cannot be continued from its last message"


@known
class StreamError(AgentError):
    """A model turn went wrong: for good, or, where it is retryable, because the provider's answer
    could not be read.

    Example:
        >>> StreamError(agent="planner", retryable=True).is_retryable
        True
    """

    _says = "the model's answer could not be read"


@known
class CacheMiss(AgentError):
    """A provider no longer holds the cached prompt that the request relied on.

    Example:
        >>> print(CacheMiss(agent="planner"))
        agent 'planner': the cached prompt is gone
    """

    _says = "the cached prompt is gone"


@known
class ContentFiltered(AgentError):
    """A provider's content filter refused the request or the answer.

    Example:
        >>> print(ContentFiltered(agent="planner"))
        agent 'planner': refused by the content filter
    """

    _says = "refused by the content filter"


@known
class ModelRetired(AgentError):
    """The model is unknown to its provider, or no longer offered.

    Example:
        >>> print(ModelRetired(agent="planner"))
        agent 'planner': the model is unknown or retired
    """

    _says = "the model is unknown or retired"


@known
class AuthError(AgentError):
    """A service refused the credentials.

    Example:
        >>> print(AuthError(agent="planner"))
        agent 'planner': authentication failed
    """

    _says = "authentication failed"
