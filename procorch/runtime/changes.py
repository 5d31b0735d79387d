"""Changes of running agents: any thread asks for them, and the owner of the loop makes them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future
from concurrent.futures import wait as wait_for
from typing import Any, NamedTuple

from procorch.runtime.instance_runtime import AgentRuntime
from procorch.supervision import events as ev
from procorch.supervision.settings import AgentSettings

_LAG = 5.0
"""Seconds that the owner of the loop may be late with the text of a process."""


class ProcessStack(NamedTuple):
    """What one process of an agent does at a moment.

    Args:
        instance: which of the agent's instances it is, from 0.
        pid: its process id.
        text: the Python stacks of all its threads, most recent call first; empty: it wrote none.
    """

    instance: int
    pid: int
    text: str


class Changes:
    """Changes agents of one monitor.

    Args:
        post: has the owner of the loop call a function.
        step: steps the machine; only for the owner of the loop.
        may_wait: whether this thread may wait for the owner of the loop.
    """

    def __init__(
        self,
        post: Callable[[Callable[[], None]], None],
        step: Callable[[ev.Event], None],
        may_wait: Callable[[], bool],
    ) -> None:
        self._post = post
        self._step = step
        self._may_wait = may_wait

    def configure(
        self, agent: AgentRuntime, settings: AgentSettings, also: Callable[[], None]
    ) -> Future[None]:
        """Give a running agent other settings, and call ``also``, in one step of the machine: each
        process is started either as before or as afterwards.

        Returns:
            A future that is done then, or is never done if the agent has ended before.
        """

        def change() -> ev.Event:
            agent.settings = settings
            agent.mailbox.resize(settings.channel_buffer)
            also()
            return ev.Configure(agent.number, settings)

        return self._make(change)

    def set_paused(self, agent: AgentRuntime, *, paused: bool) -> Future[None]:
        """Begin no more requests of an agent, or begin them again; otherwise like `configure`."""
        return self._make(lambda: ev.SetPaused(agent.number, paused))

    def stacks(self, agent: AgentRuntime, patience: float) -> list[ProcessStack]:
        """The stacks of each process of an agent now; see `OrchestratedHandle.stack`. A thread
        that may not wait gets none."""
        if not self._may_wait():
            return []
        found: Future[list[tuple[int, int, Future[str]]]] = Future()

        def ask() -> None:
            asked: list[tuple[int, int, Future[str]]] = []
            for instance in agent.live():
                if instance.process is not None and instance.pid is not None:
                    text: Future[str] = Future()
                    instance.process.show_stacks(patience, text.set_result)
                    asked.append((instance.slot, instance.pid, text))
            found.set_result(asked)

        self._post(ask)
        either: list[Future[Any]] = [found, agent.ended]
        wait_for(either, return_when=FIRST_COMPLETED)
        if not found.done():
            return []
        limit = patience + _LAG
        return [ProcessStack(slot, pid, _text(text, limit)) for slot, pid, text in found.result()]

    def await_change(self, agent: AgentRuntime, done: Future[None]) -> None:
        """Wait for a change of an agent, or for its end; not in a thread that may not wait."""
        if self._may_wait():
            either: list[Future[Any]] = [done, agent.ended]
            wait_for(either, return_when=FIRST_COMPLETED)

    def _make(self, change: Callable[[], ev.Event]) -> Future[None]:
        """Call ``change`` and step the machine with the event that it returns."""
        done: Future[None] = Future()

        def make() -> None:
            self._step(change())
            done.set_result(None)

        self._post(make)
        return done


def _text(text: Future[str], limit: float) -> str:
    """The stacks of a process; empty if the monitor ended and nobody read them."""
    try:
        return text.result(limit)
    except TimeoutError:
        return ""
