"""Requests and the queues they wait in: every accepted one gets exactly one outcome (I1).

A *mailbox* is a FIFO that one instance, or several replicas, take requests from. A request is in
the ledger until its outcome is fixed; whatever arrives for it afterwards finds nothing and changes
nothing. Queues are cleaned lazily: a resolved request is skipped when its turn comes.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from procorch.errors import AgentError
from procorch.supervision.actions import Action, Resolve
from procorch.supervision.request import Request, RequestState
from procorch.supervision.throttle import FlowControl


@dataclass(slots=True)
class Mailbox:
    """A queue of requests and the instances that take from it, in the order in which the idle ones
    are asked.

    Args:
        lanes: one queue for each priority in use, the highest first; some of the requests in it may
            have been resolved.
        waiting: how many requests wait; other threads may read it.
        width: how many members may be busy at once; None: all. With more members than that, those
            that are idle are warm spares.
        flow: holds requests back for a rate, or for a service that asks for a pause (N23).
    """

    lanes: dict[int, deque[Request]] = field(default_factory=dict)
    waiting: int = 0
    members: list[int] = field(default_factory=list)
    closed: bool = False
    width: int | None = None
    flow: FlowControl | None = None

    def lane(self, priority: int) -> deque[Request]:
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
        members = self.boxes[mailbox].members
        members.remove(member)
        return not members

    def last(self, mailbox: int, member: int) -> None:
        """``member`` takes from ``mailbox`` only where no other one is free."""
        members = self.boxes[mailbox].members
        members.remove(member)
        members.append(member)

    def accept(self, request: Request) -> bool:
        """Put a new request at the end of its queue; False if the mailbox takes none."""
        box = self.boxes.get(request.mailbox)
        if box is None or box.closed:
            return False
        self.requests[request.id] = request
        request.state = RequestState.QUEUED
        box.waiting += 1
        box.lane(request.priority).append(request)
        return True

    def hand_over(self, request: Request, worker: int) -> None:
        """Give a new request to ``worker`` at once, before which nobody waits."""
        self.requests[request.id] = request
        request.state = RequestState.SENT
        request.worker = worker

    def take(self, mailbox: int, worker: int) -> Request | None:
        """The next waiting request, now at ``worker``; None when none waits."""
        box = self.boxes[mailbox]
        if not box.waiting:
            return None
        request = self._first(box).popleft()
        request.state = RequestState.SENT
        request.worker = worker
        box.waiting -= 1
        return request

    def put_back(self, request: Request) -> None:
        """The request waits again, before all others of its priority (N3)."""
        box = self.boxes[request.mailbox]
        request.state = RequestState.QUEUED
        request.worker = None
        box.waiting += 1
        box.lane(request.priority).appendleft(request)

    def waiting(self, mailbox: int) -> bool:
        """Whether an open request waits in the queue."""
        return self.boxes[mailbox].waiting > 0

    @staticmethod
    def _first(box: Mailbox) -> deque[Request]:
        """The lane whose first request is the next one; one of them has an open request."""
        while True:
            priority, lane = next(iter(box.lanes.items()))
            while lane and lane[0].state is RequestState.RESOLVED:
                lane.popleft()
            if lane:
                return lane
            del box.lanes[priority]

    def resolve(
        self,
        request: Request,
        out: list[Action],
        error: AgentError | None,
        payload: object = None,
        sent: tuple[int, ...] = (),
    ) -> bool:
        """Fix the outcome; False when it was fixed before (the earlier one stands)."""
        if self.requests.pop(request.id, None) is None:
            return False
        if request.state is RequestState.QUEUED:
            self.boxes[request.mailbox].waiting -= 1
        request.state = RequestState.RESOLVED
        out.append(Resolve(request, error, payload, sent))
        return True

    def empty(self, mailbox: int) -> list[Request]:
        """Take out everything that waits."""
        box = self.boxes[mailbox]
        waiting = [request for lane in box.lanes.values() for request in lane if request.is_open]
        box.lanes.clear()
        return waiting

    def drop(self, mailbox: int) -> None:
        """Close a mailbox for good."""
        self.boxes.pop(mailbox, None)
