"""Replacing the process of an agent: stop it, perhaps wait, start the next one (N1, N2, N5)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from procorch.errors import (
    AgentCrashed,
    AgentError,
    AgentHung,
    AgentStopped,
    MemoryLimitExceeded,
    ReloadError,
    StartError,
)
from procorch.supervision import beside, groups, notices, several, tree
from procorch.supervision import events as ev
from procorch.supervision.core import Core, Due
from procorch.supervision.instance import Instance
from procorch.supervision.process import Course, Process
from procorch.supervision.request import Request
from procorch.supervision.states import Phase, StopStage


def restart(core: Core, a: Instance, event: ev.Restart) -> None:
    """A caller asked for a new process: not a failure, so not counted (N1)."""
    if a.leaving:
        a.process.keep()  # The agent ends, so it needs no new process.
        if a.phase is Phase.READY:
            core.enter(a, Phase.READY)
        return
    core.timers.disarm((Due.BACKOFF, a.key))
    replace_renewed(core, a)


def replace_renewed(core: Core, a: Instance) -> None:
    """Replace a process which is idle, and which was to be replaced as soon as it is."""
    if a.process.replacement is None:
        replace(core, a, counted=False, alone=True)
        return
    (counted, asked), a.process.replacement = a.process.replacement, None
    replace(core, a, counted=counted, asked=asked)


def restart_while_awaiting_policy(core: Core, a: Instance, event: ev.Restart) -> None:
    """The same while the policy decides: the process is replaced also if the policy keeps it."""
    a.process.renew()


def replace(
    core: Core, a: Instance, *, counted: bool, alone: bool = False, whole: bool = False,
    asked: float = 0.0,
) -> None:  # fmt: skip
    """Begin a new generation of ``a``, and of all agents that are restarted with it (N4, N5).

    Args:
        alone: the restart is planned and not a failure, so no other agent is restarted with it.
        whole: all instances of its agent are restarted with it.
        asked: the shortest wait before it in seconds, if the restart is counted (`retry_after`).
    """
    if a.process.alive and (core.closing or core.drained(a)):
        a.process.keep()
        core.enter(a, Phase.READY)  # It ends soon, so a new process would get no request.
        return
    if core.closing:
        core.end_during_close(a)
        return
    a.delay = 0.0
    if counted:
        a.delay = a.limits.count(core.now, core.chance(), asked)
        for window in tree.windows(a.team):
            window.count(core.now)
    core.tell(
        a,
        notices.Restarting,
        counted=counted,
        restart=a.limits.consecutive,
        max_restarts=a.settings.max_restarts,
        planned=alone,
    )
    groups.begin(core, a, alone=alone, whole=whole)


def retire(core: Core, a: Instance) -> None:
    """RETIRING: end the old process; the next one starts after that, or takes over now (I2)."""
    several.flush(core, a)
    if a.process.alive:
        if beside.may_take_over(a):
            beside.take_over(core, a)
        elif a.process.stage is None:
            blamed = a.cycle is not None and a.cycle.failed != a.key
            busy = bool(a.process.inflight) or a.process.ready_at is None
            hard = blamed and busy and not a.service  # it is always busy
            core.stop_process(a, StopStage.TERMINATE if hard else StopStage.LEAVE)
    elif core.closing:
        core.end_during_close(a)
    elif a.cycle is not None:
        core.enter(a, Phase.HELD)
    elif core.drained(a):
        core.end_in_turn(a)
    elif a.delay > 0:
        core.enter(a, Phase.BACKOFF)
    else:
        core.enter(a, Phase.WAITING)


def finished_while_retiring(core: Core, a: Instance, event: ev.AgentFinished) -> None:
    """The agent has finished, so the old process begins none of the requests that are ahead."""
    a.process.course = Course.LEAVING


def retired(core: Core, a: Instance, event: ev.Exited) -> None:
    """The old process has ended; its requests fail, and their errors name the cause (N5)."""
    core.process_ended(a, event.exit)
    lost = core.take_inflight(a)
    if lost:
        tell_hung(core, a, lost[0])
    for number, request in enumerate(lost, 1):
        error = death(a, event.exit, request, lost[number:])
        error.cause = a.cycle.blame if a.cycle is not None else None
        core.resolve(request, error)
    core.enter(a, Phase.RETIRING)
    if a.cycle is not None:
        groups.advance(core, a.cycle)


def hold(core: Core, a: Instance) -> None:
    """HELD: wait until its group starts it (N5), or until other agents have ended (N7)."""


def back_off(core: Core, a: Instance) -> None:
    """BACKOFF: arm the timer of the next start."""
    core.tell(a, notices.BackingOff, delay=a.delay)
    core.timers.arm((Due.BACKOFF, a.key), core.now + a.delay)


def backoff_over(core: Core, a: Instance, event: object) -> None:
    """The backoff is over."""
    core.enter(a, Phase.WAITING)
    if a.cycle is not None:  # it waited for its group: the other instances of its agent start, too
        groups.begin_starts(core, a.cycle)


def tell_hung(core: Core, a: Instance, request: Request) -> None:
    """Publish `Hung` for ``request`` if the process was ended because it hung."""
    if isinstance(a.process.reason, AgentHung):
        timeout = a.process.reason.heartbeat_timeout
        core.tell(a, notices.Hung, timeout=timeout, request=request.id)


def death(
    a: Instance, exit: ev.Exit, request: Request | None, after: Iterable[Request] = ()
) -> AgentCrashed:
    """The error of a death: the reason why procorch ended the process, else how it ended.

    Args:
        after: the requests that the process got after ``request``.
    """
    begun = request is not None and (
        exit.lost
        or exit.started == request.id
        or request.id in exit.begun
        or (a.process.concurrency == 1 and any(exit.started == other.id for other in after))
    )
    facts: dict[str, Any] = {
        "agent": a.name,
        "exitcode": exit.code,
        "signal": exit.signal,
        "generation": a.generation,
        "pid": exit.pid,
        "request": None if request is None or a.service else request.id,
        "may_have_executed": begun,
        "last_stack": exit.last_stack or "",
        "stderr_tail": exit.stderr_tail or "",
        "peak_rss": exit.peak_rss,
        "lost": exit.lost,
        "node": exit.node,
    }
    match a.process.reason:
        case MemoryLimitExceeded(limit=limit, observed=observed):
            return MemoryLimitExceeded(limit=limit, observed=observed, **facts)
        case AgentHung(heartbeat_timeout=timeout):
            return AgentHung(heartbeat_timeout=timeout, **facts)
        case None if exit.lost:
            return AgentCrashed(**_lost(a, exit, facts))
        case None if exit.detail is not None:
            return AgentCrashed(f"agent {a.name!r} crashed: {exit.detail}", **facts)
        case None:
            return AgentCrashed(**facts)
        case reason:
            return AgentCrashed(f"agent {a.name!r} was ended: {reason}", **facts)


def _lost(a: Instance, exit: ev.Exit, facts: dict[str, Any]) -> dict[str, Any]:
    ran = "; the request may have been executed" if facts["may_have_executed"] else ""
    return {"message": f"agent {a.name!r} was lost: {exit.detail}{ran}", **facts}


def failed_start(a: Instance, process: Process, exit: ev.Exit) -> AgentError:
    """The error of a process that ended before it served."""
    error = process.reason
    if isinstance(error, StartError | ReloadError | AgentStopped):
        return error
    how = exit.describe() if error is None else f"was ended ({error})"
    failed = StartError(
        f"agent {a.name!r} {how} while it was starting",
        agent=a.name,
        phase="start",
        remote_traceback=exit.last_stack or "",
    )
    failed.__cause__ = error
    return failed
