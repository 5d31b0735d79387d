"""Requests and the queues they wait in: every accepted one gets exactly one outcome (I1).

A *mailbox* is a FIFO from which the instances of one agent take requests. A request is in
the ledger until its outcome is fixed; later events about it have no effect. Queues are cleaned
lazily: a request that was resolved in its queue is skipped when its turn comes.
"""

from __future__ import annotations

from collections import deque

from procorch.errors import AgentError
from procorch.supervision.actions import Action, Resolve
from procorch.supervision.request import Request, RequestState
from procorch.supervision.throttle import FlowControl


class RequestQueue:
    """A queue of requests and its members: the instances that take from it, in their order.

    Args:
        lanes: one queue for each priority in use, the highest first; some requests in it may be
            resolved already.
        waiting: how many requests wait; other threads may read it.
        width: how many members may be busy at once; None: all. If there are more members, the idle
            ones are warm spares. 0: it is paused.
        usual_width: the width while it is not paused.
        flow: holds requests back for a rate, or for a service that asks for a pause (N23).
    """

    # No Struct: that takes longer to set an attribute, and each request sets some.
    __slots__ = (
        "closed", "flow", "lanes", "members", "paused", "usual_width", "waiting", "width",
    )  # fmt: skip

    def __init__(self) -> None:
        self.lanes: dict[int, deque[Request]] = {}
        self.waiting: int = 0
        self.members: list[int] = []
        self.closed: bool = False
        self.width: int | None = None
        self.usual_width: int | None = None
        self.paused: bool = False
        self.flow: FlowControl | None = None

    def lane(self, priority: int) -> deque[Request]:
        """The queue of a priority, created on first use."""
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
        self.boxes: dict[int, RequestQueue] = {}

    def join(self, mailbox: int, member: int) -> None:
        """``member`` takes requests from ``mailbox``, which is created on first use."""
        self.boxes.setdefault(mailbox, RequestQueue()).members.append(member)

    def last(self, mailbox: int, member: int) -> None:
        """Move ``member`` to the end: it takes a request only if no other member is free."""
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

    def take(self, mailbox: int, worker: int, *, ahead: bool = False) -> Request | None:
        """Give the next waiting request to ``worker``; None if no request waits.

        ``ahead``: it would be sent ahead of its turn; None also if the next one must not be.
        """
        box = self.boxes[mailbox]
        if not box.waiting:
            return None
        lane = self._first(box)
        if ahead and lane[0].alone:
            return None
        request = lane.popleft()
        request.state = RequestState.SENT
        request.worker = worker
        box.waiting -= 1
        return request

    def put_back(self, request: Request) -> None:
        """Queue the request again, before all others of its priority (N3)."""
        box = self.boxes[request.mailbox]
        request.state = RequestState.QUEUED
        request.worker = None
        box.waiting += 1
        box.lane(request.priority).appendleft(request)

    def waiting(self, mailbox: int) -> bool:
        """Whether an open request waits in the queue."""
        return self.boxes[mailbox].waiting > 0

    @staticmethod
    def _first(box: RequestQueue) -> deque[Request]:
        """The lane whose first request is the next one to take; an open request must wait."""
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
        """Fix the outcome; False if it was fixed before, which does not change it."""
        if self.requests.pop(request.id, None) is None:
            return False
        if request.state is RequestState.QUEUED:
            self.boxes[request.mailbox].waiting -= 1
        request.state = RequestState.RESOLVED
        out.append(Resolve(request, error, payload, sent))
        return True

    def empty(self, mailbox: int) -> list[Request]:
        """Take out all waiting requests."""
        box = self.boxes[mailbox]
        waiting = [request for lane in box.lanes.values() for request in lane if request.is_open]
        box.lanes.clear()
        return waiting

    def drop(self, mailbox: int) -> None:
        """Remove a mailbox."""
        self.boxes.pop(mailbox, None)
