"""Permits for calls of services whose limit is shared with other agents (N23).

`Context.limit` gives them to code of the user; `limited` takes them for turns of a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple, Protocol, Self


class LimitRules(NamedTuple):
    """What a worker knows of limits.

    Args:
        retries: the limits by name, each with how often a refused call is tried again.
        own: the limit that all calls of the agent count for; None: that of the model's provider.
    """

    retries: Mapping[str, int]
    own: str | None = None

    def of(self, provider: str | None) -> str | None:
        """The limit for calls of a model; None: there is none."""
        return self.own or (provider if provider in self.retries else None)


@dataclass(frozen=True, slots=True)
class CallEnd:
    """What the end of a call means.

    Args:
        refused: the service asked for a pause.
        passing: the call failed for a reason that may pass.
    """

    refused: bool = False
    passing: bool = False


class CallServices(Protocol):
    """What a worker does for calls of services."""

    def begin_call(self, agent: str, limit: str) -> int:
        """Wait for a permit; returns its number for `end_call`."""
        ...

    async def begin_call_async(self, agent: str, limit: str) -> int:
        """The same for a coroutine."""
        ...

    def end_call(self, number: int, error: BaseException | None, tokens: int) -> CallEnd:
        """Give a permit back; ``error``: what the call failed with."""
        ...


class Permit:
    """A permit for one call, for ``with`` and ``async with``.

    Args:
        services: gives permits.
        agent: name of the agent.
        limit: name of the limit.
    """

    def __init__(self, services: CallServices, agent: str, limit: str) -> None:
        self._services = services
        self._agent = agent
        self._limit = limit
        self._number = 0
        self._tokens = 0

    def used(self, tokens: int) -> None:
        """Say how many tokens the call has taken, for limits with ``tokens_per_minute``."""
        self._tokens = tokens

    def end(self, error: BaseException | None = None) -> CallEnd:
        """Give it back; ``error``: what the call failed with."""
        return self._services.end_call(self._number, error, self._tokens)

    def __enter__(self) -> Self:
        self._number = self._services.begin_call(self._agent, self._limit)
        return self

    async def __aenter__(self) -> Self:
        self._number = await self._services.begin_call_async(self._agent, self._limit)
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
