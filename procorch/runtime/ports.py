"""The interfaces of the monitor that the parts of the runtime use, each as one Protocol.

`Monitor` implements all of them. A part names the one that it uses, so a reader can follow a call
from there to `Monitor`, and a test can replace it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from procorch.clock import Clock
from procorch.futures.reply import Reply
from procorch.runtime.instance_runtime import AgentRuntime
from procorch.supervision import events as ev
from procorch.supervision.request import Request


class RequestPort(Protocol):
    """Accepts requests. Any thread may use it."""

    @property
    def clock(self) -> Clock:
        """The clock of the deadlines."""
        ...

    @property
    def owner(self) -> int:
        """The process to which the agents belong."""
        ...

    def submit(self, request: Request) -> None:
        """Submit a request that has entered its mailbox."""
        ...

    def call(self, request: Request, reply: Reply[Any]) -> None:
        """The same for a caller that waits for the outcome next: it may wait here."""
        ...

    def drop(self, request: int) -> None:
        """Cancel the request of that number."""
        ...

    def run_callback(self, call: Callable[[], None]) -> None:
        """Run code of the user on the callback thread."""
        ...


class AgentPort(RequestPort, Protocol):
    """Finds agents as well, for questions from one agent to another."""

    def find(self, name: str) -> AgentRuntime | None:
        """The latest running agent of a name."""
        ...

    def members(self, agent: int) -> list[int]:
        """The keys of the instances of an agent that have not ended."""
        ...

    def name_of(self, key: int) -> str:
        """The name of a running instance."""
        ...


class EventPort(Protocol):
    """Accepts events for the machine, which handles them later. Any thread may use it."""

    def post(self, event: ev.Event) -> None:
        """Hand an event to the machine."""
        ...


class OwnerPort(Protocol):
    """What a thread that owns the loop does for the monitor."""

    def take_posted(self) -> None:
        """Step the machine with all posted events."""
        ...

    def fail(self, fault: BaseException) -> None:
        """Record that an owner of the loop failed in a step: the machine cannot go on."""
        ...
