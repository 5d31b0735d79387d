"""The order of what happens in conversations: in each of them one thing after the other."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, NamedTuple, TypeAlias

from msgspec import Struct, field

from procorch.clock import Clock
from procorch.errors import AgentError, RequestCancelled, RequestTimeout
from procorch.futures.kept import KeptReply
from procorch.futures.outcome import ReplyOutcome
from procorch.runtime.cargo import Cargo
from procorch.runtime.ports import RequestPort
from procorch.supervision.request import Request
from procorch.wire.payload import Parts


class Key(NamedTuple):
    """Which conversation: the name of its agent, and its own."""

    agent: str
    name: str


class Turn(Struct, eq=False):
    """A request in a conversation.

    Args:
        request: it holds a place in the mailbox of its agent until it has ended.
        body: the message.
        limit: the largest request, in bytes.
        port: submits and cancels it.
    """

    key: Key
    request: Request
    reply: KeptReply
    body: Parts
    limit: int
    port: RequestPort

    def fail(self, error: AgentError, *, withdrawn: bool = False) -> None:
        """End it before a worker had it."""
        cargo: Cargo = self.request.cargo
        cargo.placed = False
        cargo.mailbox.leave()
        error.agent = self.key.agent
        self.reply.settle(ReplyOutcome(error=error, withdrawn=withdrawn))


class Change(Struct, eq=False):
    """A change of a conversation.

    Args:
        write: writes it, and returns what `done` gets.
        after: called when it is committed.
    """

    key: Key
    write: Callable[[], Any]
    done: Future[Any] = field(default_factory=Future)
    after: Callable[[], None] = lambda: None


Step: TypeAlias = Turn | Change


class Lane:
    """What waits in one conversation. ``under_way``: it has something that has not ended."""

    __slots__ = ("key", "under_way", "waiting")

    def __init__(self, key: Key) -> None:
        self.key: Key = key
        self.waiting: deque[Step] = deque()
        self.under_way: bool = False


class Lanes:
    """All conversations in which something waits or is under way. For one thread."""

    def __init__(self) -> None:
        self._lanes: dict[Key, Lane] = {}
        self._turns: dict[int, Turn] = {}
        self._deadlines: list[tuple[float, int]] = []

    def __contains__(self, key: Key) -> bool:
        return key in self._lanes

    @property
    def waiting(self) -> bool:
        """Whether anything waits."""
        return any(lane.waiting for lane in self._lanes.values())

    def add(self, step: Step) -> Lane:
        """Append something to its conversation."""
        lane = self._lanes.setdefault(step.key, Lane(step.key))
        lane.waiting.append(step)
        if isinstance(step, Turn):
            self._turns[step.request.id] = step
            if step.request.deadline is not None:
                heapq.heappush(self._deadlines, (step.request.deadline, step.request.id))
        return lane

    def next(self, lane: Lane) -> Step | None:
        """Take what is next in a conversation; None: nothing, or it is not its turn yet."""
        if lane.under_way:
            return None
        if not lane.waiting:
            self._lanes.pop(lane.key, None)
            return None
        step = lane.waiting.popleft()
        if isinstance(step, Turn):
            del self._turns[step.request.id]
        lane.under_way = True
        return step

    def end(self, key: Key) -> Lane:
        """What was under way in a conversation has ended."""
        lane = self._lanes[key]
        lane.under_way = False
        return lane

    def cancel(self, request: int) -> bool:
        """Take a turn that waits out; False: it does not wait."""
        turn = self._turns.pop(request, None)
        if turn is None:
            return False
        self._lanes[turn.key].waiting.remove(turn)
        error = RequestCancelled(request=request)
        turn.fail(error, withdrawn=True)
        return True

    def seconds_left(self, clock: Clock) -> float | None:
        """Until the next deadline of a turn that waits; None: there is none."""
        while self._deadlines and self._deadlines[0][1] not in self._turns:
            heapq.heappop(self._deadlines)
        return max(0.0, self._deadlines[0][0] - clock.now()) if self._deadlines else None

    def expire(self, clock: Clock) -> None:
        """End the turns that have waited too long."""
        now = clock.now()
        while self._deadlines and self._deadlines[0][0] <= now:
            turn = self._turns.pop(heapq.heappop(self._deadlines)[1], None)
            if turn is not None:
                self._lanes[turn.key].waiting.remove(turn)
                request = turn.request
                turn.fail(RequestTimeout(timeout=request.timeout, request=request.id))

    def take_all(self) -> Iterator[Step]:
        """Take out everything that waits."""
        self._turns.clear()
        for lane in self._lanes.values():
            while lane.waiting:
                yield lane.waiting.popleft()
