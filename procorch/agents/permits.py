"""Permits for calls of services whose limit is shared with other agents (N23).

`Context.limit` gives them to code of the user; `limited` takes them for turns of a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from procorch.messages import Cost, Usage


class LimitRules(NamedTuple):
    """What a worker knows of limits.

    Args:
        retries: the limits by name, each with how often a refused call is tried again.
        own: the limit that all calls of the agent count for; None: that of the model's provider.
        budgeted: a budget pays for the calls of the agent.
    """

    retries: Mapping[str, int]
    own: str | None = None
    budgeted: bool = False

    def of(self, provider: str | None) -> str | None:
        """The limit for calls of a model; None: there is none."""
        return self.own or (provider if provider in self.retries else None)


class CallEnd(NamedTuple):
    """What the end of a call means.

    Args:
        refused: the service asked for a pause.
        passing: the call failed for a reason that may pass.
    """

    refused: bool = False
    passing: bool = False


class Spent(NamedTuple):
    """What a call has used of a model."""

    usage: Usage = Usage()
    cost: Cost = Cost()
    model: str = ""


class CallServices(Protocol):
    """What a worker does for calls of services."""

    def begin_call(self, agent: str, limit: str | None, request: int | None) -> int:
        """Wait for a permit; returns its number for `end_call`."""
        ...

    async def begin_call_async(self, agent: str, limit: str | None, request: int | None) -> int:
        """The same for a coroutine."""
        ...

    def end_call(
        self, number: int, request: int | None, error: BaseException | None, spent: Spent
    ) -> CallEnd:
        """Give a permit back; ``error``: what the call failed with."""
        ...


class _NoLimits:
    """Gives every permit at once: for contexts that are made for a test."""

    def begin_call(self, agent: str, limit: str | None, request: int | None) -> int:
        return 0

    async def begin_call_async(self, agent: str, limit: str | None, request: int | None) -> int:
        return 0

    def end_call(
        self, number: int, request: int | None, error: BaseException | None, spent: Spent
    ) -> CallEnd:
        return CallEnd()


NO_LIMITS: CallServices = _NoLimits()


class Permit:
    """A permit for one call, for ``with`` and ``async with``.

    Args:
        services: gives permits.
        agent: name of the agent.
        limit: name of the limit; None: the call needs only what is left of budgets.
        request: number of the request during which the call is made.

    Raises:
        PluginError: at the start of the block: there is no limit of that name.
        BudgetExceeded: at the start of the block: nothing is left of a budget.

    Example:
        >>> with current().limit("openai"):
        ...     answer = client.ask("Where is Rome?")
    """

    def __init__(
        self, services: CallServices, agent: str, limit: str | None, request: int | None
    ) -> None:
        self._services = services
        self._about = agent, limit, request
        self._number = 0
        self._spent = Spent()

    def used(self, usage: Usage | int, cost: Cost = Cost(), model: str = "") -> None:  # noqa: B008  # frozen
        """Say what the call has used, for limits with ``tokens_per_minute`` and for budgets.

        Args:
            usage: its tokens.
            cost: what they have cost in US dollars.
            model: name of the model.
        """
        usage = Usage(output=usage) if isinstance(usage, int) else usage
        self._spent = Spent(usage, cost, model)

    def end(self, error: BaseException | None = None) -> CallEnd:
        """Give it back; ``error``: what the call failed with."""
        return self._services.end_call(self._number, self._about[2], error, self._spent)

    def __enter__(self) -> Self:
        self._number = self._services.begin_call(*self._about)
        return self

    async def __aenter__(self) -> Self:
        self._number = await self._services.begin_call_async(*self._about)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:  # fmt: skip
        self.end(error)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:  # fmt: skip
        self.end(error)
