"""Replacing the release of an instance, asked for by other threads (N19); and callers that wait
for a new process."""

from __future__ import annotations

import contextlib
from concurrent.futures import Future, InvalidStateError

from procorch.errors import AgentError, AgentStopped
from procorch.runtime.instance_runtime import InstanceRuntime
from procorch.runtime.ports import EventPort
from procorch.supervision import events as ev


def reload(
    monitor: EventPort,
    instance: InstanceRuntime,
    release: int,
    *,
    stop_first: bool = False,
    back: bool = False,
) -> Future[None]:
    """Replace the process of an instance by one of another release; see `events.Reload`.

    Returns:
        A future that is done when the new process serves and the old one has ended. It fails if the
        new one does not start, or if the instance ends.
    """
    done: Future[None] = Future()
    instance.reload = done
    monitor.post(ev.Reload(instance.key, release, stop_first, back))
    if instance.ended.done():
        release_waiting(instance)  # It may have ended before the future was there.
    return done


def give_up(monitor: EventPort, instance: InstanceRuntime) -> None:
    """Go on with the old release, unless the new one serves. The future is done soon."""
    monitor.post(ev.GiveUpReload(instance.key))


def release_waiting(instance: InstanceRuntime) -> None:
    """Fail the futures that wait for a new process of an instance which has ended.

    Two threads may do this at once: the deque gives each item to one of them.
    """
    end_reload(instance, AgentStopped(f"agent {instance.name!r} has ended", agent=instance.name))
    with contextlib.suppress(IndexError):
        while True:
            fresh = instance.fresh.popleft()[1]
            stopped = AgentStopped(
                f"agent {instance.name!r} ended {instance.status.name}", agent=instance.name
            )
            ended = instance.ended.exception()
            fresh.set_exception(stopped if ended is None else ended)


def end_reload(instance: InstanceRuntime, error: AgentError | None) -> None:
    """The change to another release is over; no effect if nobody waits for that."""
    waiting, instance.reload = instance.reload, None
    if waiting is not None:
        with contextlib.suppress(InvalidStateError):  # another thread has done so
            if error is None:
                waiting.set_result(None)
            else:
                waiting.set_exception(error)
