"""Requests and the queues they wait in: every accepted one gets exactly one outcome (I1).

A *mailbox* is a FIFO that one instance, or several replicas, take requests from. A request is in
the ledger until its outcome is fixed; whatever arrives for it afterwards finds nothing and changes
nothing. Queues are cleaned lazily: a resolved request is skipped when its turn comes.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from procorch.errors import AgentCrashed, AgentError
from procorch.supervision.actions import Action, Resolve
from procorch.supervision.throttle import FlowControl


@dataclass(slots=True)
class Request:
    """One accepted request; ``worker`` is the instance it was sent to, None while it waits.

    Args:
        from_dispatch: its ``timeout`` counts from there and not from its acceptance.
        priority: of those that wait the highest goes first; equals in order of acceptance.
        retries: how often it may be tried again after its worker died.
        deaths: the workers it has killed; more than ``allowed_failures`` make it poison (N3).
        repeatable: its caller has seen nothing of an attempt that was throttled.
        throttled: how often it was (N23).
    """

    id: int
    mailbox: int
    timeout: float | None = None
    from_dispatch: bool = False
    priority: int = 0
    retries: int = 0
    allowed_failures: int = 0
    deaths: list[AgentCrashed] = field(default_factory=list)
    repeatable: bool = True
    throttled: int = 0
    worker: int | None = None

    @property
    def executed(self) -> bool:
        """Whether one of those workers had begun it, or one was throttled with it."""
        return self.throttled > 0 or any(death.may_have_executed for death in self.deaths)


@dataclass(slots=True)
class Mailbox:
    """A queue of request ids and the instances that take from it, in the order in which the idle
    ones are asked.

    Args:
        lanes: one queue for each priority in use, the highest first.
        width: how many members may be busy at once; None: all. With more members than that, those
            that are idle are warm spares.
        flow: holds requests back for a rate, or for a service that asks for a pause (N23).
    """

    lanes: dict[int, deque[int]] = field(default_factory=dict)
    members: list[int] = field(default_factory=list)
    closed: bool = False
    width: int | None = None
    flow: FlowControl | None = None

    @property
    def queue(self) -> list[int]:
        """All that wait, in their order; some may have been resolved."""
        return [number for lane in self.lanes.values() for number in lane]

    def lane(self, priority: int) -> deque[int]:
        """The queue of a priority, made where it is new."""
        lane = self.lanes.get(priority)
        if lane is None:
            lane = self.lanes[priority] = deque()
            if len(self.lanes) > 1:
                self.lanes = dict(sorted(self.lanes.items(), reverse=True))
        return lane


class Ledger:
    """All open requests and all mailboxes of one machine."""

    __slots__ = ("boxes", "requests")

    def __init__(self) -> None:
        self.requests: dict[int, Request] = {}
        self.boxes: dict[int, Mailbox] = {}

    def join(self, mailbox: int, member: int) -> None:
        """``member`` takes requests from ``mailbox`` (made when it is new)."""
        self.boxes.setdefault(mailbox, Mailbox()).members.append(member)

    def leave(self, mailbox: int, member: int) -> bool:
        """``member`` takes no more; True if it was the last, so that nobody is left to answer."""
        box = self.boxes.get(mailbox)
        if box is None or member not in box.members:
            return False
        box.members.remove(member)
        return not box.members

    def last(self, mailbox: int, member: int) -> None:
        """``member`` takes from ``mailbox`` only where no other one is free."""
        members = self.boxes[mailbox].members
        if member in members:
            members.remove(member)
            members.append(member)

    def accept(self, request: Request) -> bool:
        """Put a new request at the end of its queue; False if the mailbox takes none."""
        box = self.boxes.get(request.mailbox)
        if box is None or box.closed:
            return False
        self.requests[request.id] = request
        box.lane(request.priority).append(request.id)
        return True

    def take(self, mailbox: int, worker: int) -> Request | None:
        """The next waiting request, now under way at ``worker``; None when none waits."""
        lane = self._first(mailbox)
        if lane is None:
            return None
        request = self.requests[lane.popleft()]
        request.worker = worker
        return request

    def put_back(self, request: Request) -> None:
        """The request waits again, before all others of its priority (N3)."""
        request.worker = None
        self.boxes[request.mailbox].lane(request.priority).appendleft(request.id)

    def waiting(self, mailbox: int) -> bool:
        """Whether an open request waits in the queue."""
        return self._first(mailbox) is not None

    def _first(self, mailbox: int) -> deque[int] | None:
        """The lane whose first request is open and the next one; None when none waits."""
        box = self.boxes[mailbox]
        for priority, lane in box.lanes.items():
            while lane and lane[0] not in self.requests:
                lane.popleft()
            if lane:
                return lane
            if len(box.lanes) > 1:
                del box.lanes[priority]
                return self._first(mailbox)
        return None

    def resolve(
        self,
        request: int,
        out: list[Action],
        error: AgentError | None,
        payload: object = None,
        sent: tuple[int, ...] = (),
    ) -> bool:
        """Fix the outcome; False when it was fixed before (the earlier one stands)."""
        if self.requests.pop(request, None) is None:
            return False
        out.append(Resolve(request, error, payload, sent))
        return True

    def empty(self, mailbox: int) -> list[int]:
        """Take out everything that waits."""
        box = self.boxes[mailbox]
        waiting = [rid for rid in box.queue if rid in self.requests]
        box.lanes.clear()
        return waiting

    def drop(self, mailbox: int) -> None:
        """Close a mailbox for good."""
        self.boxes.pop(mailbox, None)
