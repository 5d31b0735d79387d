"""How an instance ends: drained, retired, cancelled, stopped, closed; and the stages of the ladder
(N7, N8). `teams` has the end of an agent as a whole.

The order comes from one rule, `tree.may_end`: an agent that has finished its work waits until the
agents under it, and the siblings started after it, have ended. No part plans the order: each
instance that ends makes the others check that rule again.
"""

from __future__ import annotations

from copy import copy

from procorch.errors import Aborted, AgentCrashed, AgentStopped
from procorch.supervision import actions, beside, groups, notices, several, teams
from procorch.supervision import events as ev
from procorch.supervision.core import Core, Due
from procorch.supervision.dispatch import end_request
from procorch.supervision.instance import Instance
from procorch.supervision.states import AgentStatus, Phase, StopStage
from procorch.supervision.turns import check_turn, end_if_done

_ENDED = (Phase.STOPPING, Phase.DONE)


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
    beside.give_up(core, a, _ending(a))
    end_if_done(core, a)


def stop(core: Core, a: Instance, event: ev.Stop) -> None:
    """Finish requests within the grace, then end STOPPED; linked children first (N7)."""
    a.draining = a.draining or AgentStatus.STOPPED
    beside.give_up(core, a, _ending(a))
    a.grace = event.grace if a.grace is None else min(a.grace, event.grace)
    core.defer(a.key, check_turn)  # after the children have been told


def retire(core: Core, a: Instance, event: ev.Retire) -> None:
    """End one instance of an agent that goes on: others take the requests that wait."""
    a.draining = a.draining or AgentStatus.COMPLETED
    beside.give_up(core, a, _ending(a))
    if event.now:
        core.end(a, AgentStatus.CANCELLED, Aborted(agent=a.name))
    else:
        end_if_done(core, a)


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
        beside.give_up(core, a, _ending(a))
        if a.phase not in _ENDED:
            a.draining = a.draining or AgentStatus.STOPPED
            core.defer(a.key, end_if_done if event.drain else abort)
    for team in list(core.teams.values()):
        teams.leave(core, team, AgentStatus.STOPPED)


def abort(core: Core, a: Instance) -> None:
    """Abort all requests now; the agent itself still ends in its turn."""
    if a.phase is not Phase.READY:
        out_of_grace(core, a, None)
        return
    a.aborted = True
    for request in [*core.ledger.empty(a.mailbox), *a.process.inflight]:
        core.resolve(request, Aborted(agent=a.name))
    _abort_ahead(core, a)
    for request in a.process.inflight:
        end_request(core, a, request)
    core.enter(a, Phase.READY)


def close_overdue(core: Core) -> None:
    """The total deadline has passed: kill all processes that are left."""
    for a in list(core.instances.values()):
        if a.phase not in _ENDED:
            out_of_grace(core, a, None)
        if a.process.alive and (a.process.stage is None or a.process.stage < StopStage.KILL):
            core.stop_process(a, StopStage.KILL)
        beside.press(core, a, StopStage.KILL)


def leave(core: Core, a: Instance) -> None:
    """STOPPING: fix the outcome of all requests now, and end the process."""
    assert a.final is not None
    error = a.final[1]
    a.grace, until = None, core.timers.at((Due.GRACE, a.key))
    core.left_starting(a)
    beside.leave(core, a, _ending(a))
    for due in (Due.BACKOFF, Due.GRACE, Due.HEARTBEAT):
        core.timers.disarm((due, a.key))
    if a.pending is not None:
        # The reply was complete before the end, so it counts (N14).
        if a.pending.request is not None:
            core.resolve(a.pending.request, a.pending.error, a.pending.payload)
        a.pending = None
    several.flush(core, a)
    aborted = [request for request in a.process.inflight if request.is_open]
    for request in aborted:
        # A copy: `may_have_executed` differs between the request and the agent, which has it too.
        crashed = isinstance(error, AgentCrashed)
        core.resolve(request, copy(error) if crashed else Aborted(agent=a.name))
        a.process.aim_at(request)
    if a.process.held:
        core.return_ahead(a)  # The worker waits for PROCEED, which it will not get.
    _abort_ahead(core, a)
    a.process.inflight = []
    a.process.ahead.clear()
    teams.lost(core, a)
    groups.drop(core, a)
    if not a.process.alive:
        if a.is_gone:
            core.enter(a, Phase.DONE)
    elif a.process.stage is None or a.process.stage is StopStage.LEAVE:
        # A process whose requests were aborted before it waited for its turn is idle by now.
        hurried = isinstance(error, Aborted | AgentCrashed) and not a.aborted
        if a.service and error is None:
            core.stop_process(a, StopStage.LEAVE)
            if until is not None:
                core.timers.arm((Due.STOP_STAGE, a.key), until)
            return
        if aborted and a.process.concurrency > 1:
            several.leave(core, a, aborted)
            return
        stage = (
            StopStage.COOPERATE if aborted else StopStage.TERMINATE if hurried else StopStage.LEAVE
        )
        core.stop_process(a, stage)


def _ending(a: Instance) -> AgentStopped:
    """Why its release is not replaced."""
    return AgentStopped(f"agent {a.name!r} is ending", agent=a.name)


def _abort_ahead(core: Core, a: Instance) -> None:
    for request in a.process.ahead:
        core.resolve(request, Aborted(agent=a.name))


def finish(core: Core, a: Instance) -> None:
    """DONE: publish the end of the instance, and that of its agent if it was the last one."""
    assert a.final is not None
    a.status, error = a.final
    core.tell(a, notices.Stopped, status=a.status, error=error)
    core.out.append(actions.Ended(a.key, a.status, error, a.limits.total, a.last_exit))
    a.team.members.remove(a)
    if a.team.leaving and not a.team.members:
        teams.last_ended(core, a)
    if not a.process.alive:
        del core.instances[a.key]


def exited(core: Core, a: Instance, event: ev.Exited) -> None:
    """The process has exited after a request to stop."""
    core.process_ended(a, event.exit)
    if a.is_gone:
        core.enter(a, Phase.DONE)


def next_stage(core: Core, a: Instance, event: object) -> None:
    """A stage has not ended the process in time: take the next one, or give up (``Unreaped``)."""
    assert a.process.stage is not None
    if a.process.stage is StopStage.LEAVE and a.service and a.process.target:
        core.stop_process(a, StopStage.INTERRUPT)  # it was told, and its function goes on
        return
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
    if a.is_gone:
        core.enter(a, Phase.DONE)


def exited_late(core: Core, a: Instance, event: ev.Exited) -> None:
    """A process that was given up has ended later."""
    core.process_ended(a, event.exit)
    del core.instances[a.key]
