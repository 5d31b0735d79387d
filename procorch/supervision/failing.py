"""Errors and deaths, the verdict on them, and the way to the next generation."""

from __future__ import annotations

from typing import Any

from procorch.errors import (
    AgentCrashed,
    AgentError,
    MemoryLimitExceeded,
    PluginError,
    StartError,
)
from procorch.supervision import events as ev
from procorch.supervision import notices
from procorch.supervision.core import Core, Due
from procorch.supervision.instance import Instance
from procorch.supervision.policy import SupervisorAction
from procorch.supervision.restarts import Verdict, decide
from procorch.supervision.states import AgentStatus, Phase, Signal


def exited(core: Core, a: Instance, event: ev.Exited) -> None:
    """A serving process died: its request fails at once, by name; the policy is asked (N3, N11)."""
    core.gone(a)
    if a.ready_at is not None:
        a.limits.was_ready(a.ready_at, core.now)
    lost = [request for request in a.inflight if request in core.ledger.requests]
    a.inflight = []
    if a.excused and a.reason is None and not lost:
        _replace(core, a, counted=False)
        return
    request = lost[0] if lost else None
    error = _death(a, event.exit, request)
    core.tell(a, notices.Crashed, error=error)
    core.judge(a, request, error)


def exited_while_judged(core: Core, a: Instance, event: ev.Exited) -> None:
    """The verdict on the pending error decides for the death as well: one trigger, one count."""
    core.gone(a)
    core.tell(a, notices.Crashed, error=_death(a, event.exit, None))


def overgrown(core: Core, a: Instance, event: ev.Overgrown) -> None:
    """Above its memory limit: there is no asking, the machine may be short of memory already."""
    if a.reason is None:
        a.reason = MemoryLimitExceeded(
            agent=a.name, limit=a.settings.memory_limit, observed=event.observed
        )
        core.press(a, Signal.KILL)


def broken(core: Core, a: Instance, event: ev.Broken) -> None:
    """Its stream makes no sense any more: nothing it may still write can be trusted."""
    if a.reason is None:
        a.reason = event.error
        core.press(a, Signal.KILL)


def _death(a: Instance, exit: ev.Exit, request: int | None) -> AgentCrashed:
    facts: dict[str, Any] = {
        "agent": a.name,
        "exitcode": exit.code,
        "signal": exit.signal,
        "generation": a.generation,
        "pid": exit.pid,
        "request": request,
        "may_have_executed": request is not None and (exit.lost or exit.started == request),
        "last_stack": exit.last_stack,
        "stderr_tail": exit.stderr_tail,
        "peak_rss": exit.peak_rss,
    }
    if isinstance(a.reason, MemoryLimitExceeded):
        return MemoryLimitExceeded(limit=a.reason.limit, observed=a.reason.observed, **facts)
    if a.reason is not None:
        return AgentCrashed(f"agent {a.name!r} was ended: {a.reason}", **facts)
    return AgentCrashed(**facts)


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
    request, error, payload = a.pending
    a.pending = None
    if event.fault is not None:
        error.add_note(f"the supervisor policy failed on this error: {event.fault!r}")
    if request is not None:
        core.resolve(request, error, payload)
    if event.action is SupervisorAction.ESCALATE:
        core.tell(a, notices.Escalated, error=error)
    match _verdict(a, event, request, error):
        case Verdict.KEEP:
            core.enter(a, Phase.READY)
        case Verdict.REPLACE:
            _replace(core, a, counted=_counted(a, request))
        case Verdict.FAIL:
            core.end(a, AgentStatus.FAILED, error)
        case Verdict.STOP:
            stopped = PluginError("orchestrator", f"agent {a.name!r} stopped by supervisor")
            stopped.__cause__ = event.fault or error
            core.end(a, AgentStatus.FAILED, stopped)


def _verdict(a: Instance, event: ev.Judged, request: int | None, error: AgentError) -> Verdict:
    hopeless = isinstance(error, StartError) and not error.is_retryable
    if event.fault is not None or hopeless:
        return Verdict.STOP
    allowed = a.limits.allowed or not _counted(a, request)
    return decide(event.action, dead=not a.alive, allowed=allowed)


def _counted(a: Instance, request: int | None) -> bool:
    return request is None or not a.settings.charge_requests


def _replace(core: Core, a: Instance, *, counted: bool) -> None:
    if core.closing:
        core.end(a, AgentStatus.STOPPED)
        return
    a.delay = a.limits.count(core.chance()) if counted else 0.0
    core.tell(
        a,
        notices.Restarting,
        counted=counted,
        restart=a.limits.consecutive,
        max_restarts=a.settings.max_restarts,
    )
    core.enter(a, Phase.RETIRING)


def retire(core: Core, a: Instance) -> None:
    """RETIRING: only when the old process has ended may the next begin (I2)."""
    if a.alive:
        if a.rung is None:
            core.press(a, Signal.LEAVE)
    elif core.drained(a):
        core.end(a, a.draining or AgentStatus.COMPLETED)
    elif a.delay > 0:
        core.enter(a, Phase.BACKOFF)
    else:
        core.enter(a, Phase.WAITING)


def retired(core: Core, a: Instance, event: ev.Exited) -> None:
    """The old process is gone."""
    core.gone(a)
    core.enter(a, Phase.RETIRING)


def back_off(core: Core, a: Instance) -> None:
    """BACKOFF: wait for the set time."""
    core.tell(a, notices.BackingOff, delay=a.delay)
    core.timers.arm((Due.BACKOFF, a.key), core.now + a.delay)


def backoff_over(core: Core, a: Instance, event: object) -> None:
    """The set time has come."""
    core.enter(a, Phase.WAITING)
