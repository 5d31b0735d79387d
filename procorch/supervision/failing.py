"""Errors, deaths and exits: what they are called, the verdict on them, and what follows from it."""

from __future__ import annotations

from typing import Any

from procorch.errors import (
    AgentCrashed,
    AgentError,
    AgentHung,
    MemoryLimitExceeded,
    PluginError,
    PoisonRequest,
    StartError,
)
from procorch.supervision import events as ev
from procorch.supervision import groups, notices, tree
from procorch.supervision.core import Core, Due
from procorch.supervision.instance import Instance, Pending
from procorch.supervision.ledger import Request
from procorch.supervision.policy import SupervisorAction
from procorch.supervision.restarts import Exit, Verdict, decide
from procorch.supervision.states import AgentStatus, Phase, Rung

# ---- what happened


def exited(core: Core, a: Instance, event: ev.Exited) -> None:
    """A serving process ended: normally (N0), because we asked it to, or by a death (N3, N11)."""
    core.gone(a, event.exit)
    if a.ready_at is not None:
        a.limits.was_ready(a.ready_at, core.now)
    lost = core.take_inflight(a)
    if not lost and _in_order(a, event.exit):
        _follow(core, a, decide_exit(core, a), None)
    elif a.excused and a.reason is None and not lost:
        replace(core, a, counted=False)
    else:
        request = lost[0] if lost else None
        error = _death(a, event.exit, request)
        core.tell(a, notices.Crashed, error=error)
        core.judge(a, _charge(core, request, error))


def exited_while_judged(core: Core, a: Instance, event: ev.Exited) -> None:
    """The verdict on the pending error decides for the death as well: one trigger, one count."""
    core.gone(a, event.exit)
    a.leaving = _in_order(a, event.exit)
    if not a.leaving:
        core.tell(a, notices.Crashed, error=_death(a, event.exit, None))


def _in_order(a: Instance, exit: ev.Exit) -> bool:
    """Whether the agent was finished, and its process left by itself or was made to (N0)."""
    made_to = a.reason is None and a.rung is not None and a.rung > Rung.LEAVE
    return a.leaving and (exit.code == 0 or made_to)


def overgrown(core: Core, a: Instance, event: ev.Overgrown) -> None:
    """Above its memory limit: there is no asking, the machine may be short of memory already."""
    if a.reason is None:
        limit = a.settings.memory_limit
        a.reason = MemoryLimitExceeded(agent=a.name, limit=limit, observed=event.observed)
        core.press(a, Rung.KILL)


def broken(core: Core, a: Instance, event: ev.Broken) -> None:
    """Its stream makes no sense any more: nothing it may still write can be trusted."""
    if a.reason is None:
        a.reason = event.error
        core.press(a, Rung.KILL)


def heartbeat_due(core: Core, a: Instance, event: object) -> None:
    """Time to look whether a busy agent makes progress (N12)."""
    timeout = a.settings.heartbeat_timeout
    if a.inflight and timeout is not None:
        core.out.append(ev.Probe(a.key, a.generation))
        core.timers.arm((Due.HEARTBEAT, a.key), core.now + timeout / 4)


def probed(core: Core, a: Instance, event: ev.Probed) -> None:
    """The progress count of a busy agent; one that stood still too long is hung (N12)."""
    timeout = a.settings.heartbeat_timeout
    if timeout is None or a.heartbeat is None or not a.inflight or a.reason is not None:
        return
    seen, since = a.heartbeat
    if event.progress != seen:
        a.heartbeat = (event.progress, core.now)
    elif core.now - since >= timeout:
        a.reason = AgentHung(agent=a.name, heartbeat_timeout=timeout)
        core.tell(a, notices.Hung, timeout=timeout, request=a.inflight[0])
        core.press(a, Rung.STACK)


def leaving(core: Core, a: Instance, event: ev.Leaving) -> None:
    """The agent is finished: no further request goes to it, its exit follows."""
    a.leaving = True
    a.finished = a.draining is None


def _death(a: Instance, exit: ev.Exit, request: Request | None) -> AgentCrashed:
    facts: dict[str, Any] = {
        "agent": a.name,
        "exitcode": exit.code,
        "signal": exit.signal,
        "generation": a.generation,
        "pid": exit.pid,
        "request": None if request is None else request.id,
        "may_have_executed": request is not None and (exit.lost or exit.started == request.id),
        "last_stack": exit.last_stack or "",
        "stderr_tail": exit.stderr_tail or "",
        "peak_rss": exit.peak_rss,
    }
    match a.reason:
        case MemoryLimitExceeded(limit=limit, observed=observed):
            return MemoryLimitExceeded(limit=limit, observed=observed, **facts)
        case AgentHung(heartbeat_timeout=timeout):
            return AgentHung(heartbeat_timeout=timeout, **facts)
        case None if exit.detail is not None:
            return AgentCrashed(f"agent {a.name!r} crashed: {exit.detail}", **facts)
        case None:
            return AgentCrashed(**facts)
        case reason:
            return AgentCrashed(f"agent {a.name!r} was ended: {reason}", **facts)


def _charge(core: Core, request: Request | None, error: AgentCrashed) -> Pending:
    """Who gets the error of a death: the caller, or nobody yet because the request is retried."""
    if request is None:
        return Pending(None, error)
    request.deaths.append(error)
    deaths = len(request.deaths)
    if request.allowed_failures < min(deaths, request.retries):
        poison = PoisonRequest(agent=error.agent, request=request.id, deaths=tuple(request.deaths))
        return Pending(request.id, error, answer=poison, charged=True)
    if deaths > request.retries:
        return Pending(request.id, error, charged=True)
    if request.from_dispatch:
        core.timers.disarm((Due.REQUEST, request.id))
    core.ledger.put_back(request)
    for member in core.ledger.boxes[request.mailbox].members:
        core.soon(member, _take_over)
    return Pending(None, error, charged=True)


def _take_over(core: Core, a: Instance) -> None:
    """What waits again is for whichever replica is free."""
    if a.phase is Phase.READY:
        core.enter(a, Phase.READY)


# ---- the verdict


def ask(core: Core, a: Instance) -> None:
    """JUDGING: the policy is asked; without one, as if it had answered ESCALATE (seed)."""
    assert a.pending is not None
    a.ticket += 1
    if a.supervised and not core.closing:
        core.out.append(ev.Ask(a.key, a.name, a.ticket, a.pending.error))
    else:
        judged(core, a, ev.Judged(a.key, a.ticket, None))


def judged(core: Core, a: Instance, event: ev.Judged) -> None:
    """The verdict: first the caller gets the error, then the agent its fate (seed, N6, N13)."""
    if event.ticket != a.ticket or a.pending is None:
        return
    pending, a.pending = a.pending, None
    error = pending.error
    if event.fault is not None:
        error.add_note(f"the supervisor policy failed on this error: {event.fault!r}")
    if pending.request is not None:
        core.resolve(pending.request, pending.answer or error, pending.payload)
    if event.action is SupervisorAction.ESCALATE:
        escalate(core, a, error)
    counted = not (pending.charged and a.settings.charge_requests)
    hopeless = isinstance(error, StartError) and not error.is_retryable
    allowed = not counted or _allowed(core, a)
    if event.fault is not None or hopeless:
        verdict = Verdict.STOP
    else:
        finished = a.leaving and not a.alive
        how = Exit.FAILED if a.alive or finished else Exit.DIED
        verdict = decide(a.settings.restart, how, event.action, allowed=allowed)
        if verdict is Verdict.KEEP and finished:
            verdict = decide_exit(core, a)
    if verdict is Verdict.KEEP and a.renew:
        replace(core, a, counted=False, alone=True)
        return
    _follow(core, a, verdict, event.fault or error, counted=counted)
    if verdict is Verdict.STOP and not allowed:
        _exceeded(core, a, error)


def decide_exit(core: Core, a: Instance) -> Verdict:
    """The verdict on a normal exit, about which no policy is asked."""
    return decide(a.settings.restart, Exit.FINISHED, None, allowed=_allowed(core, a))


def _allowed(core: Core, a: Instance) -> bool:
    return a.limits.allowed and all(
        window.allows(core.now) for window in tree.windows(core.instances, a)
    )


def _follow(
    core: Core, a: Instance, verdict: Verdict, error: BaseException | None, *, counted: bool = True
) -> None:
    match verdict:
        case Verdict.KEEP:
            core.enter(a, Phase.READY)
        case Verdict.REPLACE:
            replace(core, a, counted=counted)
        case Verdict.COMPLETE:
            core.end(a, AgentStatus.COMPLETED)
        case Verdict.FAIL:
            assert isinstance(error, AgentError)
            core.end(a, AgentStatus.FAILED, error)
        case Verdict.STOP:
            stopped = PluginError("orchestrator", f"agent {a.name!r} stopped by supervisor")
            stopped.__cause__ = error
            core.end(a, AgentStatus.FAILED, stopped)


def _exceeded(core: Core, a: Instance, error: AgentError) -> None:
    """A group beyond its intensity stops as a whole, once, and that goes up once (N2)."""
    parent = core.instances.get(a.parent) if a.parent is not None else None
    if parent is None or parent.window is None or parent.window.allows(core.now):
        return
    for sibling in reversed(tree.children(core.instances, parent)):
        if sibling is not a:
            core.soon(sibling.key, ev.Stop(sibling.key, sibling.settings.shutdown.grace))
    escalate(core, a, error)


# ---- going up (N6)


def escalate(core: Core, a: Instance, error: AgentError) -> None:
    """Tell everybody above; a policy that has an opinion on that is asked about the parent."""
    above = list(tree.ancestors(core.instances, a))
    core.tell(a, notices.Escalated, error=error, path=tuple(parent.name for parent in above))
    if above and above[0].appeals and not core.closing:
        parent = above[0]
        parent.appeal += 1
        core.out.append(ev.Appeal(parent.key, parent.name, parent.appeal, a.name, error))


def appealed(core: Core, a: Instance, event: ev.Appealed) -> None:
    """The policy decided about the parent of an escalating child."""
    if event.ticket != a.appeal:
        return
    if event.fault is None and event.action is SupervisorAction.ESCALATE:
        escalate(core, a, event.error)
        return
    verdict = Verdict.STOP
    if event.fault is None and event.action is SupervisorAction.RESTART:
        verdict = decide(a.settings.restart, Exit.FAILED, event.action, allowed=_allowed(core, a))
    _follow(core, a, verdict, event.fault or event.error)


# ---- replacing


def restart(core: Core, a: Instance, event: ev.Restart) -> None:
    """An operator wants a new process: not a failure, so not counted (N1)."""
    if tree.leaving(a):
        a.renew = False  # Its end makes a successor superfluous.
        if a.phase is Phase.READY:
            core.enter(a, Phase.READY)
        return
    core.timers.disarm((Due.BACKOFF, a.key))
    replace(core, a, counted=False, alone=True)


def restart_when_judged(core: Core, a: Instance, event: ev.Restart) -> None:
    """The same while the policy thinks: if it would keep the process, there will be a new one."""
    a.renew = True


def replace(core: Core, a: Instance, *, counted: bool, alone: bool = False) -> None:
    """A new generation for ``a``, and for whoever is restarted with it (N4, N5)."""
    if a.alive and (core.closing or core.drained(a)):
        a.renew = False
        core.enter(a, Phase.READY)  # It is to end soon: a successor would have nothing to do.
        return
    if core.closing:
        core.cut_off(a)
        return
    a.delay = 0.0
    if counted:
        a.delay = a.limits.count(core.chance())
        for window in tree.windows(core.instances, a):
            window.count(core.now)
    core.tell(
        a,
        notices.Restarting,
        counted=counted,
        restart=a.limits.consecutive,
        max_restarts=a.settings.max_restarts,
    )
    groups.begin(core, a, alone=alone)


def retire(core: Core, a: Instance) -> None:
    """RETIRING: only when the old process has ended may the next begin (I2)."""
    if a.alive:
        if a.rung is None:
            blamed = a.cycle is not None and a.cycle.blame != a.name
            busy = bool(a.inflight) or a.ready_at is None
            core.press(a, Rung.TERMINATE if blamed and busy else Rung.LEAVE)
    elif core.closing:
        core.cut_off(a)
    elif a.cycle is not None:
        core.enter(a, Phase.HELD)
    elif core.drained(a):
        if tree.may_end(core.instances, a):
            core.end(a, a.draining or AgentStatus.COMPLETED)
        else:
            core.enter(a, Phase.HELD)
    elif a.delay > 0:
        core.enter(a, Phase.BACKOFF)
    else:
        core.enter(a, Phase.WAITING)


def retired(core: Core, a: Instance, event: ev.Exited) -> None:
    """The old process is gone; what was under way in it fails by name (N5)."""
    core.gone(a, event.exit)
    for request in core.take_inflight(a):
        error = _death(a, event.exit, request)
        error.cause = a.cycle.blame if a.cycle is not None else None
        core.resolve(request.id, error)
    core.enter(a, Phase.RETIRING)
    if a.cycle is not None:
        groups.advance(core, a.cycle)


def hold(core: Core, a: Instance) -> None:
    """HELD: its group sees to what comes next, or those whom its end has to wait for (N7)."""


def back_off(core: Core, a: Instance) -> None:
    """BACKOFF: wait for the set time."""
    core.tell(a, notices.BackingOff, delay=a.delay)
    core.timers.arm((Due.BACKOFF, a.key), core.now + a.delay)


def backoff_over(core: Core, a: Instance, event: object) -> None:
    """The set time has come."""
    core.enter(a, Phase.WAITING)
