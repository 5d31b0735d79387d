"""What the machine knows about one process: one record for each generation.

Each start makes a new record, so facts about one process are never applied to the next one.
"""

from __future__ import annotations

from collections import deque
from enum import IntEnum

from procorch.errors import AgentError, AgentHung
from procorch.supervision.allowance import Allowance
from procorch.supervision.request import Request
from procorch.supervision.states import StopStage


class Course(IntEnum):
    """What a process does after the request that it works on."""

    SERVING = 0
    """It accepts further requests."""
    RENEWING = 1
    """It gets no further request and is replaced as soon as it is idle (N1)."""
    LEAVING = 2
    """Its agent was told to end and has reported that it is finished; its exit follows (N0)."""
    FINISHED = 3
    """Its agent has reported that it is finished, without being told to end."""

    @property
    def leaves(self) -> bool:
        """Whether the agent has reported that it is finished."""
        return self >= Course.LEAVING


class Process:
    """One process of an instance, from its launch on.

    Args:
        generation: its number, from 1; 0: none was launched yet.
        margin: the part of its limits by which it is replaced early. It differs between replicas
            that started together, so that they are not replaced together.
        alive: it was launched, and its exit has not been reported.
        release: the number of the release that it comes from (N19).
        sends_ahead: it was started so that it may get requests ahead of their turn: it waits after
            an error (``held``).
        concurrency: how many requests it was started to run at once. `several` has the rules if
            that is more than one.
        memory_limit: the one that it was started with.
        placing: why it is not placed on a node of the cluster yet; None: it is.
        waits: it is to take over from the current process of its instance (`beside`).
        course: what it does next.
        ready_at: when its agent was ready.
        inflight: the requests that it works on, one at most unless its ``concurrency`` is more;
            some may have been resolved.
        ahead: requests written to it that it will begin next, in that order (``prefetch``); some
            may have been resolved.
        held: it answered with an error and waits for `actions.Proceed` before it begins those.
        sent: requests that were sent to it.
        began: when the request in ``inflight`` began, or the last one did.
        gives_back: requests that were sent ahead can be taken back from it.
        allowance: how many requests it may have at a time, by the time that they take.
        served: requests that it has answered.
        heartbeat: the last progress count seen and when it was new.
        stage: the last stage of the ladder taken against it; ``target``: the request that the first
            stages aim at; ``target_place``: that request was the n-th that it was sent.
        stopped_for_request: it was ended to end one request (its deadline, its cancellation), so
            its exit is *requested* (N0) and its replacement is not counted (N1).
        reason: why procorch ended it (memory limit, broken stream, failed start); the request in
            flight fails with this error, and not with that of the exit.
        cancelled: the requests in ``inflight`` that were told to end, each with the time at which
            the process is ended if it has not (`several`).
        replacement: it is replaced when its last request has ended: the arguments (`several`).
    """

    # No Struct: that takes longer to set an attribute, and each request sets some.
    __slots__ = (
        "ahead", "alive", "allowance", "began", "cancelled", "concurrency", "course",
        "generation", "gives_back", "heartbeat", "held", "inflight", "margin", "memory_limit",
        "placing", "ready_at", "reason", "release", "replacement", "sends_ahead", "sent",
        "served", "stage", "stopped_for_request", "target", "target_place", "waits",
    )  # fmt: skip

    def __init__(
        self, generation: int = 0, margin: float = 0.0, *, alive: bool = False, release: int = 1,
        sends_ahead: bool = True, concurrency: int = 1, memory_limit: int | None = None,
    ) -> None:  # fmt: skip
        self.generation: int = generation
        self.margin: float = margin
        self.alive: bool = alive
        self.release: int = release
        self.sends_ahead: bool = sends_ahead
        self.concurrency: int = concurrency
        self.memory_limit: int | None = memory_limit
        self.placing: str | None = None
        self.waits: bool = False
        self.course: Course = Course.SERVING
        self.ready_at: float | None = None
        self.inflight: list[Request] = []
        self.ahead: deque[Request] = deque()
        self.held: bool = False
        self.sent: int = 0
        self.began: float = 0.0
        self.gives_back: bool = False
        self.allowance: Allowance = Allowance()
        self.served: int = 0
        self.heartbeat: tuple[int, float] | None = None
        self.stage: StopStage | None = None
        self.target: int = 0
        self.target_place: int = 0
        self.stopped_for_request: bool = False
        self.reason: AgentError | None = None
        self.cancelled: dict[int, float] = {}
        self.replacement: tuple[bool, float] | None = None

    @property
    def is_full(self) -> bool:
        """Whether a further request would have to wait for one that it works on."""
        return len(self.inflight) >= self.concurrency

    @property
    def serves(self) -> bool:
        """Whether it accepts further requests."""
        return self.stage is None and self.course is Course.SERVING

    @property
    def idle(self) -> bool:
        """Whether it would take a request at once."""
        return self.serves and not self.inflight and not self.ahead

    @property
    def must_renew(self) -> bool:
        """Whether it is to be replaced as soon as it is idle."""
        return self.course is Course.RENEWING

    @property
    def hung(self) -> bool:
        """Whether it is ended because it made no progress (N12)."""
        return isinstance(self.reason, AgentHung)

    def aim_at(self, request: Request) -> None:
        """The first stages of the ladder aim at this request."""
        self.target, self.target_place = request.id, request.place

    def is_stopped_for(self, request: int) -> bool:
        """Whether a request is being stopped, and the process may live on once that has ended."""
        return self.stage is not None and self.stage.spares_process and request == self.target

    def renew(self) -> None:
        """Have it replaced as soon as it is idle, unless its agent has finished."""
        self.course = max(self.course, Course.RENEWING)

    def keep(self) -> None:
        """Cancel `renew`."""
        if self.course is Course.RENEWING:
            self.course = Course.SERVING

    def works_on(self, number: int) -> Request | None:
        """The request with that number, if the process works on it; else None."""
        for request in self.inflight:
            if request.id == number:
                return request
        return None

    def sent_since(self, request: Request) -> tuple[int, ...]:
        """The numbers of ``request`` and of those sent after it; empty if it was not sent. Requests
        that run at once say nothing about each other, so it is the only one then."""
        given = [*self.inflight, *self.ahead]
        if request not in given:
            return ()
        if self.concurrency > 1:
            return (request.id,)
        return tuple(each.id for each in given[given.index(request) :])

    def limit(self, most: int) -> int:
        """The limit ``most`` less the margin of this process."""
        return most - int(most * self.margin)
