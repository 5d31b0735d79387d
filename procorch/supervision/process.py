"""What the machine knows about one process: one record a generation.

A start makes a new record. So nothing that was known of one process is ever taken for the next.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import IntEnum

from procorch.errors import AgentError, AgentHung
from procorch.supervision.request import Request
from procorch.supervision.states import StopStage


class Course(IntEnum):
    """What a process does next, once it has answered what it works on."""

    SERVING = 0
    """It takes further requests."""
    RENEWING = 1
    """It takes none and is replaced as soon as it is idle (N1)."""
    LEAVING = 2
    """Its agent, which was told to end, has said that it is finished; its exit follows (N0)."""
    FINISHED = 3
    """Its agent has said so by itself."""

    @property
    def leaves(self) -> bool:
        """Whether the agent has said that it is finished."""
        return self >= Course.LEAVING


@dataclass(slots=True, eq=False)
class Process:
    """One process of an instance, from its launch on.

    Args:
        generation: which one it is, from 1; 0 stands for none yet.
        margin: the part of its limits by which it is replaced early, so that replicas which began
            together do not go together.
        alive: it was launched and has not been seen to end.
        course: what it does next.
        ready_at: when its agent was ready.
        inflight: the request that it works on, if there is one; it may have been resolved.
        ahead: requests written to it that it will go on with, in that order (``prefetch``); some
            may have been resolved.
        held: it answered with an error and waits for our word before it goes on with those.
        served: requests that it has answered.
        heartbeat: the last progress count seen and when it was new.
        stage: the last stage of the ladder taken against it; ``target``: the request that the first
            stages aim at.
        stopped_for_request: it was ended for the sake of one request (its deadline, its
            cancellation), so its exit is *requested* (N0) and its successor is not counted (N1).
        reason: why we ended it (memory limit, broken stream, failed start); it is the error of what
            was in flight, in place of the bare exit.
    """

    generation: int = 0
    margin: float = 0.0
    alive: bool = False
    course: Course = Course.SERVING
    ready_at: float | None = None
    inflight: list[Request] = field(default_factory=list)
    ahead: deque[Request] = field(default_factory=deque)
    held: bool = False
    served: int = 0
    heartbeat: tuple[int, float] | None = None
    stage: StopStage | None = None
    target: int = 0
    stopped_for_request: bool = False
    reason: AgentError | None = None

    @property
    def serves(self) -> bool:
        """Whether it goes on as before."""
        return self.stage is None and self.course is Course.SERVING

    @property
    def idle(self) -> bool:
        """Whether it would take a request at once."""
        return self.serves and not self.inflight and not self.ahead

    @property
    def hung(self) -> bool:
        """Whether it is ended because it made no progress (N12)."""
        return isinstance(self.reason, AgentHung)

    def is_stopped_for(self, request: int) -> bool:
        """Whether a request is being stopped, and the process may live on once that has ended."""
        return self.stage is not None and self.stage.spares_process and request == self.target

    def renew(self) -> None:
        """Have it replaced as soon as it is idle, unless it leaves by itself."""
        self.course = max(self.course, Course.RENEWING)

    def keep(self) -> None:
        """Have it not replaced after all."""
        if self.course is Course.RENEWING:
            self.course = Course.SERVING

    def works_on(self, number: int) -> Request | None:
        """The request of that number, if it is the one that it works on."""
        for request in self.inflight:
            if request.id == number:
                return request
        return None

    def sent_since(self, request: Request) -> tuple[int, ...]:
        """The numbers of ``request`` and of what was written after it; nothing if it has not been
        written."""
        given = [*self.inflight, *self.ahead]
        if request not in given:
            return ()
        return tuple(each.id for each in given[given.index(request) :])

    def limit(self, most: int) -> int:
        """A limit after which it is replaced, less its margin."""
        return most - int(most * self.margin)
