"""Public events (N18): what `orch.events()` yields, as frozen values."""

from __future__ import annotations

import math
from enum import Enum
from typing import Any, TypeAlias

from msgspec import Struct

from procorch.errors import AgentError
from procorch.errors.plain_data import to_json
from procorch.messages import Cost, Usage
from procorch.supervision.states import AgentStatus


class Notice(Struct, frozen=True, kw_only=True):
    """Fields of all events.

    Args:
        agent: the agent's name.
        instance: which of the agent's instances, from 0.
        generation: which process of that instance, from 1; 0: there was none yet.
        at: the time in monotonic seconds.
        time: the time in seconds since the epoch (Unix).

    Example:
        >>> event = Lost(agent="", generation=0, at=12.5, count=40)
        >>> event.as_dict()["type"], event.as_dict()["count"]
        ('Lost', 40)
    """

    agent: str
    instance: int = 0
    generation: int
    at: float
    time: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """The event as dict, list, str, int, float, bool and None, for JSON.

        See docs/reference/events.md.
        ``type`` is the name of its class; the other keys are its fields.
        """
        fields = {name: _json(getattr(self, name)) for name in self.__struct_fields__}
        return {"type": type(self).__name__, **fields}


class Starting(Notice, frozen=True, kw_only=True):
    """A process is being started.

    Example:
        >>> Starting(agent="solver", generation=1, at=12.5).generation
        1
    """


class Ready(Notice, frozen=True, kw_only=True):
    """The process has built its agent and accepts requests.

    Example:
        >>> with TestOrchestrator() as orch:
        ...     orch.add_agent("solver", ScriptedAgent())
        ...     agent = orch.spawn("solver")
        ...     print([type(event).__name__ for event in orch.history])
        ['Starting', 'Ready']
    """


class RequestStarted(Notice, frozen=True, kw_only=True):
    """The request was handed to the agent's process.

    Example:
        >>> RequestStarted(agent="solver", generation=1, at=12.5, request=7).request
        7
    """

    request: int


class RequestDone(Notice, frozen=True, kw_only=True):
    """The request has its outcome; ``error`` is None where it succeeded.

    ``generation``: that of the process it was last sent to; 0: it never left the queue.
    ``usage``, ``cost``: what it has used up of a model; None: nothing, or it is not known.

    Example:
        >>> event = RequestDone(agent="solver", generation=1, at=12.5, request=7, error=None)
        >>> event.error is None
        True
    """

    request: int
    error: AgentError | None
    usage: Usage | None = None
    cost: Cost | None = None


class Crashed(Notice, frozen=True, kw_only=True):
    """The process died unexpectedly.

    Example:
        >>> error = AgentCrashed(agent="solver", exitcode=-9)
        >>> event = Crashed(agent="solver", generation=1, at=12.5, error=error)
        >>> event.error.signal
        'SIGKILL'
    """

    error: AgentError


class Hung(Notice, frozen=True, kw_only=True):
    """A busy agent made no progress for ``timeout`` seconds and was killed without an answer (N12).

    The event comes when the process has ended: until then its answer may still come.

    Example:
        >>> Hung(agent="solver", generation=1, at=12.5, timeout=30.0, request=7).request
        7
    """

    timeout: float
    request: int | None


class Restarting(Notice, frozen=True, kw_only=True):
    """The agent gets a new process; ``restart`` of ``max_restarts`` since its last success.

    ``counted``: False if the agent did not cause it (N1). ``planned``: nothing has failed; the
    process has reached one of its limits (``max_requests``, ``max_age``, ``max_memory``), or your
    program asked for a new one.

    Example:
        >>> event = Restarting(
        ...     agent="solver", generation=1, at=12.5, counted=True, restart=1, max_restarts=3
        ... )
        >>> f"restart {event.restart} of {event.max_restarts}"
        'restart 1 of 3'
    """

    counted: bool
    restart: int
    max_restarts: int
    planned: bool = False


class Reloading(Notice, frozen=True, kw_only=True):
    """The agent is about to get a process of release number ``release`` (N19).

    Example:
        >>> Reloading(agent="solver", generation=1, at=12.5, release=2).release
        2
    """

    release: int


class Reloaded(Notice, frozen=True, kw_only=True):
    """A process of that release serves from now on.

    Example:
        >>> Reloaded(agent="solver", generation=2, at=12.5, release=2).release
        2
    """

    release: int


class ReloadFailed(Notice, frozen=True, kw_only=True):
    """No process of that release serves; the agent goes on with the release before.

    Example:
        >>> error = StartError(agent="solver")
        >>> event = ReloadFailed(agent="solver", generation=1, at=12.5, release=2, error=error)
        >>> event.release
        2
    """

    release: int
    error: AgentError


class BackingOff(Notice, frozen=True, kw_only=True):
    """The agent waits ``delay`` seconds before its next start.

    Example:
        >>> BackingOff(agent="solver", generation=2, at=12.5, delay=0.1).delay
        0.1
    """

    delay: float


class Throttled(Notice, frozen=True, kw_only=True):
    """A service asked for a pause: for ``delay`` seconds no request of this agent's queue begins,
    or, if its call counted for a `Limit`, no call of all that share it (N23). ``generation``: that
    of the process whose request got the ``error``.

    ``asked``: the seconds that the service asked for; None: it gave no number.

    Example:
        >>> error = ModelThrottled(retry_after=2.0)
        >>> event = Throttled(
        ...     agent="planner", generation=1, at=12.5, delay=2.0, asked=2.0, error=error
        ... )
        >>> event.delay
        2.0
    """

    delay: float
    asked: float | None
    error: AgentError


class Recovered(Notice, frozen=True, kw_only=True):
    """After a pause, as many requests of this agent's queue may be under way as before it.

    Example:
        >>> isinstance(Recovered(agent="solver", generation=1, at=12.5), Notice)
        True
    """


class Escalated(Notice, frozen=True, kw_only=True):
    """The policy answered ESCALATE, or a group exceeded its intensity (N6).

    ``path``: the agents above, nearest first; the policy may be asked about the nearest.

    Example:
        >>> error = AgentFailure(agent="leaf")
        >>> event = Escalated(agent="leaf", generation=1, at=12.5, error=error, path=("team",))
        >>> event.path
        ('team',)
    """

    error: AgentError
    path: tuple[str, ...]


class Stopped(Notice, frozen=True, kw_only=True):
    """The agent has ended.

    Example:
        >>> status = AgentStatus.COMPLETED
        >>> event = Stopped(agent="solver", generation=1, at=12.5, status=status, error=None)
        >>> event.status.name
        'COMPLETED'
    """

    status: AgentStatus
    error: AgentError | None


class Lost(Notice, frozen=True, kw_only=True):
    """This reader was too slow: it missed ``count`` older events (N18).

    Example:
        >>> Lost(agent="", generation=0, at=12.5, count=40).count
        40
    """

    count: int


class Unreaped(Notice, frozen=True, kw_only=True):
    """A process did not end within ``shutdown.kill`` seconds of SIGKILL; it may still exist.

    Example:
        >>> Unreaped(agent="solver", generation=1, at=12.5, pid=4127).pid
        4127
    """

    pid: int | None


class NodeJoined(Notice, frozen=True, kw_only=True):
    """A node has joined the cluster, or answers again after it was lost; ``agent`` is "".

    ``node``: its id; ``host``: its address. Only `AgentOrchestrator.events` has events of nodes.

    Example:
        >>> NodeJoined(agent="", generation=0, at=12.5, node="a1", host="10.0.0.2").host
        '10.0.0.2'
    """

    node: str
    host: str


class NodeLost(Notice, frozen=True, kw_only=True):
    """A node does not answer or has left the cluster, and ``why``; ``agent`` is "". Its agents are
    replaced elsewhere as their policies say, when it is certain that they have ended.

    Example:
        >>> NodeLost(agent="", generation=0, at=1.5, node="a1", host="10.0.0.2", why="left").why
        'left'
    """

    node: str
    host: str
    why: str


AgentEvent: TypeAlias = (
    Starting | Ready | RequestStarted | RequestDone | Crashed | Hung | Restarting | Reloading
    | Reloaded | ReloadFailed | BackingOff | Throttled | Recovered | Escalated | Stopped | Lost
    | Unreaped | NodeJoined | NodeLost
)  # fmt: skip
"""Every event there is."""


def _json(value: Any) -> Any:
    """A field in types of JSON."""
    match value:
        case AgentError():
            return to_json(value)
        case Enum():
            return value.name
        case tuple():
            return [_json(each) for each in value]
        case Usage() | Cost():
            return {name: _json(getattr(value, name)) for name in value.__match_args__}
        case float():
            return value if math.isfinite(value) else None
        case _:
            return value
