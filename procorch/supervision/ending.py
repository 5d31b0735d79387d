"""How an instance ends: drained, cancelled, stopped, closed; and the stages of the ladder (N7, N8).

The order comes from one rule, `tree.may_end`: an agent that has finished its work waits until the
agents under it, and the siblings started after it, have ended. No part plans the order: each
instance that ends makes the others check that rule again.
"""

from __future__ import annotations

from copy import copy

from procorch.errors import Aborted, AgentCrashed, AgentError, AgentStopped
from procorch.errors.texts import failed_start
from procorch.supervision import actions, groups, notices, tree
from procorch.supervision import events as ev
from procorch.supervision.core import Core, Due
from procorch.supervision.instance import Instance
from procorch.supervision.process import Course
from procorch.supervision.request import Request
from procorch.supervision.states import AgentStatus, Phase, StopStage

_ENDED = (Phase.STOPPING, Phase.DONE)

_WITHOUT_PROCESS = (Phase.WAITING, Phase.BACKOFF, Phase.HELD)


def cancel(core: Core, a: Instance, event: ev.Cancel) -> None:
    """A cancel takes effect at once and wins over other ends (N14)."""
    core.end(a, AgentStatus.CANCELLED, Aborted(agent=a.name))


def hasten(core: Core, a: Instance, event: ev.Cancel) -> None:
    """Cancelled while it stops: it keeps its final status and ends sooner."""
    if a.process.stage is StopStage.LEAVE:
        core.stop_process(a, StopStage.TERMINATE)


def drain(core: Core, a: Instance, event: ev.Drain) -> None:
    """The channel is closed: finish the accepted requests, then end COMPLETED."""
    a.draining = a.draining or AgentStatus.COMPLETED
    _close_channel(core, a)
    _end_if_done(core, a)


def stop(core: Core, a: Instance, event: ev.Stop) -> None:
    """Finish requests within the grace, then end STOPPED; linked children first (N7)."""
    a.draining = a.draining or AgentStatus.STOPPED
    for child in reversed(tree.children(core.instances, a)):
        if tree.linked(a, child) and child.draining is None:
            core.defer(
                child.key, ev.Stop(child.key, min(event.grace, child.settings.shutdown.grace))
            )
    a.grace = event.grace if a.grace is None else min(a.grace, event.grace)
    _close_channel(core, a)
    core.defer(a.key, check_turn)  # after the children have been told


def _close_channel(core: Core, a: Instance) -> None:
    """Accept no requests once all members of the mailbox were told to end."""
    box = core.ledger.boxes[a.mailbox]
    box.closed = all(core.instances[member].draining is not None for member in box.members)


def _end_if_done(core: Core, a: Instance) -> None:
    """End ``a`` if it was told to, has no request left, and its turn has come."""
    spared = a.phase is Phase.AWAITING_POLICY and a.pending is None and a.cycle is None
    if a.phase is Phase.READY or spared:
        core.enter(a, Phase.READY)
    elif core.closing and a.phase in _WITHOUT_PROCESS:
        core.end_during_close(a)
    elif a.phase in _WITHOUT_PROCESS and core.drained(a):
        core.timers.disarm((Due.BACKOFF, a.key))
        groups.drop(core, a)
        core.end_in_turn(a)
    elif a.phase is Phase.STARTING and core.drained(a) and tree.may_end(core.instances, a):
        core.end(a, a.draining or AgentStatus.COMPLETED)  # No request needs it to become ready.


def check_turn(core: Core, a: Instance) -> None:
    """An instance that ``a`` waited for may have ended: check whether ``a`` may end now."""
    if a.grace is not None and tree.may_end(core.instances, a):
        end, sooner = core.now + a.grace, core.timers.at((Due.GRACE, a.key))
        core.timers.arm((Due.GRACE, a.key), end if sooner is None else min(end, sooner))
        a.grace = None
    _end_if_done(core, a)


def out_of_grace(core: Core, a: Instance, event: object) -> None:
    """The grace is over: abort the requests that are left (N15)."""
    core.end(a, a.draining or AgentStatus.STOPPED, Aborted(agent=a.name))


def close(core: Core, event: ev.Close) -> None:
    """Close everything, each agent in its turn: no more restarts (N7, N15)."""
    core.closing = True
    core.deadline = min(core.deadline, event.deadline)  # A second close may set an earlier one.
    core.timers.arm((Due.CLOSE, 0), core.deadline)
    for a in core.instances.values():
        groups.abandon(a)
        if a.phase not in _ENDED:
            a.draining = a.draining or AgentStatus.STOPPED
            core.ledger.boxes[a.mailbox].closed = True
            core.defer(a.key, _end_if_done if event.drain else abort)


def abort(core: Core, a: Instance) -> None:
    """Abort all requests now; the agent itself still ends in its turn."""
    if a.phase is not Phase.READY:
        out_of_grace(core, a, None)
        return
    a.aborted = True
    for request in [*core.ledger.empty(a.mailbox), *a.process.inflight]:
        core.resolve(request, Aborted(agent=a.name))
    _abort_ahead(core, a)
    if a.process.inflight and a.process.stage is None:
        a.process.stopped_for_request = True
        a.process.target = a.process.inflight[0].id
        core.stop_process(a, StopStage.COOPERATE)
    core.enter(a, Phase.READY)


def close_overdue(core: Core) -> None:
    """The total deadline has passed: kill all processes that are left."""
    for a in list(core.instances.values()):
        if a.phase not in _ENDED:
            out_of_grace(core, a, None)
        if a.process.alive and (a.process.stage is None or a.process.stage < StopStage.KILL):
            core.stop_process(a, StopStage.KILL)


def leave(core: Core, a: Instance) -> None:
    """STOPPING: fix the outcome of all requests now, and end the process."""
    assert a.final is not None
    error = a.final[1]
    a.grace = None
    core.left_starting(a)
    for due in (Due.BACKOFF, Due.GRACE, Due.HEARTBEAT):
        core.timers.disarm((due, a.key))
    if a.pending is not None:
        # The reply was complete before the end, so it counts (N14).
        if a.pending.request is not None:
            core.resolve(a.pending.request, a.pending.error, a.pending.payload)
        a.pending = None
    aborted = [request for request in a.process.inflight if request.is_open]
    for request in aborted:
        # A copy: `may_have_executed` differs between the request and the agent, which has it too.
        crashed = isinstance(error, AgentCrashed)
        core.resolve(request, copy(error) if crashed else Aborted(agent=a.name))
        a.process.target = request.id
    if a.process.held:
        core.return_ahead(a)  # The worker waits for PROCEED, which it will not get.
    _abort_ahead(core, a)
    a.process.inflight = []
    a.process.ahead.clear()
    if core.ledger.leave(a.mailbox, a.key):
        for request in core.ledger.empty(a.mailbox):
            core.resolve(request, _unserved_error(core, a, request))
        core.ledger.drop(a.mailbox)
        core.timers.disarm((Due.FLOW, a.mailbox))
        core.timers.disarm((Due.TAKE_BACK, a.mailbox))
    else:
        # It may have been the last one that was not told to end: the others take the queue.
        _close_channel(core, a)
        for member in core.ledger.boxes[a.mailbox].members:
            core.defer(member, _end_if_done)
    groups.drop(core, a)
    if not a.process.alive:
        core.enter(a, Phase.DONE)
    elif a.process.stage is None or a.process.stage is StopStage.LEAVE:
        # A process whose requests were aborted before it waited for its turn is idle by now.
        hurried = isinstance(error, Aborted | AgentCrashed) and not a.aborted
        stage = (
            StopStage.COOPERATE if aborted else StopStage.TERMINATE if hurried else StopStage.LEAVE
        )
        core.stop_process(a, stage)


def _abort_ahead(core: Core, a: Instance) -> None:
    for request in a.process.ahead:
        core.resolve(request, Aborted(agent=a.name))


def _unserved_error(core: Core, a: Instance, request: Request) -> AgentError:
    assert a.final is not None
    status, error = a.final
    if core.closing:
        return Aborted(agent=a.name)
    when = "before the request was tried again" if request.executed else "before the request ran"
    stopped = AgentStopped(
        f"agent reply dropped: agent {a.name!r} ended {status.name} {when}{failed_start(error)}",
        agent=a.name,
    )
    stopped.__cause__ = error
    return stopped


def finish(core: Core, a: Instance) -> None:
    """DONE: publish the end of the instance, and pass it on to the tree."""
    assert a.final is not None
    a.status, error = a.final
    core.tell(a, notices.Stopped, status=a.status, error=error)
    core.out.append(actions.Ended(a.key, a.status, error, a.limits.total, a.last_exit))
    for child in reversed(tree.children(core.instances, a)):
        if tree.linked(a, child) and not tree.leaving(child):
            core.defer(child.key, ev.Stop(child.key, child.settings.shutdown.grace))
    if a.key in a.siblings:
        a.siblings.remove(a.key)
    parent = core.instances.get(a.parent) if a.parent is not None else None
    if parent is not None and _shuts_down(core, parent, a):
        for child in reversed(tree.children(core.instances, parent)):
            core.defer(child.key, ev.Stop(child.key, child.settings.shutdown.grace))
        core.defer(parent.key, ev.Stop(parent.key, parent.settings.shutdown.grace))
    for key in [*a.siblings, *([] if parent is None else [parent.key])]:
        if key in core.instances and tree.leaving(core.instances[key]):
            core.defer(key, check_turn)
    if not a.process.alive:
        del core.instances[a.key]


def _shuts_down(core: Core, parent: Instance, a: Instance) -> bool:
    """Whether the end of ``a`` ends its group: an end on request does not (N5, OTP)."""
    alone = a.draining is None or a.process.course is Course.FINISHED
    by_itself = alone and a.status in (AgentStatus.COMPLETED, AgentStatus.FAILED)
    if not (by_itself and a.settings.significant) or core.closing or tree.leaving(parent):
        return False
    if parent.settings.auto_shutdown == "all_significant":
        return not any(c.settings.significant for c in tree.children(core.instances, parent))
    return parent.settings.auto_shutdown == "any_significant"


def exited(core: Core, a: Instance, event: ev.Exited) -> None:
    """The process has exited after a request to stop."""
    core.process_ended(a, event.exit)
    core.enter(a, Phase.DONE)


def next_stage(core: Core, a: Instance, event: object) -> None:
    """A stage has not ended the process in time: take the next one, or give up (``Unreaped``)."""
    assert a.process.stage is not None
    if a.process.stage is not StopStage.KILL:
        core.stop_process(a, a.process.stage.next)
        return
    a.process.stage = StopStage.GIVE_UP
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
    """A process that was given up has ended later."""
    core.process_ended(a, event.exit)
    del core.instances[a.key]
