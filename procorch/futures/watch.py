"""Streams of events for readers (N18): bounded for each reader, so the monitor never waits."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator

from procorch.futures.fork_guard import must_be_ours
from procorch.futures.wakeups import wakeup
from procorch.supervision import notices
from procorch.supervision.notices import AgentEvent, RequestDone, RequestStarted

BACKLOG = 1024
"""Events kept for a slow reader; older ones are dropped, and a `Lost` event says how many."""


class EventStream(Iterator[AgentEvent], AsyncIterator[AgentEvent]):
    """Events as they happen; iterate with ``for`` or ``async for``.

    The stream of an agent ends after the agent has ended, the stream of an orchestrator when the
    orchestrator is closed. A slow reader gets a `Lost` event in place of dropped events.

    Raises:
        AgentStopped: by each method in a process that was forked from the one that started the
            agents (N21).

    Example:
        >>> with TestOrchestrator() as orch:
        ...     orch.add_agent("solver", ScriptedAgent())
        ...     events = orch.events()
        ...     agent = orch.spawn("solver")
        ...     print(type(next(events)).__name__)
        Starting
    """

    def __init__(
        self, agent: str | None, forget: Callable[[EventStream], None], *, requests: bool = True
    ) -> None:
        self.agent = agent
        self.requests = requests
        self._forget = forget
        self._backlog: deque[AgentEvent] = deque()
        self._lost = 0
        self._ended = False
        self._owner = os.getpid()
        self._changed = threading.Condition(threading.Lock())
        self._wakers: list[Callable[[], None]] = []

    def put(self, notice: AgentEvent) -> None:
        """Add an event; called by the monitor."""
        with self._changed:
            if len(self._backlog) >= BACKLOG:
                self._backlog.popleft()
                self._lost += 1
            self._backlog.append(notice)
            self._wake()

    def end(self) -> None:
        """End the stream; called by the monitor."""
        with self._changed:
            self._ended = True
            self._wake()

    def close(self) -> None:
        """Stop watching; iteration ends."""
        must_be_ours(self._owner)
        self._forget(self)
        self.end()

    def _wake(self) -> None:
        self._changed.notify_all()
        wakers, self._wakers = self._wakers, []
        for waker in wakers:
            waker()

    def _take(self) -> AgentEvent | None:
        if self._lost and self._backlog:
            first = self._backlog[0]
            lost = notices.Lost(
                agent=first.agent, instance=first.instance, generation=first.generation,
                at=first.at, time=first.time, count=self._lost,
            )  # fmt: skip
            self._lost = 0
            return lost
        return self._backlog.popleft() if self._backlog else None

    def __iter__(self) -> EventStream:
        return self

    def __next__(self) -> AgentEvent:
        must_be_ours(self._owner)
        with self._changed:
            while (notice := self._take()) is None:
                if self._ended:
                    raise StopIteration
                self._changed.wait()
            return notice

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> AgentEvent:
        must_be_ours(self._owner)
        import asyncio

        loop = asyncio.get_running_loop()
        while True:
            arrived, wake = wakeup(loop)
            with self._changed:
                if (notice := self._take()) is not None:
                    return notice
                if self._ended:
                    raise StopAsyncIteration
                self._wakers.append(wake)
            await arrived


class EventHub:
    """Gives each event to all open streams. The monitor publishes; any thread may open a stream.

    Attributes:
        streams: the open ones.
        of_requests: those of them that want events of requests. Who publishes one looks here first:
            if nobody wants it, it is not made.
    """

    def __init__(self) -> None:
        self.streams: list[EventStream] = []
        self.of_requests: tuple[EventStream, ...] = ()
        self._running: dict[str, int] = {}
        self._last: dict[str, AgentEvent] = {}
        self._ended = False
        self._lock = threading.Lock()

    def watch(self, agent: str | None, *, requests: bool = True) -> EventStream:
        """A stream of the events of one agent, or of all agents (None).

        The stream of an agent that has ended consists of its last event.
        """
        stream = EventStream(agent, self._forget, requests=requests)
        with self._lock:
            if agent is not None and not self._running.get(agent) and agent in self._last:
                stream.put(self._last[agent])
                stream.end()
            elif self._ended:
                stream.end()
            else:
                self._change([*self.streams, stream])
        return stream

    def add(self, stream: EventStream) -> None:
        """Open a stream that was made elsewhere."""
        with self._lock:
            self._change([*self.streams, stream])

    def _change(self, streams: list[EventStream]) -> None:
        self.streams = streams
        self.of_requests = tuple(stream for stream in streams if stream.requests)

    def began(self, agent: str) -> None:
        """Note that one more agent of that name runs."""
        with self._lock:
            self._running[agent] = self._running.get(agent, 0) + 1

    def ended(self, agent: str) -> None:
        """Note that one agent of that name has ended; after the last one its streams end."""
        with self._lock:
            self._running[agent] = self._running.get(agent, 1) - 1
            if self._running[agent] <= 0:
                for stream in self.streams:
                    if stream.agent == agent:
                        stream.end()
                        self._remove(stream)

    def publish(self, notice: AgentEvent) -> None:
        """Add an event, which is none of a request, to the streams it belongs to."""
        with self._lock:
            if isinstance(notice, notices.Stopped):
                self._last[notice.agent] = notice
            for stream in self.streams:
                if stream.agent is None or stream.agent == notice.agent:
                    stream.put(notice)

    def publish_request(self, agent: str, make: Callable[[], RequestStarted | RequestDone]) -> None:
        """Make the event of a request and add it to the streams that want it, if there are any."""
        with self._lock:
            wanted = [each for each in self.of_requests if each.agent in (None, agent)]
            if wanted:
                notice = make()
                for stream in wanted:
                    stream.put(notice)

    def close(self) -> None:
        """End all streams; the orchestrator is closed."""
        with self._lock:
            self._ended = True
            for stream in self.streams:
                stream.end()
            self._change([])

    def _forget(self, stream: EventStream) -> None:
        with self._lock:
            self._remove(stream)

    def _remove(self, stream: EventStream) -> None:
        self._change([each for each in self.streams if each is not stream])
