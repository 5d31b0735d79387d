"""What the parts of the runtime need of the monitor, each as one Protocol.

`Monitor` is all of them. A part names the one that it uses, so a reader can follow a call from
there to `Monitor`, and a test can give it something else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from procorch.clock import Clock
from procorch.futures.reply import Reply
from procorch.runtime.instance_runtime import InstanceRuntime
from procorch.supervision import events as ev
from procorch.supervision.request import Request


class RequestPort(Protocol):
    """Takes requests. Any thread may use it."""

    @property
    def clock(self) -> Clock:
        """The clock of the deadlines."""
        ...

    def submit(self, request: Request) -> None:
        """Take a request that has entered its mailbox."""
        ...

    def call(self, request: Request, reply: Reply[Any]) -> None:
        """The same for a caller that is going to wait for the outcome: it may wait here."""
        ...

    def drop(self, request: int) -> None:
        """Cancel the request of that number."""
        ...

    def run_callback(self, call: Callable[[], None]) -> None:
        """Run code of the user on the callback thread."""
        ...


class AgentPort(RequestPort, Protocol):
    """Also finds agents: for questions from one agent to another."""

    def find(self, name: str) -> InstanceRuntime | None:
        """The latest running instance of a name."""
        ...

    def name_of(self, key: int) -> str:
        """The name of a running instance."""
        ...


class EventPort(Protocol):
    """Takes events for the machine. Any thread may use it; they are handled later."""

    def post(self, event: ev.Event) -> None:
        """Hand an event to the machine."""
        ...


class StepPort(Protocol):
    """Steps the machine at once. Only for the thread that owns the loop."""

    def step(self, event: ev.Event) -> None:
        """Hand an event to the machine, and perform what it answers with."""
        ...

    def take_posted(self) -> None:
        """Do so with all events that were posted."""
        ...

    def fail(self, fault: BaseException) -> None:
        """Note that an owner of the loop could not finish: the machine cannot go on."""
        ...
