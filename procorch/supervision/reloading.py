"""Replacing a release by the next one, instance by instance (N19); `beside` has the means."""

from __future__ import annotations

from typing import Any

from procorch.errors import AgentError, AgentStopped, MemoryLimitExceeded, ReloadError
from procorch.supervision import actions, beside, notices, requests
from procorch.supervision import events as ev
from procorch.supervision.core import Core, Due
from procorch.supervision.instance import Instance
from procorch.supervision.replacing import failed_start
from procorch.supervision.states import Phase, StopStage


def begin(core: Core, a: Instance, event: ev.Reload) -> None:
    """A caller asks for a process of another release: not counted (N1)."""
    refusal = _refusal(core, a)
    if refusal is not None:
        core.out.append(actions.ReloadEnded(a.key, refusal))
        return
    if event.back:
        _go_back(core, a, event.release)
        return
    a.attempt = event.release
    core.tell(a, notices.Reloading, release=event.release)
    if event.stop_first or a.service or not a.process.alive or a.phase is Phase.RETIRING:
        a.trial, a.release = a.release, event.release
        _replace_soon(core, a)
    else:
        beside.launch(core, a, event.release)


def _refusal(core: Core, a: Instance) -> AgentError | None:
    if core.closing or a.leaving:
        return AgentStopped(f"agent {a.name!r} is ending", agent=a.name)
    if not a.announced:
        return ReloadError(f"agent {a.name!r} has not been ready yet", agent=a.name)
    if a.attempt is not None or a.beside is not None:
        return ReloadError(f"agent {a.name!r} is being reloaded already", agent=a.name)
    return None


def _go_back(core: Core, a: Instance, release: int) -> None:
    a.release, a.trial = release, None
    if not a.process.alive or a.process.release == release:
        core.out.append(actions.ReloadEnded(a.key))
    else:
        a.attempt = release
        _replace_soon(core, a)


def _replace_soon(core: Core, a: Instance) -> None:
    """Replace the current process as soon as it is idle; at once where there is none."""
    if a.phase is Phase.READY:
        requests.aged(core, a, None)
    elif a.phase is Phase.BACKOFF:
        core.defer(a.key, ev.Restart(a.key))
    elif a.phase in (Phase.STARTING, Phase.AWAITING_POLICY):
        a.process.renew()


def give_up(core: Core, a: Instance, event: ev.GiveUpReload) -> None:
    """The caller does not wait any longer: go on with the old release."""
    error = ReloadError(f"the reload of agent {a.name!r} was given up", agent=a.name)
    beside.give_up(core, a, error)
    if a.trial is None:
        return
    if a.process.alive and a.process.release == a.release:
        a.process.reason = error
        core.stop_process(a, StopStage.TERMINATE)
    else:
        beside.failed(core, a, error)
        if a.phase is Phase.READY:
            core.enter(a, Phase.READY)


def heard(core: Core, a: Instance, event: Any) -> None:
    """The process beside has said or done something."""
    other = a.beside
    assert other is not None
    match event:
        case ev.Ready() if other is a.successor:
            other.ready_at = core.now
            other.gives_back = event.gives_back
            core.timers.disarm((Due.BESIDE, a.key))
            _replace_soon(core, a)
        case ev.StartFailed(error=error):
            other.reason = other.reason or error
            beside.press(core, a, StopStage.LEAVE)
        case ev.MemoryExceeded(observed=observed):
            limit = other.memory_limit
            _kill(core, a, MemoryLimitExceeded(agent=a.name, limit=limit, observed=observed))
        case ev.StreamBroken(error=error):
            _kill(core, a, error)
        case ev.Exited(exit=exit):
            a.last_exit = exit.describe()
            beside.ended(core, a, failed_start(a, other, exit))


def _kill(core: Core, a: Instance, error: AgentError) -> None:
    assert a.beside is not None
    a.beside.reason = a.beside.reason or error
    beside.press(core, a, StopStage.KILL)
