"""Several requests at once in one process (``concurrency``): what differs from one at a time.

Each request that is sent begins at once, as a task of the worker's event loop, so none is ahead of
its turn. All are in ``inflight``, and the rules about one request are about that one only:

* A request that is cancelled or out of time has its task cancelled. The process is ended only if
  the task has not ended in the time of the first two stages (N8). The others fail with it then, or
  wait again (N3).
* The policy is asked about one error after the other. If it wants a new process, the current one
  gets no further request, and is replaced when the others have ended.
* A death ends all of them. It counts against the request whose code was running, if that is known.
"""

from __future__ import annotations

from procorch.errors import AgentCrashed
from procorch.supervision import actions
from procorch.supervision.core import STACK_TIME, Core, Due, time_of
from procorch.supervision.instance import Instance
from procorch.supervision.request import Request
from procorch.supervision.states import StopStage


def end_request(core: Core, a: Instance, request: Request) -> None:
    """Cancel the task of a request, and limit the time until it has ended."""
    process = a.process
    if request.id in process.cancelled:
        return
    core.out.append(actions.CancelTask(a.key, a.generation, request.id))
    process.cancelled[request.id] = until = core.now + _patience(a)
    if process.stage is None and core.timers.at((Due.TASK, a.key)) is None:
        core.timers.arm((Due.TASK, a.key), until)


def _patience(a: Instance) -> float:
    return time_of(a, StopStage.COOPERATE) + time_of(a, StopStage.INTERRUPT)


def answered(core: Core, a: Instance, request: Request) -> None:
    """A request has been answered: nothing is left of its cancellation."""
    if a.process.cancelled.pop(request.id, None) is not None and not a.process.cancelled:
        core.timers.disarm((Due.TASK, a.key))


def task_due(core: Core, a: Instance, event: object) -> None:
    """A cancelled task may not have ended in its time: then the process is ended."""
    process = a.process
    number, until = min(process.cancelled.items(), key=lambda each: each[1])
    if process.stage is not None:  # it may hang, and may yet answer
        core.timers.arm((Due.TASK, a.key), core.now + STACK_TIME)
    elif until > core.now:
        core.timers.arm((Due.TASK, a.key), until)
    else:
        process.stopped_for_request = True
        process.reason = AgentCrashed(
            f"request {number} did not end within {_patience(a):g} s after it was cancelled",
            agent=a.name,
        )
        core.stop_process(a, StopStage.TERMINATE)


def leave(core: Core, a: Instance, aborted: list[Request]) -> None:
    """The process is to leave as soon as these tasks have ended, for which it has little time."""
    for request in aborted:
        if request.id not in a.process.cancelled:
            core.out.append(actions.CancelTask(a.key, a.generation, request.id))
    core.stop_process(a, StopStage.LEAVE)
    core.timers.arm((Due.STOP_STAGE, a.key), core.now + _patience(a))


def flush(core: Core, a: Instance) -> None:
    """No policy is asked about further errors: their requests fail with them."""
    while a.errors:
        pending = a.errors.popleft()
        assert pending.request is not None
        core.resolve(pending.request, pending.error, pending.payload)
