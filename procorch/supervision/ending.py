"""How an instance ends: drained, cancelled, stopped, closed; and the ladder that sees to it (N7, N8)."""

from __future__ import annotations

from procorch.errors import Aborted, AgentCrashed, AgentError, AgentStopped
from procorch.supervision import events as ev
from procorch.supervision import notices
from procorch.supervision.core import Core, Due
from procorch.supervision.instance import Instance
from procorch.supervision.states import AgentStatus, Phase, Signal


def cancel(core: Core, a: Instance, event: ev.Cancel) -> None:
    """Cancel takes effect on entry and wins (N14)."""
    core.end(a, AgentStatus.CANCELLED, Aborted(agent=a.name))


def hurry(core: Core, a: Instance, event: ev.Cancel) -> None:
    """Cancelled while it was leaving: its end stays what it is, it only comes sooner."""
    if a.rung is Signal.LEAVE:
        core.press(a, Signal.TERMINATE)


def drain(core: Core, a: Instance, event: ev.Drain) -> None:
    """The channel is closed: finish what was accepted, then end COMPLETED (seed rule 8)."""
    if a.draining is None:
        a.draining = AgentStatus.COMPLETED
    _close_channel(core, a)


def stop(core: Core, a: Instance, event: ev.Stop) -> None:
    """Finish what was accepted within the grace, then end STOPPED."""
    a.draining = AgentStatus.STOPPED
    core.timers.arm((Due.GRACE, a.key), core.now + event.grace)
    _close_channel(core, a)


def _close_channel(core: Core, a: Instance) -> None:
    box = core.ledger.boxes[a.mailbox]
    box.closed = all(core.instances[member].draining is not None for member in box.members)
    if a.phase is Phase.READY:
        core.enter(a, Phase.READY)
    elif a.phase in (Phase.WAITING, Phase.STARTING, Phase.BACKOFF) and core.drained(a):
        # Nothing was asked of it, and it has not shown itself yet: there is nothing to wait for.
        core.end(a, a.draining or AgentStatus.COMPLETED)


def out_of_grace(core: Core, a: Instance, event: object) -> None:
    """The grace is over: what is left is aborted (N15)."""
    core.end(a, a.draining or AgentStatus.STOPPED, Aborted(agent=a.name))


def close(core: Core, event: ev.Close) -> list[tuple[Instance, ev.Stop | Due]]:
    """Close everything: no more restarts; who has to be told what (N7, N15)."""
    core.closing = True
    core.timers.arm((Due.CLOSE, 0), event.deadline)
    grace = max(0.0, event.deadline - core.now)
    return [
        (a, ev.Stop(a.key, grace) if event.drain else Due.GRACE) for a in core.instances.values()
    ]


def close_overdue(core: Core) -> None:
    """The total deadline has passed: everything left is killed."""
    for a in core.instances.values():
        if a.alive and (a.rung is None or a.rung < Signal.KILL):
            core.press(a, Signal.KILL)


def leave(core: Core, a: Instance) -> None:
    """STOPPING: answer everybody now (seed rule 9), make the process go."""
    assert a.final is not None
    error = a.final[1]
    core.left_starting(a)
    for due in (Due.BACKOFF, Due.GRACE):
        core.timers.disarm((due, a.key))
    hurried = bool(a.inflight) or isinstance(error, Aborted)
    if a.pending is not None:
        # The reply was complete before the end came: it stands (N14).
        if a.pending.request is not None:
            core.resolve(a.pending.request, a.pending.error, a.pending.payload)
        a.pending = None
    for request in a.inflight:
        core.resolve(request, Aborted(agent=a.name))
    a.inflight = []
    if core.ledger.leave(a.mailbox, a.key):
        for request in core.ledger.drop(a.mailbox):
            core.resolve(request, _left_behind(core, a))
    if not a.alive:
        core.enter(a, Phase.DONE)
    elif a.rung is None:
        core.press(a, Signal.TERMINATE if hurried else Signal.LEAVE)


def _left_behind(core: Core, a: Instance) -> AgentError:
    assert a.final is not None
    status, error = a.final
    if core.closing:
        return Aborted(agent=a.name)
    stopped = AgentStopped(
        f"agent reply dropped: agent {a.name!r} ended {status.name} before the request ran",
        agent=a.name,
    )
    stopped.__cause__ = error
    return stopped


def finish(core: Core, a: Instance) -> None:
    """DONE: it is over, and said so."""
    assert a.final is not None
    a.status, error = a.final
    core.tell(a, notices.Stopped, status=a.status, error=error)
    core.out.append(ev.Finish(a.key, a.status, error))
    if not a.alive:
        del core.instances[a.key]


def exited(core: Core, a: Instance, event: ev.Exited) -> None:
    """The process has left, as it was asked to."""
    core.gone(a)
    core.enter(a, Phase.DONE)


def climb(core: Core, a: Instance, event: object) -> None:
    """The process is still there: the next rung; past the last one it is given up (``Unreaped``)."""
    assert a.rung is not None
    if a.rung < Signal.KILL:
        core.press(a, Signal(a.rung + 1))
        return
    a.rung = Signal.GIVE_UP
    core.tell(a, notices.Unreaped, pid=None)
    if a.phase is not Phase.STOPPING:
        stuck = AgentCrashed(
            f"agent {a.name!r}: its process outlived SIGKILL",
            agent=a.name,
            generation=a.generation,
        )
        core.end(a, AgentStatus.FAILED, stuck)
    core.enter(a, Phase.DONE)


def exited_late(core: Core, a: Instance, event: ev.Exited) -> None:
    """A process that had been given up has ended after all."""
    core.gone(a)
    del core.instances[a.key]
